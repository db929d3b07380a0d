"""The CPU engine follows the reference, whatever the shape, the number of trials and who else is in the batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from loraml_theory.adapters import Parameters
from loraml_theory.closed_forms import standard_retraining
from loraml_theory.harness.errors import InputError
from loraml_theory.moments import Moments, population
from loraml_theory.objectives import LoRAML
from loraml_theory.solvers.gradient import alternating_gradient_descent
from sims.engines import cpu_engine
from sims.engines.cpu_engine import CpuEngine
from sims.engines.engine import Iterates, Schedule
from sims.kernels.lanes import aligned, from_lanes, padded, stacked, to_lanes, to_panels
from sims.kernels.simd import LANES
from tests.sims.problems import DESCENTS, Problem, by_engine, by_reference, deviation, problem

SHAPES = [
    {"d": 1, "k": 1, "T": 1, "n": 3, "trials": 1},
    {"d": 3, "k": 3, "T": 2, "n": 2, "trials": LANES + 1},  # fewer samples than dimensions
    {"d": 5, "k": 2, "T": 4, "n": 50, "trials": LANES},
    {"d": 10, "k": 1, "T": 3, "n": 5000, "trials": 2 * LANES + 3},
    {"d": 21, "k": 4, "T": 2, "n": 400, "trials": 2},
]


def equal(one: Iterates, other: Iterates) -> bool:
    """Return whether two runs agree in every bit."""
    for x, y in zip((one.A, one.U, one.V), (other.A, other.U, other.V), strict=True):
        if (x is None) != (y is None) or (x is not None and y is not None and not np.array_equal(x, y)):
            return False
    return True


def trials(given: Problem, which: slice) -> Problem:
    """Return some of a problem's trials."""
    m = given.moments

    def cut(point: Parameters) -> Parameters:
        return Parameters(*(None if x is None else x[which] for x in point))

    part = Moments(m.S[which], m.W[which], m.noise[which], m.n)
    return Problem(part, cut(given.start), given.base[which], cut(given.adapters))


def asymmetric(given: Problem) -> Problem:
    """Return the problem with a start for V as well."""
    V = 0.1 * np.random.default_rng(1).standard_normal(given.start.U.shape)
    return given._replace(start=given.start._replace(V=V))


