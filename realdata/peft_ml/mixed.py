"""Forwards of layers with LoRA: of one task without separate sums, of several tasks on slices of rows, one per task.

peft has such a forward too. It is made for inference: it gathers and scatters rows by lists of indices, which costs
more than one forward per task, and draws dropout in the order of a set of names, which differs from process to process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear
from torch.nn.modules.batchnorm import _BatchNorm

from loraml_theory.harness.errors import InputError


class MixingError(InputError):
    """A layer for which the rows of several tasks cannot be told apart."""


class Segment(NamedTuple):
    """Neighbouring rows of one adapter."""

    adapter: str
    rows: int


class MixedForward:
    """What lets rows of several tasks share a forward of a model with adapters, where they can.

    They can with LoRA on linear layers and with copied heads. Any other kind of layer is not known to be right.

    Parameters
    ----------
    model
        After peft's tuner has changed it in place.
    """

    def __init__(self, model: nn.Module) -> None:
        """Look at every layer once."""
        from peft.tuners.lora.layer import Linear
        from peft.utils.other import ModulesToSaveWrapper

        forwards: dict[type[nn.Module], Callable[..., Tensor]] = {Linear: _lora, ModulesToSaveWrapper: _copies}
        named = list(model.named_modules())
        self._lora = [module for _, module in named if type(module) is Linear and "forward" not in module.__dict__]
        self._layers = [(module, forwards[type(module)]) for _, module in named if type(module) in forwards]
        self._norms = [(name, module) for name, module in named if isinstance(module, _BatchNorm)]
        self._obstacle = next((reason for name, module in named if (reason := _obstacle(name, module))), None)

    def obstacle(self) -> str | None:
        """Return why rows of several tasks cannot share a forward in the model's present mode; None if they can."""
        for name, norm in self._norms:
            if norm.training or norm.running_mean is None:
                return f"{name} normalises over the batch"
        return self._obstacle

    def rows(self, segments: Sequence[Segment]) -> AbstractContextManager[None]:
        """Let every layer with adapters apply each segment's own to its rows, inside the block.

        Raises
        ------
        MixingError
            In the block, if what a layer is called with does not consist of the segments' rows.
        """
        return _instead({module: partial(forward, module, segments) for module, forward in self._layers})

    def one(self, adapter: str) -> AbstractContextManager[None]:
        """Let every linear layer with LoRA add this adapter's shift without a sum of its own, inside the block.

        Layers for which that is not known to be right keep peft's forward.
        """
        if torch.compiler.is_compiling():
            return nullcontext()
        return _instead({module: partial(_lora_of_one, module, adapter) for module in self._lora})


@contextmanager
def _instead(forwards: Mapping[nn.Module, Callable[..., Tensor]]) -> Iterator[None]:
    """Give modules other forwards inside the block."""
    before = {module: module.__dict__.get("forward") for module in forwards}
    try:
        for module, forward in forwards.items():
            module.__dict__["forward"] = forward
        yield
    finally:
        for module, kept in before.items():
            if kept is not None:
                module.__dict__["forward"] = kept
            else:
                module.__dict__.pop("forward", None)


def _obstacle(name: str, module: nn.Module) -> str | None:
    from peft.tuners.lora.layer import Linear
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper, ModulesToSaveWrapper

    if type(module) is Linear:
        if module.lora_variant or any(module.lora_bias.values()):
            return f"{name} is a variant of LoRA"
    elif isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper) and type(module) is not ModulesToSaveWrapper:
        return f"{name} has adapters other than LoRA on a linear layer: {_kind(module)}"
    return None


