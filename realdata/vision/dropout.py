"""Dropout joined with GELU or with a residual's sum, several times faster on the CPU than one operation after another.

torch draws the mask on one thread, more slowly than the linear layers of an MLP-Mixer compute. Here each element is
visited once by compiled code, on all of torch's threads; the mask is computed again in the backward pass. An element
becomes 0 with probability p, rounded to a multiple of 2⁻³², and the others are multiplied such that the mean is kept
exactly. All draws of a call follow from one that is made from torch's global CPU generator, whatever the number of
threads. On other devices, in other precisions and under `torch.compile` torch's own functions are used.
"""

from __future__ import annotations

import os
import weakref
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from realdata.vision import dropout_kernels as kernels

_STEPS = 1 << 32
_BLOCKS_A_THREAD = 16  # 32 768 elements, torch's own least share of a thread


class Mask(NamedTuple):
    """What a call's mask follows from.

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
        """What the elements that stay are multiplied by, one over their probability."""
        return _STEPS / (_STEPS - self.threshold)


@cache
def _workers(process: int, count: int) -> ThreadPoolExecutor:  # per process: threads do not survive a fork
    return ThreadPoolExecutor(count, thread_name_prefix=f"dropout-{process}")


def _run(kernel: Callable[..., None], *tensors: Tensor, mask: Mask) -> None:
    """Run a kernel on contiguous tensors of one shape and type, the last of them written to."""
    arrays = [tensor.detach().view(-1).numpy() for tensor in tensors]
    size, number = arrays[0].size, arrays[0].dtype.type
    numbers = (np.uint64(mask.key), np.uint64(mask.threshold), number(mask.scale))
    blocks = -(-size // kernels.BLOCK)
    threads = max(1, min(torch.get_num_threads(), blocks // _BLOCKS_A_THREAD))
    ends = [blocks * thread // threads for thread in range(threads + 1)]
    others = [
        _workers(os.getpid(), threads - 1).submit(kernel, *arrays, *numbers, first, last)
        for first, last in zip(ends[1:-1], ends[2:], strict=True)
    ]
    try:
        kernel(*arrays, *numbers, ends[0], ends[1])
    finally:
        for other in others:
            other.result()  # also after an error: nothing may go on writing
