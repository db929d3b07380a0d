"""Parts of a forward that run again in the backward pass, as gradient checkpointing lets them, in the state of then.

Which adapter a layer applies is a state of the model, and another one by the time a gradient is due. So what torch's
checkpoints run again, of both kinds and whoever makes them, transformers included, runs in the state that its forward
asked to keep. For this torch's two classes are extended once, when this module is imported; a checkpoint that is made
where no state is to be kept is as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, TypeAlias

from torch.utils import checkpoint

Restore: TypeAlias = Callable[[], AbstractContextManager[None]]

_KEEP: ContextVar[Callable[[], Restore] | None] = ContextVar("what keeps the state of a forward", default=None)


@contextmanager
def kept_for_recomputation(keep: Callable[[], Restore]) -> Iterator[None]:
    """Let what is checkpointed in the block run again in a state that is kept.

    Parameters
    ----------
    keep
        Called in the block, at the first checkpoint and at no other time; returns what restores the present state for
        as long as a context lasts.
    """
    token = _KEEP.set(cache(keep))
    try:
        yield
    finally:
        _KEEP.reset(token)


def is_kept() -> bool:
    """Say whether a state is kept for what runs now, a forward or a checkpoint that runs again."""
    return _KEEP.get() is not None


def _restoring(run: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs another in the state that is now to be kept; it itself if there is none."""
    keep = _KEEP.get()
    if keep is None:
        return run
    restore = keep()

    def again(*args: Any, **named: Any) -> Any:
        with kept_for_recomputation(keep), restore():
            return run(*args, **named)

    return again


def _extend_torchs_checkpoints() -> None:
    reentrant: Any = checkpoint.CheckpointFunction
    other: Any = checkpoint._CheckpointFrame
    forward, made = reentrant.forward, other.__init__

    def forward_and_keep(ctx: Any, run: Callable[..., Any], *args: Any) -> Any:
        outputs = forward(ctx, run, *args)
        ctx.run_function = _restoring(run)
        return outputs

    def made_and_kept(frame: Any, run: Callable[..., Any], *args: Any, **named: Any) -> None:
        made(frame, _restoring(run), *args, **named)

    reentrant.forward, other.__init__ = staticmethod(forward_and_keep), made_and_kept


_extend_torchs_checkpoints()
