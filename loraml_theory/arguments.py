"""What public functions ask of their arguments, checked once, at the boundary."""

from __future__ import annotations

from math import isfinite
from numbers import Real
from typing import Any

from array_api_compat import is_array_api_obj

from loraml_theory.libraries import array_namespace


def require_kind(name: str, value: object, kind: type) -> None:
    """Raise unless `value` is of a class of this package.

    Raises
    ------
    TypeError
        If it is of another.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name}: got {type(value).__name__}, expected {kind.__name__}")


def require_count(name: str, value: float, *, least: int = 1) -> int:
    """Return `value` as a whole number.

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it is not whole, not finite, or less than `least`.
    """
    expected = f"expected a whole number >= {least}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}: got {type(value).__name__}, {expected}")
    if not isfinite(value) or value != int(value) or value < least:
        raise ValueError(f"{name}: got {value}, {expected}")
    return int(value)


def require_batch(batch: tuple[int, ...]) -> tuple[int, ...]:
    """Return `batch`, leading axes of arrays, as whole numbers.

    Raises
    ------
    TypeError
        If it is not a tuple of numbers.
    ValueError
        If one of them is not whole, or negative.
    """
    if not isinstance(batch, tuple):
        raise TypeError(f"batch: got {type(batch).__name__}, expected a tuple of whole numbers")
    return tuple(require_count("batch", size, least=0) for size in batch)


def require_scale(name: str, value: float, *, positive: bool = False) -> None:
    """Raise unless `value` is a finite number, at least 0 or above it.

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it is not finite, or out of range.
    """
    expected = f"expected a finite number {'>' if positive else '>='} 0"
    if not isinstance(value, Real):
        raise TypeError(f"{name}: got {type(value).__name__}, {expected}")
    if not isfinite(value) or value < 0 or (positive and value == 0):
        raise ValueError(f"{name}: got {value}, {expected}")


def require_one_library(**arrays: Any) -> None:
    """Raise unless all arrays are of one library.

    Raises
    ------
    TypeError
        If they are of several, such as NumPy and torch.
    """
    libraries = {
        name: array_namespace(value).__name__.removeprefix("array_api_compat.") for name, value in arrays.items()
    }
    if len(set(libraries.values())) > 1:
        found = ", ".join(f"{name} of {library}" for name, library in libraries.items())
        raise TypeError(f"{', '.join(arrays)}: got {found}, expected arrays of one library")


def require_generator(rng: object) -> None:
    """Raise unless `rng` draws random numbers as NumPy's generators do.

    Raises
    ------
    TypeError
        If it does not, such as a seed.
    """
    if not hasattr(rng, "standard_normal"):
        raise TypeError(f"rng: got {type(rng).__name__}, expected a generator, such as numpy.random.default_rng(0)")


def require_real_floating(name: str, value: Any) -> None:
    """Raise unless `value` is a finite array of float64.

    Raises
    ------
    TypeError
        If it is not an array of the array API, or its dtype is not float64.
    ValueError
        If it holds NaN or infinity.
    """
    if not is_array_api_obj(value):
        raise TypeError(f"{name}: got {type(value).__name__}, expected an array of float64")
    xp = array_namespace(value)
    if value.dtype != xp.float64:
        raise TypeError(f"{name}: got dtype {value.dtype}, expected float64")
    if not bool(xp.all(xp.isfinite(value))):
        raise ValueError(f"{name}: holds NaN or infinity, expected finite numbers")
