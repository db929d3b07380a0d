"""Which adapters the layers of a model apply, in a forward and where parts of it run again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from loraml_theory.harness.errors import InputError
from realdata.peft_ml.mixed import MixedForward, Segment
from realdata.peft_ml.recomputation import Restore, is_kept, kept_for_recomputation
from realdata.peft_ml.task_adapters import Switch

if TYPE_CHECKING:
    from peft import PeftModel

_sequence_number: Callable[[], int] = torch._C._autograd._get_sequence_nr
_node_of_backward: Callable[[], Any] = torch._C._current_autograd_node


class AdaptersInUse:
    """The adapters of the forward under way, one for all rows or one for each segment of them.

    torch's checkpoints run again with the adapters of their forward. Any other recomputation is let through where one
    adapter is the active one since before the forward, by the order in which autograd numbers what it records, and is
    refused elsewhere.

    Parameters
    ----------
    wrapped
        A model with adapters.
    switch
        What makes one of them the active one.
    """

    def __init__(self, wrapped: PeftModel, switch: Switch) -> None:
        """Watch every layer that has adapters."""
        self.mixed = MixedForward(wrapped.get_base_model())
        self._wrapped, self._switch = wrapped, switch
        self._active: str | None = None
        self._active_since = 0
        for layer in switch.layers:
            layer.register_forward_pre_hook(self._check_recomputation)

    @contextmanager
    def one(self, adapter: str) -> Iterator[None]:
        """Let all rows use one adapter in the block, and leave it the active one."""
        if self._active != adapter or not self._switch.is_on(adapter):
            self._switch(adapter)
            self._active, self._active_since = adapter, _sequence_number()
        rows = partial(self.mixed.one, adapter)
        with rows(), kept_for_recomputation(partial(self._keep, rows)):
            yield

    @contextmanager
    def several(self, segments: Sequence[Segment]) -> Iterator[None]:
        """Let each segment of rows use its own adapter in the block; see `MixedForward.rows`."""
        self._active = None
        rows = partial(self.mixed.rows, segments)
        with rows(), kept_for_recomputation(partial(self._keep, rows)):
            yield

    def _keep(self, rows: Callable[[], AbstractContextManager[None]]) -> Restore:
        """Return what restores the layers' present state: of a forward, all that peft's switches change."""
        kept = [
            (layer, name, getattr(layer, name))
            for layer in self._switch.layers
            for name in ("_active_adapter", "_disable_adapters")
        ]
        kept += [(parameter, "requires_grad", parameter.requires_grad) for parameter in self._wrapped.parameters()]

        @contextmanager
        def restored() -> Iterator[None]:
            changed = [(part, name, now, then) for part, name, then in kept if (now := getattr(part, name)) != then]
            try:
                for part, name, _, then in changed:
                    setattr(part, name, then)
                with rows():
                    yield
            finally:
                for part, name, now, _ in changed:
                    setattr(part, name, now)

        return restored

    def _check_recomputation(self, layer: Any, _args: object) -> None:
        """Raise if a layer runs in a backward pass for which nothing was kept, and with other adapters than before."""
        if torch.compiler.is_compiling() or is_kept() or (node := _node_of_backward()) is None:
            return
        if layer.active_adapters == [self._active] and node._sequence_nr() >= self._active_since:
            return
        name = next(name for name, part in self._wrapped.get_base_model().named_modules() if part is layer)
        raise InputError(
            f"model: its layer {name} runs again in the backward pass, and not by torch.utils.checkpoint, when other "
            "adapters are in use than in the forward; expected one task in a forward, and backward before the next"
        )
