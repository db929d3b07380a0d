"""All critical points of one generic complex structure for each shape, from which those of others are tracked.

``benchmarks/start_sets.py`` makes the files, and says how the counts are checked.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SHAPES = ((3, 3),)
"""Numbers (m, T) of coordinates and tasks with a start set."""


class StartSet(NamedTuple):
    """A structure ``(T, m)`` of norm ``(T m)^(1/2)`` and its critical points, one a sign orbit, ``(N, T, m)``."""

    v: NDArray[np.complex128]
    u: NDArray[np.complex128]


@cache
def start_set(m: int, T: int) -> StartSet:
    """Return the start set of T tasks in m dimensions.

    Raises
    ------
    ValueError
        If the package has none.
    """
    if (m, T) not in SHAPES:
        raise ValueError(f"m, T: got {m}, {T}, expected one of {SHAPES}")
    with files("loraml_theory").joinpath(f"critical_points/start-{m}-{T}.npy").open("rb") as file:
        both = np.load(file, allow_pickle=False)
    return StartSet(both[0], both[1:])
