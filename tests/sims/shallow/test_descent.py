"""AdamW on shallow networks: vectors, gradients, and both engines against the plain torch loop."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numba
import numpy as np
import pytest
import torch

from loraml_theory.harness.errors import InputError
from sims.kernels import sigmoid_network as kernel
from sims.kernels.vectors import lanes_of, load, sigmoids, store, total
from sims.shallow.cpu_descent import CpuDescent, _packed
from sims.shallow.descent import Descent, get
from sims.shallow.network import Network, Samples, losses
from sims.shallow.second_order import _flat, _unflat
from sims.shallow.settings import AdamW
from sims.shallow.torch_descent import TorchDescent, gradient
from tests.sims.shallow.problems import batch, plain_descent

SHAPES = ((7, 2, 3, 45), (10, 1, 2, 130), (5, 3, 1, 7), (1, 1, 2, 3), (20, 1, 2, 64))
AT = np.array([0, 1, 2, 40, 200])
FAST = AdamW(step_size=1e-2, weight_decay=0.1)  # moves far in few steps, and decays so that it is seen


def _in_place(a: Any, b: Any) -> Any:
    """Replace both vectors by their sigmoids, and return the sum of all of these."""
    x, y = sigmoids(load(a, 0), load(b, 0))
    store(a, 0, x)
    store(b, 0, y)
    return total(x + y)


_both = numba.njit(_in_place)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoids_are_right_to_a_few_roundings(dtype: type[Any]) -> None:
    rng, lanes = np.random.default_rng(0), lanes_of(dtype)
    special = [0.0, -0.0, 1e-30, 39.9, -39.9, 41.0, -41.0, 1e30]
    eps = np.finfo(dtype).eps
    for z in [*(rng.uniform(-35, 35, 2 * lanes) for _ in range(50)), np.resize(special, 2 * lanes)]:
        a, b = z.astype(dtype)[:lanes], z.astype(dtype)[lanes:]
        exact = 1 / (1 + np.exp(-np.clip(np.concatenate([a, b]).astype(float), -40, 40)))
        sum_ = _both(a, b)
        np.testing.assert_allclose(np.concatenate([a, b]), exact, rtol=6 * eps)
        assert sum_ == pytest.approx(exact.sum(), rel=float(20 * eps))
    a = np.full(lanes, np.nan, dtype)
    assert np.isnan(_both(a, a.copy()))


def _kernel_gradient(samples: Samples, point: Network, dtype: type[Any] = np.float64) -> np.ndarray:
    sizes = point.U.shape[1:]
    found = []
    for b, flat in enumerate(_flat(point).astype(dtype)):
        x, y, weight = _packed(samples, b, np.dtype(dtype))
        out = np.empty_like(flat)
        kernel.gradient(flat, out, x, y, weight, sizes, kernel.working_room(flat, sizes, y.size // sizes[0]))
        found.append(out)
    return np.stack(found)


@pytest.mark.parametrize(("d", "k", "T", "N"), SHAPES)
def test_gradients_by_taylors_slope(d: int, k: int, T: int, N: int) -> None:
    """The remainder of first order falls with the square of the distance."""
    samples, point = batch(d, d=d, k=k, T=T, N=N)
    x, y = (torch.tensor(part) for part in samples)
    tensors = Network(*(torch.tensor(part) for part in vars(point).values()))
    by_torch = np.concatenate([part.reshape(3, -1).numpy() for part in gradient(tensors, x.mT, y)], axis=1)
    by_kernel = _kernel_gradient(samples, point)
    np.testing.assert_allclose(by_kernel, by_torch, rtol=1e-11, atol=1e-13 * np.abs(by_torch).max())
    flat, move = _flat(point), np.random.default_rng(1).standard_normal(by_kernel.shape)
    linear = np.sum(by_kernel * move, axis=1)
    lengths = np.array([1e-2, 1e-3])
    rest = [losses(_unflat(flat + h * move, point), samples) - losses(point, samples) - h * linear for h in lengths]
    slopes = np.log10(np.abs(rest[0] / rest[1]))
    assert np.all(np.abs(slopes - 2) < 0.4)


def test_gradients_in_float32() -> None:
    samples, point = batch(3, d=10, N=1000)
    exact = _kernel_gradient(samples, point)
    assert np.max(np.abs(_kernel_gradient(samples, point, np.float32) - exact)) < 1e-5 * np.abs(exact).max()


@pytest.mark.libraries
@pytest.mark.parametrize("engine", [CpuDescent(precision="float64"), TorchDescent(precision="float64")])
@pytest.mark.parametrize(("d", "k", "T", "N"), SHAPES)
@pytest.mark.parametrize("train_base", [True, False])
@pytest.mark.long
def test_engines_follow_torchs_own_adamw(engine: Descent, d: int, k: int, T: int, N: int, train_base: bool) -> None:
    samples, start = batch(N, size=2, d=d, k=k, T=T, N=N, zero=True)
    path = engine.descend(samples, start, FAST, at=AT, train_base=train_base)
    for b in range(2):
        own = plain_descent(Samples(samples.x[b], samples.y[b]), start[b], FAST, train_base=train_base)
        points = [start[b], *islice(own, int(AT[-1]))]
        for record, step in enumerate(AT):
            for name in ("A", "c", "U", "V"):
                got, expected = getattr(path, name)[record, b], getattr(points[step], name)
                np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-10)
    moved = np.abs(path.A[-1] - start.A).max()
    assert moved > 0.1 if train_base else moved == 0


@pytest.mark.parametrize("engine", [CpuDescent(), TorchDescent()])
def test_engines_in_float32_differ_by_rounding(engine: Descent) -> None:
    samples, start = batch(0, size=1, d=10, k=1, T=3, N=200, zero=True)
    at = np.array([100])
    path = engine.descend(samples, start, AdamW(), at=at)
    own = plain_descent(Samples(samples.x[0], samples.y[0]), start[0], AdamW(), dtype=torch.float32)
    *_, last = islice(own, 100)
    for name in ("A", "c", "U", "V"):
        np.testing.assert_allclose(getattr(path, name)[0, 0], getattr(last, name), atol=2e-5)


@pytest.mark.parametrize("engine", [CpuDescent(), TorchDescent()])
def test_standard_retraining_is_the_same_from_adapters_that_are_zero(engine: Descent) -> None:
    samples, start = batch(1, zero=True)
    without = Network(start.A, start.c, 0 * start.U, 0 * start.V)
    path = engine.descend(samples, without, FAST, at=AT)
    assert not np.any(path.U)
    assert not np.any(path.V)
    one, y = samples.x.reshape(3, 1, -1, 7), samples.y.reshape(3, 1, -1)
    third = Samples(
        np.concatenate([one] * 3, 1), np.concatenate([y] * 3, 1)
    )  # three times all samples, thrice the loss
    pooled = CpuDescent(precision="float64").descend(third, without, FAST, at=AT)
    np.testing.assert_allclose(path.A[-1], pooled.A[-1], atol=1e-3)


def test_a_network_does_not_depend_on_the_others_nor_on_threads() -> None:
    samples, start = batch(2)
    whole = CpuDescent(threads=3).descend(samples, start, FAST, at=AT)
    alone = CpuDescent(threads=1).descend(Samples(samples.x[1:2], samples.y[1:2]), start[1:2], FAST, at=AT)
    for name in ("A", "c", "U", "V"):
        np.testing.assert_array_equal(getattr(whole, name)[:, 1], getattr(alone, name)[:, 0])


@pytest.mark.parametrize("engine", [CpuDescent(), TorchDescent()])
def test_samples_are_shared_by_turns_and_progress_is_told(engine: Descent) -> None:
    samples, start = batch(4, size=4)
    shared, told = Samples(samples.x[:2], samples.y[:2]), list[float]()
    path = engine.descend(shared, start, FAST, at=np.array([0, 450]), progress=told.append)
    third = engine.descend(Samples(samples.x[:1], samples.y[:1]), start[2:3], FAST, at=np.array([0, 450]))
    np.testing.assert_allclose(path.A[:, 2], third.A[:, 0], atol=1e-4)
    assert told == sorted(told)
    assert len(told) >= 2
    assert all(0 < share <= 1 for share in told)


def test_an_interruption_is_heard() -> None:
    samples, start = batch(5, size=8)

    def interrupt(_share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        CpuDescent(threads=2).descend(samples, start, FAST, at=np.array([2000]), progress=interrupt)


def test_bad_batches_and_names() -> None:
    samples, start = batch(6)
    run = CpuDescent().descend
    with pytest.raises(ValueError, match="samples: got shapes"):
        run(Samples(samples.x[:2], samples.y[:2]), start, FAST, at=AT)
    with pytest.raises(ValueError, match="start: got shapes"):
        run(samples, Network(start.A, start.c, start.U, start.V[..., :1]), FAST, at=AT)
    with pytest.raises(ValueError, match="at: got"):
        run(samples, start, FAST, at=np.array([2, 2]))
    with pytest.raises(InputError, match="engine: got 'cupy', expected one of auto, cpu, torch"):
        get("cupy")
    with pytest.raises(InputError, match="precision: got 'half', expected float32 or float64"):
        get(precision="half")
    assert (get().name, get("torch").name, get("auto", "cpu").name) == ("cpu", "torch", "cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_cuda_device() -> None:
    samples, start = batch(7)
    path = get("torch", "cuda", precision="float64").descend(samples, start, FAST, at=AT)
    host = get("cpu", precision="float64").descend(samples, start, FAST, at=AT)
    np.testing.assert_allclose(path.A, host.A, rtol=1e-7, atol=1e-8)