def _copies(wrapper: Any, segments: Sequence[Segment], *args: Any, **kwargs: Any) -> Tensor:
    """Give each segment to its task's copy of a module."""
    if wrapper.disable_adapters:
        original: Tensor = wrapper.original_module(*args, **kwargs)
        return original
    if kwargs or len(args) != 1 or not isinstance(args[0], Tensor):
        raise MixingError(f"{_kind(wrapper.original_module)} is called with more than one tensor of rows")
    parts = args[0].split_with_sizes(_sizes(args[0], segments, entries=len(args[0])))
    outputs = [wrapper.modules_to_save[s.adapter](part) for s, part in zip(segments, parts, strict=True)]
    if not all(isinstance(output, Tensor) for output in outputs):
        raise MixingError(f"{_kind(wrapper.original_module)} returns something other than one tensor")
    return torch.cat(outputs)


def _lora_of_one(layer: Any, adapter: str, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Return ``x (W + s B A)^T + b`` where no gradient is asked for and that is less work than a sum, else as `_lora`.

    What a layer of another kind, or a call with more than the rows, leads to is left to peft.
    """
    base = layer.base_layer
    there = adapter in layer.lora_A and not (args or kwargs or layer.disable_adapters or layer.merged)
    parts = (layer.lora_A[adapter], layer.lora_B[adapter]) if there else ()
    if (
        not parts
        or layer.lora_variant
        or any(layer.lora_bias.values())
        or not all(type(part) is nn.Linear and _is_plain(part, x, part.weight) for part in (base, *parts))
    ):
        forward: Tensor = type(layer).forward(layer, x, *args, **kwargs)
        return forward
    A, B = (part.weight for part in parts)
    scaling = layer.scaling[adapter]
    dropout = layer.lora_dropout[adapter]
    drops = dropout.training and not isinstance(dropout, nn.Identity)
    entries = x.shape[:-1].numel()
    if not torch.is_grad_enabled() and not drops and entries > x.shape[-1]:  # W is smaller than the output
        return linear(x, torch.addmm(base.weight, B, A, alpha=scaling), base.bias)
    dropped = dropout(x) if drops else None
    shifted: Tensor = _LinearWithShifts.apply(x, dropped, base.weight, base.bias, [scaling], [entries], A, B)  # type: ignore[no-untyped-call]
    return shifted


def _lora(layer: Any, segments: Sequence[Segment], x: Tensor) -> Tensor:
    """Add each segment's shift: ``x W^T + b + s_t dropout(x) A_t^T B_t^T`` for the rows of task t."""
    base = layer.base_layer
    if layer.disable_adapters:
        return base(x)
    A = [layer.lora_A[segment.adapter].weight for segment in segments]
    B = [layer.lora_B[segment.adapter].weight for segment in segments]
    scaling = [layer.scaling[segment.adapter] for segment in segments]
    dropout = layer.lora_dropout[segments[0].adapter]  # the same settings for all tasks
    dropped = dropout(x.to(A[0].dtype)) if dropout.training and not isinstance(dropout, nn.Identity) else None
    sizes = _sizes(x, segments, entries=x.shape[:-1].numel())
    if _is_plain(base, x, A[0]):
        shifted: Tensor = _LinearWithShifts.apply(x, dropped, base.weight, base.bias, scaling, sizes, *A, *B)  # type: ignore[no-untyped-call]
        return shifted
    output = base(x)
    source = (x.to(A[0].dtype) if dropped is None else dropped).flatten(0, -2).split_with_sizes(sizes)
    shifts = [linear(linear(rows, A_t), B_t) * s for rows, A_t, B_t, s in zip(source, A, B, scaling, strict=True)]
    return (output + torch.cat(shifts).view(output.shape)).to(output.dtype)


def _is_plain(base: nn.Module, x: Tensor, A: Tensor) -> bool:
    """Say whether a layer is no more than ``x W^T + b`` in one precision, which the fused form below computes."""
    return (
        type(base) is nn.Linear
        and not (base._forward_hooks or base._forward_pre_hooks or base._backward_hooks or base._backward_pre_hooks)
        and "forward" not in base.__dict__
        and x.dtype == base.weight.dtype == A.dtype
        and not (torch.amp.is_autocast_available(x.device.type) and torch.is_autocast_enabled(x.device.type))
    )


class _LinearWithShifts(torch.autograd.Function):
    """A linear layer with a shift per segment, ``x W^T + b + s_t x' A_t^T B_t^T``, x' being x or its dropped-out form.

    Shifts are added in place, in both directions: what a separate sum costs is memory traffic, most of a shift's cost.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        dropped: Tensor | None,
        W: Tensor,
        b: Tensor | None,
        scaling: list[float],
        sizes: list[int],
        *factors: Tensor,
    ) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        source = flat if dropped is None else dropped.reshape(flat.shape)
        A, B = factors[: len(sizes)], factors[len(sizes) :]
        shaped = x.new_empty(*x.shape[:-1], len(W))  # itself, not a view, so that what comes next may work in place
        output = shaped.view(-1, len(W))
        if b is None:
            torch.mm(flat, W.t(), out=output)
        else:
            torch.addmm(b, flat, W.t(), out=output)
        inner = []
        parts = zip(source.split_with_sizes(sizes), output.split_with_sizes(sizes), A, B, scaling, strict=True)
        for rows, out, A_t, B_t, s_t in parts:
            inner.append(torch.mm(rows, A_t.t()))
            out.addmm_(inner[-1], B_t.t(), alpha=s_t)
        ctx.save_for_backward(flat, None if dropped is None else source, W, *factors, *inner)
        ctx.shape, ctx.scaling, ctx.sizes = x.shape, scaling, sizes
        return shaped

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, dropped, W, *rest = ctx.saved_tensors
        n = len(ctx.sizes)
        factors, inner = rest[: 2 * n], rest[2 * n :]
        wanted = ctx.needs_input_grad
        g = gradient.reshape(-1, gradient.shape[-1])
        dx = torch.mm(g, W) if wanted[0] else None
        ddropped = torch.zeros_like(dropped) if dropped is not None and wanted[1] else None
        dfactors = _factors_gradients(
            g,
            x if dropped is None else dropped,
            factors,
            inner,
            scaling=ctx.scaling,
            sizes=ctx.sizes,
            through=dx if dropped is None else ddropped,
        )
        return (
            None if dx is None else dx.view(ctx.shape),
            None if ddropped is None else ddropped.view(ctx.shape),
            torch.mm(g.t(), x) if wanted[2] else None,
            g.sum(0) if wanted[3] else None,
            None,
            None,
            *(d if want else None for d, want in zip(dfactors, wanted[6:], strict=True)),
        )


def _factors_gradients(
    g: Tensor,
    source: Tensor,
    factors: Sequence[Tensor],
    inner: Sequence[Tensor],
    *,
    scaling: list[float],
    sizes: list[int],
    through: Tensor | None,
) -> list[Tensor]:
    """Return the gradients of ``A_1 .. A_T, B_1 .. B_T``, and add that of what the shifts apply to to `through`."""
    A, B = factors[: len(sizes)], factors[len(sizes) :]
    dA, dB = [], []
    targets = [None] * len(sizes) if through is None else through.split_with_sizes(sizes)
    parts = zip(g.split_with_sizes(sizes), source.split_with_sizes(sizes), targets, strict=True)
    for (g_t, rows, target), A_t, B_t, h, s_t in zip(parts, A, B, inner, scaling, strict=True):
        dh = torch.mm(g_t, B_t).mul_(s_t)
        dA.append(torch.mm(dh.t(), rows))
        dB.append(torch.mm(g_t.t(), h).mul_(s_t))
        if target is not None:
            target.addmm_(dh, A_t)
    return dA + dB


def _sizes(x: Tensor, segments: Sequence[Segment], *, entries: int) -> list[int]:
    """Return how many of a number of entries of x, counted along its leading axes, belong to each segment."""
    rows = sum(segment.rows for segment in segments)
    if x.ndim == 0 or len(x) == 0 or len(x) % rows:
        raise MixingError(f"a layer is called with shape {tuple(x.shape)}, expected {rows} rows or a multiple first")
    return [segment.rows * (entries // rows) for segment in segments]


def _kind(module: object) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"