@pytest.mark.libraries
@pytest.mark.parametrize("descent", DESCENTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_follows_the_reference(descent: str, shape: dict[str, int]) -> None:
    given = problem(**shape)
    iterates = by_engine(CpuEngine(), descent, given, steps=100, every=7)
    assert iterates.steps.tolist() == [*range(0, 100, 7), 100]
    assert deviation(iterates, by_reference(descent, given, steps=100)) <= 1e-9


@pytest.mark.long
def test_papers_retraining_follows_the_reference_to_its_end() -> None:
    given = problem(d=10, k=1, T=3, n=5000, trials=3)
    iterates = by_engine(CpuEngine(), "lora_ml", given, steps=3000, every=50)
    assert deviation(iterates, by_reference("lora_ml", given, steps=3000)) <= 1e-9


@pytest.mark.parametrize("shape", SHAPES[1:3], ids=str)
def test_asymmetric_adapters_follow_the_reference(shape: dict[str, int]) -> None:
    given = asymmetric(problem(**shape))
    iterates = by_engine(CpuEngine(), "lora_ml", given, steps=100, every=9)
    assert deviation(iterates, by_reference("lora_ml", given, steps=100)) <= 1e-9


@pytest.mark.parametrize("inner_steps", [0, 1, 3])
def test_schedule(inner_steps: int) -> None:
    given = problem(d=4, k=2, T=3, n=40)
    schedule = Schedule(50, outer_step_size=0.1, inner_steps=inner_steps, inner_step_size=0.01)
    end = CpuEngine().retrain(given.moments, given.start, schedule).end
    expected = alternating_gradient_descent(LoRAML(given.moments), given.start, **vars(schedule)).parameters
    np.testing.assert_allclose(end.A, expected.A, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(end.U, expected.U, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("descent", DESCENTS)
def test_a_trial_does_not_depend_on_batch_threads_or_chunks(descent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = problem(d=6, k=2, T=3, n=60, trials=3 * LANES + 2)
    whole = by_engine(CpuEngine(threads=2), descent, given, steps=20, every=6)
    assert equal(by_engine(CpuEngine(threads=1), descent, given, steps=20, every=6), whole)
    monkeypatch.setattr(cpu_engine, "CHUNK_BYTES", 1)
    assert equal(by_engine(CpuEngine(threads=2), descent, given, steps=20, every=6), whole)
    first = LANES + 3
    for part in (slice(first, first + 1), slice(first, None)):
        cut = Iterates(whole.steps, *(None if x is None else x[:, part] for x in (whole.A, whole.U, whole.V)))
        assert equal(by_engine(CpuEngine(), descent, trials(given, part), steps=20, every=6), cut)


@pytest.mark.parametrize("descent", DESCENTS)
def test_only_the_end_is_recorded_unless_asked(descent: str) -> None:
    given = problem(d=4, k=1, T=2, n=40)
    end = by_engine(CpuEngine(), descent, given, steps=20, every=0)
    path = by_engine(CpuEngine(), descent, given, steps=20, every=3)
    assert end.steps.tolist() == [20]
    for one, other in zip(end.end, path.end, strict=True):
        assert (one is None and other is None) or np.array_equal(one, other)


def test_tasks_count_alike_whatever_their_samples() -> None:
    given = problem(d=4, k=1, T=2, n=40)
    unequal = given._replace(moments=replace(given.moments, n=(10.0, 1000.0)))
    for descent in ("lora_ml", "standard_retraining"):
        runs = [by_engine(CpuEngine(), descent, p, steps=20, every=0) for p in (given, unequal)]
        assert equal(*runs)


def test_population_moments_which_are_views() -> None:
    given = problem(d=5, k=1, T=3, n=50)
    given = given._replace(moments=population(given.moments.W))
    for descent in DESCENTS:
        iterates = by_engine(CpuEngine(), descent, given, steps=50, every=10)
        assert deviation(iterates, by_reference(descent, given, steps=50)) <= 1e-9


@pytest.mark.parametrize("descent", DESCENTS)
def test_a_trial_that_diverges_leaves_the_others_alone(descent: str) -> None:
    given = problem(d=4, k=2, T=2, n=40, trials=3)
    W = given.moments.W.copy()
    S = given.moments.S.copy()
    W[1] *= 1e9
    S[1] *= 1e9
    spoilt = given._replace(moments=replace(given.moments, W=W, S=S))
    got, expected = (by_engine(CpuEngine(), descent, p, steps=300, every=0) for p in (spoilt, given))
    for x, y in zip(got.end, expected.end, strict=True):
        if x is not None:
            assert not np.isfinite(x[1]).all()
            assert np.array_equal(x[[0, 2]], y[[0, 2]])


def test_standard_retraining_converges_to_its_closed_form() -> None:
    given = problem(d=6, k=1, T=3, n=100)
    start = Parameters(A=np.ones_like(given.start.A))
    end = CpuEngine().retrain_standard(given.moments, start, steps=10**6, step_size=3e-2).end
    np.testing.assert_allclose(end.A, standard_retraining(given.moments), rtol=1e-10, atol=1e-12)


def test_what_is_too_large_names_the_engine_that_serves() -> None:
    S = np.broadcast_to(np.eye(4096), (1, 8, 4096, 4096))
    start = Parameters(S[:, 0], np.broadcast_to(0.0, (1, 8, 4096, 1)))
    with pytest.raises(InputError, match="GiB per thread; use the engine torch"):
        CpuEngine().retrain(Moments(S, S, np.zeros((1, 8)), np.inf), start, Schedule())


def test_evaluates_on_the_host() -> None:
    given = problem(d=4, k=1, T=2, n=40)
    got = CpuEngine().evaluate(standard_retraining, given.moments, ridge=0.1)
    np.testing.assert_array_equal(got, standard_retraining(given.moments, ridge=0.1))


@pytest.mark.parametrize("count", [1, LANES - 1, LANES, 2 * LANES + 1])
def test_lanes_and_back(count: int) -> None:
    given = np.random.default_rng(0).standard_normal((count, 2, 3))
    packed = to_lanes(given)
    assert packed.shape == (-(-count // LANES), 2, 3, LANES)
    assert packed.ctypes.data % 64 == 0
    np.testing.assert_array_equal(from_lanes(packed, count), given)
    np.testing.assert_array_equal(packed[-1, ..., -1], given[-1])  # what fills the last block


@pytest.mark.parametrize("d", range(1, 14))
def test_panels_hold_every_row_once(d: int) -> None:
    rng = np.random.default_rng(d)
    upper, lower = rng.standard_normal((2, 2, d, d, LANES))
    panels = to_panels(stacked(upper, lower))
    rows, full = padded(2 * d), padded(2 * d) // 8 * 8
    assert panels.shape == (2, rows * d, LANES)
    for i in range(2 * d):
        expected = (upper if i < d else lower)[:, i % d]
        first, stride = (i // 8 * 8 * d + i % 8, 8) if i < full else (full * d + i - full, 4)
        np.testing.assert_array_equal(panels[:, first : first + stride * d : stride], expected)


def test_room_is_aligned_and_zero() -> None:
    room = aligned(3, 5)
    assert room.ctypes.data % 64 == 0
    assert not room.any()
