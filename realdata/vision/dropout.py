"""Dropout fused with GELU or with a residual's sum, several times faster on the CPU than separate operations.

torch draws the mask on one thread, more slowly than the linear layers of an MLP-Mixer compute. Here each element is
visited once by compiled code, on all of torch's threads; the mask is computed again in the backward pass. An element
becomes 0 with probability p, rounded to a multiple of 2⁻³², and the others are scaled so that the mean is kept exactly.
All draws of a call follow from one number from torch's global CPU generator, for any number of threads. On other
devices, in other precisions and under `torch.compile` torch's own functions are used.
"""

from __future__ import annotations

import os
import weakref
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from realdata.vision import dropout_kernels as kernels

_STEPS = 1 << 32
_BLOCKS_A_THREAD = 16  # 32 768 elements, torch's smallest share of a thread


class Mask(NamedTuple):
    """The parameters of a call's mask.

    Parameters
    ----------
    key
        A number from 0 to 2⁶³ - 1.
    threshold
        The probability of 0, in units of 2⁻³².
    """

    key: int
    threshold: int

    @classmethod
    def drawn(cls, p: float) -> Mask:
        """Draw a mask that is 0 with probability p from torch's global CPU generator."""
        return cls(int(torch.empty((), dtype=torch.int64).random_()), round(p * _STEPS))

    @property
    def scale(self) -> float:
        """Scale of the elements that stay, one over their probability."""
        return _STEPS / (_STEPS - self.threshold)


@cache
def _workers(process: int, count: int) -> ThreadPoolExecutor:  # per process: threads do not survive a fork
    return ThreadPoolExecutor(count, thread_name_prefix=f"dropout-{process}")


def _run(kernel: Callable[..., None], *tensors: Tensor, mask: Mask) -> None:
    """Run a kernel on contiguous tensors of one shape and type, the last of which is the output."""
    arrays = [tensor.detach().view(-1).numpy() for tensor in tensors]
    size, number = arrays[0].size, arrays[0].dtype.type
    numbers = (np.uint64(mask.key), np.uint64(mask.threshold), number(mask.scale))
    blocks = -(-size // kernels.BLOCK)
    threads = max(1, min(torch.get_num_threads(), blocks // _BLOCKS_A_THREAD))
    ends = [blocks * thread // threads for thread in range(threads + 1)]
    others = [
        _workers(os.getpid(), threads - 1).submit(kernel, *arrays, *numbers, first, last)
        for first, last in pairwise(ends[1:])
    ]
    try:
        kernel(*arrays, *numbers, ends[0], ends[1])
    finally:
        for other in others:
            other.result()  # also after an error: no thread may still write


_RECYCLED_FROM = 1 << 18  # elements; a memory allocator caches smaller pieces itself
_unused: defaultdict[tuple[int, torch.dtype], list[NDArray[Any]]] = defaultdict(list)


def _empty_like(x: Tensor) -> Tensor:
    """Return a contiguous tensor of the shape and type of x, in memory that is no longer referenced.

    Otherwise large pieces of memory return to the system in each step, which fills every new page with zeros, and this
    costs more than a kernel. By size, as much is cached as was in use at once.
    """
    count = x.numel()
    if count < _RECYCLED_FROM:
        return torch.empty_like(x, memory_format=torch.contiguous_format)
    step = 1 << (count.bit_length() - 3)
    unused = _unused[-(-count // step) * step, x.dtype]  # few sizes, at least 4/5 used
    try:
        memory = unused.pop()
    except IndexError:
        memory = torch.empty(-(-count // step) * step, dtype=x.dtype).numpy()
    lent = memory[:count]
    weakref.finalize(lent, unused.append, memory).atexit = False  # the tensor holds a reference to `lent`
    return torch.from_numpy(lent).view(x.shape)


def _contiguous(x: Tensor) -> Tensor:
    return x if x.is_contiguous() else _empty_like(x).copy_(x)


def _compiled_for(*tensors: Tensor) -> bool:
    """Return whether the kernels apply: to tensors of one type, float32 or float64, in the CPU's memory."""
    dtypes = {tensor.dtype for tensor in tensors}
    return (
        len(dtypes) == 1
        and dtypes <= {torch.float32, torch.float64}
        and all(tensor.device.type == "cpu" for tensor in tensors)
        and not torch.compiler.is_compiling()
    )


def _refuse_second_derivatives() -> None:
    if torch.is_grad_enabled():  # in a backward pass only with create_graph=True; torch would silently omit terms
        raise RuntimeError("dropout: got create_graph=True, expected first derivatives only; eval mode has all")


class _GELUDropout(torch.autograd.Function):
    """x ↦ GELU(x) m."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Mask) -> Tensor:
        x = _contiguous(x)
        ctx.mask = mask
        ctx.save_for_backward(x)
        out = _empty_like(x)
        _run(kernels.gelu_dropout, x, out, mask=mask)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        _refuse_second_derivatives()
        (x,) = ctx.saved_tensors
        out = _empty_like(x)
        _run(kernels.gelu_dropout_gradient, x, _contiguous(gradient), out, mask=ctx.mask)
        return out, None


class _DropoutAdd(torch.autograd.Function):
    """(r, x) ↦ r + x m."""

    @staticmethod
    def forward(ctx: Any, residual: Tensor, x: Tensor, mask: Mask) -> Tensor:
        ctx.mask = mask
        residual = _contiguous(residual)
        out = _empty_like(residual)
        _run(kernels.dropout_add, residual, _contiguous(x), out, mask=mask)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        _refuse_second_derivatives()
        if not ctx.needs_input_grad[1]:
            return gradient, None, None
        contiguous = _contiguous(gradient)
        out = _empty_like(contiguous)
        _run(kernels.dropout, contiguous, out, mask=ctx.mask)
        return gradient, out, None


class _Dropout(nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout: got {p}, expected a probability >= 0 and < 1")
        self.p = p

    def extra_repr(self) -> str:
        """Return the probability."""
        return f"p={self.p}"


class GELUDropout(_Dropout):
    """GELU, x Φ(x) with the normal distribution function Φ, then dropout in training.

    Parameters
    ----------
    p
        The probability of 0, less than 1.

    Raises
    ------
    ValueError
        If p is not such a probability.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of x."""
        if not self.training or self.p == 0:
            return functional.gelu(x)
        if not _compiled_for(x):
            return functional.dropout(functional.gelu(x), self.p)
        out: Tensor = _GELUDropout.apply(x, Mask.drawn(self.p))  # type: ignore[no-untyped-call]
        return out


class DropoutAdd(_Dropout):
    """A residual plus x after dropout in training.

    Parameters
    ----------
    p
        The probability of 0, less than 1.

    Raises
    ------
    ValueError
        If p is not such a probability.
    """

    def forward(self, residual: Tensor, x: Tensor) -> Tensor:
        """Return the sum; both are of its shape.

        Raises
        ------
        ValueError
            If the shapes differ.
        """
        if residual.shape != x.shape:
            raise ValueError(f"x: got shape {tuple(x.shape)}, expected the residual's, {tuple(residual.shape)}")
        if not self.training or self.p == 0:
            return residual + x
        if not _compiled_for(residual, x):
            return residual + functional.dropout(x, self.p)
        out: Tensor = _DropoutAdd.apply(residual, x, Mask.drawn(self.p))  # type: ignore[no-untyped-call]
        return out
