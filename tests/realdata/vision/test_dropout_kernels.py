"""The compiled kernels: the functions they compute, the hash, and that blocks may be shared out in any way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from realdata.vision import dropout_kernels as kernels

PRECISIONS = [np.float32, np.float64]
NOTHING = np.uint64(0)  # the threshold below which no hash is


def run(kernel: Callable[..., None], *inputs: Any, key: int = 1, threshold: int = 0, scale: float = 1.0) -> Any:
    """Return what a kernel writes, all blocks in one call."""
    out = np.full_like(inputs[0], np.nan)
    blocks = -(-len(out) // kernels.BLOCK)
    kernel(*inputs, out, np.uint64(key), np.uint64(threshold), out.dtype.type(scale), 0, blocks)
    return out


def hashes(key: int, count: int) -> list[int]:
    """Return SplitMix64's outputs from a state on, in Python's whole numbers."""
    every, found = (1 << 64) - 1, []
    for i in range(count):
        z = (key + i * 0x9E3779B97F4A7C15) & every
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & every
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & every
        found.append(z ^ (z >> 31))
    return found


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_gelu_and_its_derivative_to_rounding(dtype: Any) -> None:
    x = np.linspace(-12, 12, 400_001).astype(dtype)
    exact = x.astype(np.float64)
    Phi, phi = ndtr(exact), np.exp(-(exact**2) / 2) / np.sqrt(2 * np.pi)
    allowed = 2.5 * np.finfo(dtype).eps * np.maximum(1, np.abs(exact))
    assert np.all(np.abs(run(kernels.gelu_dropout, x) - exact * Phi) <= allowed)
    derivative = run(kernels.gelu_dropout_gradient, x, np.ones_like(x))
    assert np.all(np.abs(derivative - (Phi + exact * phi)) <= allowed)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_gelu_of_what_is_not_in_the_table(dtype: Any) -> None:
    x = np.array([0.0, -0.0, 40.0, -40.0, 1e30, -1e30, np.inf, np.nan], dtype)
    np.testing.assert_array_equal(run(kernels.gelu_dropout, x), np.array([0, 0, 40, 0, 1e30, 0, np.inf, np.nan], dtype))
    derivative = run(kernels.gelu_dropout_gradient, x[:6], np.ones_like(x[:6]))
    np.testing.assert_allclose(derivative, [0.5, 0.5, 1, 0, 1, 0], atol=1e-7)


def test_the_hash_is_splitmix64_its_halves_for_the_halves_of_a_block() -> None:
    assert hashes(0x9E3779B97F4A7C15, 1) == [0xE220A8397B1DCDAF]  # the first output from state 0, as published
    key, threshold, half = (1 << 63) - 5, 1 << 31, kernels.HALF_BLOCK
    z = np.array(hashes(key, 2 * half), dtype=np.uint64).reshape(2, half)
    expected = np.stack([z & np.uint64(0xFFFFFFFF), z >> np.uint64(32)], axis=1) >= threshold  # (blocks, halves, half)
    kept = run(kernels.dropout, np.ones(2 * kernels.BLOCK, np.float32), key=key, threshold=threshold)
    np.testing.assert_array_equal(kept.reshape(2, 2, half), expected)


@pytest.mark.parametrize("kernel", ["dropout", "dropout_add", "gelu_dropout", "gelu_dropout_gradient"])
def test_every_kernel_multiplies_by_the_same_mask(kernel: str) -> None:
    rng = np.random.default_rng(0)
    x, other = rng.standard_normal((2, 3 * kernels.BLOCK + 5))
    how: dict[str, Any] = {"key": 7, "threshold": 1 << 30, "scale": 4 / 3}
    mask = run(kernels.dropout, np.ones_like(x), **how)
    assert set(mask) == {0.0, 4 / 3}
    expected = {
        "dropout": x * mask,
        "dropout_add": other + x * mask,
        "gelu_dropout": x * ndtr(x) * mask,
        "gelu_dropout_gradient": other * mask * (ndtr(x) + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)),
    }
    inputs = {"dropout_add": (other, x), "gelu_dropout_gradient": (x, other)}.get(kernel, (x,))
    np.testing.assert_allclose(run(getattr(kernels, kernel), *inputs, **how), expected[kernel], rtol=1e-13, atol=1e-15)


def test_both_precisions_have_the_same_mask() -> None:
    single, double = (
        run(kernels.dropout, np.ones(10_000, dtype), key=3, threshold=1 << 31, scale=2.0) for dtype in PRECISIONS
    )
    np.testing.assert_array_equal(single, double)


@given(size=st.integers(1, 5 * kernels.BLOCK), cut=st.integers(0, 5), key=st.integers(0, 2**63 - 1))
def test_blocks_may_be_shared_out_in_any_way(size: int, cut: int, key: int) -> None:
    x = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    how = np.uint64(key), np.uint64(1 << 30), np.float32(4 / 3)
    blocks = -(-size // kernels.BLOCK)
    cut = min(cut, blocks)
    out = np.full(size, np.nan, np.float32)
    kernels.gelu_dropout(x, out, *how, cut, blocks)
    assert np.isnan(out[: cut * kernels.BLOCK]).all()
    kernels.gelu_dropout(x, out, *how, 0, cut)
    np.testing.assert_array_equal(out, run(kernels.gelu_dropout, x, key=key, threshold=1 << 30, scale=4 / 3))
