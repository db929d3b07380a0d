"""The tasks in few coordinates: what is kept, what is left out, and that one task at a time is enough."""

from __future__ import annotations

import numpy as np
import pytest

from loraml_theory.statistics.task_span import span_of_factors, span_of_matrices
from tests.loraml_theory.planted import planted, relative, span_of


def test_small_matrices_are_kept_whole() -> None:
    W = planted(0, sigma=0.1).W
    span = span_of(W)
    apart = W - W.mean(axis=0)
    assert (span.Q, span.P, span.T) == (None, None, 4)
    assert np.allclose(span.cores, apart)
    assert span.mean is not None
    assert np.allclose(span.mean, W.mean(axis=0))
    assert np.allclose(span.gram, np.einsum("tij,sij->ts", apart, apart))
    assert span.difference_energy(1, 3) == pytest.approx(np.sum((W[1] - W[3]) ** 2))
    assert np.allclose(span.lift(span.cores[2]), apart[2])


@pytest.mark.parametrize("shape", [(90, 70), (20, 90), (90, 20)])
def test_shifts_of_low_rank_lose_nothing_in_a_span_of_their_size(shape: tuple[int, int]) -> None:
    tasks = planted(1, shape=shape, k=3)
    span = span_of(tasks.W, size=16)
    assert max(span.cores.shape[1:]) <= 24
    for t in range(4):
        assert relative(span.lift(span.cores[t]), tasks.W[t] - tasks.W.mean(axis=0)) <= 1e-10


def test_noise_is_left_out_and_the_leading_singular_values_stay() -> None:
    tasks = planted(2, shape=(200, 150), k=2, sigma=0.5)
    span = span_of(tasks.W, size=32)
    known = np.linalg.svd(span.cores[0] - span.cores[1], compute_uv=False)[:4]
    whole = np.linalg.svd(tasks.W[0] - tasks.W[1], compute_uv=False)[:4]
    assert np.all(known <= whole * (1 + 1e-12))
    assert np.allclose(known, whole, rtol=1e-2)
    assert np.sum(span.cores**2) < 0.9 * np.trace(span.gram)


def test_large_matrices_are_taken_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loraml_theory.statistics.task_span.EXACT", 1000)
    monkeypatch.setattr("loraml_theory.statistics.task_span.CHUNK", 500)  # a few rows at a time
    tasks = planted(3, shape=(60, 40), k=2)
    asked: list[int] = []

    def read(t: int, rows: slice) -> np.ndarray:
        asked.append(t)
        return tasks.W[t, rows].astype(np.float32)

    span = span_of_matrices(np.random.default_rng(0), read, 4, shape=(60, 40), size=12)
    assert span.mean is not None
    assert span.mean.dtype == np.float32
    assert span.cores.dtype == np.float64
    assert relative(span.lift(span.cores[1]), tasks.W[1] - tasks.W.mean(axis=0)) <= 1e-5
    assert asked.count(0) == asked.count(3) > 3


def test_factors_need_no_base() -> None:
    rng = np.random.default_rng(4)
    U, V = ([rng.standard_normal((n, r)) for r in (2, 3, 1)] for n in (50, 30))
    span = span_of_factors(rng, U, V)
    W = np.stack([u @ v.T for u, v in zip(U, V, strict=True)])
    apart = W - W.mean(axis=0)
    assert span.mean is None
    assert span.cores.shape == (3, 6, 6)
    assert np.allclose(np.stack([span.lift(core) for core in span.cores]), apart)
    assert np.allclose(span.gram, np.einsum("tij,sij->ts", apart, apart))
    assert span.scale == pytest.approx(np.max(np.linalg.norm(W, axis=(1, 2))))


def test_the_probe_depends_on_no_task() -> None:
    W = planted(5, shape=(70, 60)).W

    def probed(V: np.ndarray) -> np.ndarray:
        return span_of_matrices(np.random.default_rng(6), lambda t, rows: V[t, rows], 4, shape=(70, 60), probe=10).probe

    assert probed(W).shape == (4, 10, 10)
    assert np.allclose(2 * probed(W), probed(2 * W))


@pytest.mark.parametrize(("size", "truncated"), [(12, True), (30, True), (48, False)])
def test_a_span_that_is_too_small_says_so(size: int, truncated: bool) -> None:
    """Shifts of rank 8 in 4 tasks have 32 directions, beside them there is noise."""
    assert span_of(planted(7, shape=(120, 100), k=8, sigma=0.3).W, size=size).truncated is truncated


def test_noise_alone_is_not_truncated() -> None:
    for seed in range(5):
        W = np.random.default_rng(seed).standard_normal((4, 100, 120))
        assert not span_of(W, size=20).truncated
