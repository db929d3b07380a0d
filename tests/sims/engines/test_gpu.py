"""The CuPy engine on a real card: `make test-gpu`. Nothing here runs, and nothing here passes, without one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from loraml_theory.closed_forms import fine_tune, spectral_recovery, standard_retraining
from loraml_theory.harness.errors import InputError
from loraml_theory.moments import Moments
from loraml_theory.structure import Array
from sims.engines.cuda_kernels import Kernel, largest_dimension
from sims.engines.cupy_engine import CupyEngine
from sims.engines.engine import map_arrays
from tests.sims.problems import DESCENTS, by_engine, by_reference, deviation, problem


def missing() -> str:
    """Return why there is no device, nothing if there is one."""
    try:
        CupyEngine()
    except InputError as error:
        return str(error)
    return ""


REASON = missing()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(REASON), reason=REASON)]


@pytest.fixture(scope="module")
def engine() -> CupyEngine:
    return CupyEngine()


def test_computes_on_the_device(engine: CupyEngine) -> None:
    assert engine.device == "cuda:0"

    def describe(x: Array) -> tuple[str, str, str]:
        return type(x).__module__.partition(".")[0], str(x.device), str((x + x).dtype)

    assert engine.evaluate(describe, np.ones(3)) == ("cupy", "<CUDA Device 0>", "float64")


def test_papers_retraining_follows_the_reference_to_its_end(engine: CupyEngine) -> None:
    given = problem(d=10, k=1, T=3, n=5000, trials=4)
    iterates = by_engine(engine, "lora_ml", given, steps=3000, every=50)
    assert deviation(iterates, by_reference("lora_ml", given, steps=3000)) <= 1e-9


@pytest.mark.parametrize("descent", DESCENTS)
@pytest.mark.parametrize(
    "shape", [{"d": 5, "k": 2, "T": 4, "n": 50}, {"d": 4, "k": 3, "T": 2, "n": 3}, {"d": 20, "k": 3, "T": 5, "n": 90}]
)
def test_follows_the_reference(engine: CupyEngine, descent: str, shape: dict[str, int]) -> None:
    given = problem(**shape, trials=3)
    iterates = by_engine(engine, descent, given, steps=300, every=7)
    assert deviation(iterates, by_reference(descent, given, steps=300)) <= 1e-9


@pytest.mark.parametrize("descent", DESCENTS)
def test_float32_follows_to_its_precision(descent: str) -> None:
    given = problem(d=5, k=2, T=4, n=50)
    iterates = by_engine(CupyEngine(dtype="float32"), descent, given, steps=300, every=100)
    assert 1e-9 < deviation(iterates, by_reference(descent, given, steps=300)) <= 1e-3


@pytest.mark.parametrize("descent", DESCENTS)
def test_a_trial_does_not_depend_on_the_batch(engine: CupyEngine, descent: str) -> None:
    """More blocks than run at once; a race would show as a difference between them or between two runs."""
    one = problem(d=10, k=2, T=3, n=50, trials=1)
    many = map_arrays(lambda x: np.repeat(x, 5000, axis=0), np.ndarray, one)
    single = by_engine(engine, descent, one, steps=100, every=0).end
    for _ in range(3):
        for got, expected in zip(by_engine(engine, descent, many, steps=100, every=0).end, single, strict=True):
            if expected is not None:
                np.testing.assert_array_equal(got, np.broadcast_to(expected, got.shape))


def test_serves_up_to_the_shared_memory_of_this_card(engine: CupyEngine) -> None:
    import cupy

    limit = cupy.cuda.Device(0).attributes["MaxSharedMemoryPerBlockOptin"]
    d = largest_dimension(Kernel("lora_ml", "float64", 1, 1, 3), limit)
    given = problem(d=d, k=1, T=3, n=500)
    iterates = by_engine(engine, "lora_ml", given, steps=30, every=10)
    assert deviation(iterates, by_reference("lora_ml", given, steps=30)) <= 1e-9
    with pytest.raises(InputError, match=f"enough for d <= {d}; use the torch engine"):
        by_engine(engine, "lora_ml", problem(d=d + 1, k=1, T=3, n=500), steps=3, every=1)


@pytest.mark.parametrize(
    "formula",
    [
        lambda moments, _base: standard_retraining(moments),
        lambda moments, base: fine_tune(moments.task(-1), base, 2),
        lambda moments, _base: spectral_recovery(moments.W, 2).A,
    ],
    ids=["standard retraining", "fine-tuning", "spectral recovery"],
)
def test_closed_forms_equal_numpys(engine: CupyEngine, formula: Callable[[Moments, Array], Array]) -> None:
    given = problem(d=10, k=2, T=3, n=10**9, trials=50)
    expected = formula(given.moments, given.base)
    np.testing.assert_allclose(engine.evaluate(formula, given.moments, given.base), expected, rtol=1e-7, atol=1e-7)
