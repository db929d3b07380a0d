"""Dropout, alone or with GELU or a sum, compiled by numba: one pass over the memory, and no mask is stored.

Whether element i stays is decided by a hash of the call's key and i: SplitMix64 of G. L. Steele, D. Lea and C. H.
Flood, Fast splittable pseudorandom number generators, OOPSLA 2014. So the backward pass finds the mask again, and a
result does not depend on how the blocks are distributed over threads.

Every kernel works on blocks ``first`` to ``last - 1``, of BLOCK elements, of flat arrays of one length and type,
float32 or float64. It multiplies by the mask: 0 where 32 bits of the hash are below ``threshold``, elsewhere ``scale``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numba
import numpy as np
from numba.core import types
from numba.extending import overload

HALF_BLOCK = 1024
BLOCK = 2 * HALF_BLOCK  # three arrays and the mask of a block fit in the L1 cache
Array: TypeAlias = np.ndarray[Any, Any]


def _compiled(function: Callable[..., Any]) -> Any:
    """Compile at the first call, without the interpreter's lock; cache the code on disk where possible."""
    settings: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}
    try:
        return numba.njit(function, cache=True, **settings)
    except RuntimeError:  # numba found no folder for its cache
        return numba.njit(function, **settings)


def _compiled_by_type(function: Callable[[Any], Any]) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Decorate a function that chooses the compiled code of `function` by the type of x."""

    def decorate(choose: Callable[[Any], Any]) -> Callable[[Any], Any]:
        overload(function)(choose)
        return choose

    return decorate


_F = np.float32
_HALF, _ZERO, _LIMIT = _F(0.5), _F(0), _F(5.5)  # Φ(-5.5) = 1.9e-8, less than half the spacing of float32 below 1
# (Φ(x) - ½) / x = P(x²) / Q(x²); before rounding, x P / Q is off by at most 2.0e-8 for |x| <= 5.5. By least squares,
# repeated with weights moved to the largest errors.
_P = tuple(
    map(_F, (0.398942155, 0.0359216376, 0.00450912552, 1.70367699e-4, 3.24098763e-6, -2.20822281e-8, 1.11758294e-10))
)
_Q = tuple(map(_F, (1.0, 0.256706764, 0.029091156, 0.00183060799, 6.23243693e-5)))


def _distribution(x: Any) -> Any:
    """The normal distribution function Φ(x) in compiled code."""


@_compiled_by_type(_distribution)
def _chosen_distribution(x: Any) -> Any:
    def of_float32(x: Any) -> Any:
        y = max(min(x, _LIMIT), -_LIMIT)
        s = y * y
        p = _P[0] + s * (_P[1] + s * (_P[2] + s * (_P[3] + s * (_P[4] + s * (_P[5] + s * _P[6])))))
        q = _Q[0] + s * (_Q[1] + s * (_Q[2] + s * (_Q[3] + s * _Q[4])))
        return _ZERO if x < -_LIMIT else _HALF + y * p / q

    def of_float64(x: Any) -> Any:
        return 0.5 * math.erfc(-x * math.sqrt(0.5))

    return of_float32 if x == types.float32 else of_float64


_LOG2_E = _F(1 / math.log(2))
_LN2_HIGH = _F(0.693359375)  # 9 significant bits, so that its product with a small whole number is exact
_LN2_LOW = _F(math.log(2) - 0.693359375)
_TO_WHOLE = _F(1.5 * 2**23)  # a number added to it is rounded to a whole number
_TAYLOR = tuple(_F(1 / math.factorial(i)) for i in range(7))
_LOWEST = _F(-87)  # exp of less is subnormal
_AT_ZERO = _F(1 / math.sqrt(2 * math.pi))
_BIAS, _MANTISSA = np.int32(127), np.int32(23)


def _density(x: Any) -> Any:
    """The normal density φ(x) in compiled code."""


@_compiled_by_type(_density)
def _chosen_density(x: Any) -> Any:
    def of_float32(x: Any) -> Any:  # exp(y) = 2^n exp(r) with y = n ln 2 + r and |r| <= ½ ln 2
        y = max(-_HALF * x * x, _LOWEST)
        n = (y * _LOG2_E + _TO_WHOLE) - _TO_WHOLE
        r = (y - n * _LN2_HIGH) - n * _LN2_LOW
        t = _TAYLOR
        e = t[0] + r * (t[1] + r * (t[2] + r * (t[3] + r * (t[4] + r * (t[5] + r * t[6])))))
        return _AT_ZERO * e * np.int32((np.int32(n) + _BIAS) << _MANTISSA).view(np.float32)

    def of_float64(x: Any) -> Any:
        return math.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)

    return of_float32 if x == types.float32 else of_float64


_WEYL, _LOW = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xFFFFFFFF)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_27, _30, _31, _32 = (np.uint64(bits) for bits in (27, 30, 31, 32))


@_compiled
def _draw(mask: Array, key: np.uint64, block: int, threshold: np.uint64, scale: Any) -> None:
    """Fill a block's mask; a hash decides one element of its first half and one of its second."""
    key = key + np.uint64(block * HALF_BLOCK) * _WEYL
    zero = scale - scale  # of its type
    first, second = mask[:HALF_BLOCK], mask[HALF_BLOCK:]
    for i in range(HALF_BLOCK):
        z = key + np.uint64(i) * _WEYL
        z = (z ^ (z >> _30)) * _MIX_1
        z = (z ^ (z >> _27)) * _MIX_2
        z = z ^ (z >> _31)
        first[i] = scale if (z & _LOW) >= threshold else zero
        second[i] = scale if (z >> _32) >= threshold else zero


