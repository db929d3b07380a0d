"""The other LAPACK is right to rounding, and differs wherever it may."""

from __future__ import annotations

import numpy as np
import pytest

from tests.other_lapack import functions

THEIRS, OTHERS = functions("one"), functions("another")


@pytest.mark.parametrize("rank", [3, 5])
def test_decompositions_are_right_to_rounding(rank: int) -> None:
    B = np.random.default_rng(0).standard_normal((2, 5, rank))
    M = B @ B.swapaxes(-1, -2)
    values, V = THEIRS["eigh"](M)
    assert (V * values[:, None, :]) @ V.swapaxes(-1, -2) == pytest.approx(M, abs=1e-13)
    assert V.swapaxes(-1, -2) @ V == pytest.approx(np.stack([np.eye(5)] * 2), abs=1e-14)
    left, singular, right = THEIRS["svd"](B, full_matrices=False)
    assert (left * singular[:, None, :]) @ right == pytest.approx(B, abs=1e-13)
    assert THEIRS["eigvalsh"](M) == pytest.approx(np.linalg.eigvalsh(M), abs=1e-13)
    assert THEIRS["svdvals"](B) == pytest.approx(singular)


def test_vectors_of_a_multiple_eigenvalue_differ_and_of_a_simple_one_up_to_the_sign() -> None:
    M = np.diag([1.0, 1.0, 1.0, 5.0])
    (_, one), (_, other) = THEIRS["eigh"](M), OTHERS["eigh"](M)
    assert np.outer(one[:, 3], one[:, 3]) == pytest.approx(np.outer(other[:, 3], other[:, 3]))
    assert np.max(np.abs(np.outer(one[:, 0], one[:, 0]) - np.outer(other[:, 0], other[:, 0]))) > 0.1
    assert np.array_equal(THEIRS["eigh"](M)[1], one)  # the same matrix, the same answer


def test_what_it_does_not_replace_is_the_library_s() -> None:
    M = np.random.default_rng(1).standard_normal((3, 2))
    for replaced, own in zip(THEIRS["svd"](M), np.linalg.svd(M), strict=True):
        assert np.array_equal(replaced, own)
    for single in (M.astype(np.float32), M[:0]):
        assert np.array_equal(THEIRS["svdvals"](single), np.linalg.svd(single, compute_uv=False))
