"""The library that an array belongs to: the theory runs on any that follows the array-API standard."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import array_api_compat
import array_api_compat.numpy
import numpy as np

NUMPY: ModuleType = array_api_compat.numpy


def array_namespace(array: Any) -> Any:
    """Return the array's library; NumPy's at once, where the general way takes longer than a small sum.

    Raises
    ------
    TypeError
        If it is not an array of the array API.
    """
    return NUMPY if isinstance(array, (np.ndarray, np.generic)) else array_api_compat.array_namespace(array)


def total(array: Any, axis: int | tuple[int, ...]) -> Any:
    """Return the sum over these axes; NumPy's own at once, as in `array_namespace`."""
    if isinstance(array, np.ndarray):
        return np.add.reduce(array, axis=axis)
    return array_namespace(array).sum(array, axis=axis)
