"""The CUDA source on the CPU, one thread a block, launched by the engine itself: iterates equal the reference's.

CuPy is replaced by NumPy and the host shim, so the engine's arguments and the kernels' signatures are tested together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loraml_theory.harness.errors import InputError
from loraml_theory.moments import population
from sims.engines.cuda_kernels import Kernel, largest_dimension
from sims.engines.cupy_engine import CupyEngine
from tests.sims.engines.host_cuda import H100, host_cupy, needs_compiler
from tests.sims.problems import DESCENTS, Problem, by_engine, by_reference, deviation, problem

pytestmark = needs_compiler


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


def engine(folder: Path, dtype: str = "float64", **options: Any) -> CupyEngine:
    return CupyEngine(dtype=dtype, cupy=host_cupy(folder, **options))


@pytest.mark.long
def test_papers_retraining_follows_the_reference_to_its_end(folder: Path) -> None:
    given = problem(d=10, k=1, T=3, n=5000)
    iterates = by_engine(engine(folder), "lora_ml", given, steps=3000, every=50)
    assert iterates.steps.tolist() == list(range(0, 3001, 50))
    assert deviation(iterates, by_reference("lora_ml", given, steps=3000)) <= 1e-9


EVEN_FEW_SAMPLES = {"d": 4, "k": 3, "T": 2, "n": 3}
ODD = {"d": 5, "k": 2, "T": 4, "n": 50}


@pytest.mark.parametrize(
    ("descent", "shape"),
    [*((descent, ODD) for descent in DESCENTS), *((descent, EVEN_FEW_SAMPLES) for descent in DESCENTS[:2])],
)
@pytest.mark.long
def test_follows_the_reference(folder: Path, descent: str, shape: dict[str, int]) -> None:
    """Even d and odd, several columns, data that determine the parameter and data that do not."""
    given = problem(**shape, trials=3)
    iterates = by_engine(engine(folder), descent, given, steps=300, every=7)
    assert iterates.steps.tolist() == [*range(0, 300, 7), 300]
    assert deviation(iterates, by_reference(descent, given, steps=300)) <= 1e-9


@pytest.mark.long
def test_float32_follows_to_its_precision(folder: Path) -> None:
    given = problem(d=5, k=2, T=4, n=50)
    difference = deviation(
        by_engine(engine(folder, "float32"), "lora_ml", given, steps=300, every=100),
        by_reference("lora_ml", given, steps=300),
    )
    assert 1e-9 < difference <= 1e-3  # it did not compute in float64 after all


@pytest.mark.parametrize("descent", DESCENTS[:2])
def test_parts_of_a_batch_give_the_same_as_the_whole(folder: Path, descent: str) -> None:
    """Little device memory means several launches; the last one is not full."""
    given = problem(d=4, k=3, T=2, n=3, trials=5)
    whole = by_engine(engine(folder), descent, given, steps=20, every=5)
    parts = by_engine(engine(folder, free=20_000), descent, given, steps=20, every=5)
    for name in ("steps", "A", "U", "V"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    with pytest.raises(InputError, match="bytes of device memory"):
        by_engine(engine(folder, free=1000), descent, given, steps=20, every=5)


def test_records_only_the_end(folder: Path) -> None:
    given = problem(d=4, k=3, T=2, n=3)
    iterates = by_engine(engine(folder), "lora_ml", given, steps=21, every=0)
    assert iterates.steps.tolist() == [21]
    assert deviation(iterates, by_reference("lora_ml", given, steps=21)) <= 1e-9


def test_no_step_returns_the_start(folder: Path) -> None:
    given = problem(d=4, k=3, T=2, n=3)
    iterates = by_engine(engine(folder), "lora_ml", given, steps=0, every=4)
    assert iterates.steps.tolist() == [0]
    np.testing.assert_array_equal(iterates.end.A, given.start.A)
    np.testing.assert_array_equal(iterates.end.U, given.start.U)


@pytest.mark.long
def test_largest_dimension_uses_all_it_was_promised(folder: Path) -> None:
    """The layout in the source is the one `Kernel` counts: beyond it the shim would see writes, short of it overlap."""
    d = largest_dimension(Kernel("lora_ml", "float64", 1, 1, 3), H100)
    given = problem(d=d, k=1, T=3, n=500, trials=1)
    iterates = by_engine(engine(folder), "lora_ml", given, steps=3, every=1)
    assert deviation(iterates, by_reference("lora_ml", given, steps=3)) <= 1e-9
    with pytest.raises(InputError, match=f"enough for d <= {d}; use the torch engine"):
        by_engine(engine(folder), "lora_ml", problem(d=d + 1, k=1, T=3, n=500, trials=1), steps=3, every=1)


def test_moments_need_not_be_contiguous(folder: Path) -> None:
    """The population's S is one matrix seen many times."""
    drawn = problem(d=4, k=3, T=2, n=9)
    given = Problem(population(drawn.moments.W), *drawn[1:])
    iterates = by_engine(engine(folder), "lora_ml", given, steps=30, every=10)
    assert deviation(iterates, by_reference("lora_ml", given, steps=30)) <= 1e-9