# Separate loops over arrays that start at their first index, so that LLVM vectorises them.


@_compiled
def _multiply(x: Array, mask: Array, out: Array) -> None:
    for i in range(len(x)):
        out[i] = x[i] * mask[i]


@_compiled
def _multiply_add(residual: Array, x: Array, mask: Array, out: Array) -> None:
    for i in range(len(x)):
        out[i] = residual[i] + x[i] * mask[i]


@_compiled
def _gelu_multiply(x: Array, mask: Array, out: Array) -> None:
    for i in range(len(x)):
        out[i] = x[i] * _distribution(x[i]) * mask[i]


@_compiled
def _gelu_gradient_multiply(x: Array, gradient: Array, mask: Array, out: Array) -> None:
    for i in range(len(x)):
        out[i] = gradient[i] * mask[i] * (_distribution(x[i]) + x[i] * _density(x[i]))


@_compiled
def dropout(x: Array, out: Array, key: np.uint64, threshold: np.uint64, scale: Any, first: int, last: int) -> None:
    """Write x times the mask to out."""
    mask = np.empty(BLOCK, x.dtype)
    for block in range(first, last):
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        _draw(mask, key, block, threshold, scale)
        _multiply(x[part], mask, out[part])


@_compiled
def dropout_add(
    residual: Array, x: Array, out: Array, key: np.uint64, threshold: np.uint64, scale: Any, first: int, last: int
) -> None:
    """Write the residual plus x times the mask to out."""
    mask = np.empty(BLOCK, x.dtype)
    for block in range(first, last):
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        _draw(mask, key, block, threshold, scale)
        _multiply_add(residual[part], x[part], mask, out[part])


@_compiled
def gelu_dropout(x: Array, out: Array, key: np.uint64, threshold: np.uint64, scale: Any, first: int, last: int) -> None:
    """Write GELU(x) = x Φ(x) times the mask to out."""
    mask = np.empty(BLOCK, x.dtype)
    for block in range(first, last):
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        _draw(mask, key, block, threshold, scale)
        _gelu_multiply(x[part], mask, out[part])


@_compiled
def gelu_dropout_gradient(
    x: Array, gradient: Array, out: Array, key: np.uint64, threshold: np.uint64, scale: Any, first: int, last: int
) -> None:
    """Write the gradient times the mask times GELU'(x) = Φ(x) + x φ(x) to out."""
    mask = np.empty(BLOCK, x.dtype)
    for block in range(first, last):
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        _draw(mask, key, block, threshold, scale)
        _gelu_gradient_multiply(x[part], gradient[part], mask, out[part])
