"""The torch engine follows the reference, in blocks of any size, and moves what it evaluates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from loraml_theory.closed_forms import SpectralRecovery, spectral_recovery, standard_retraining
from loraml_theory.harness.errors import InputError
from loraml_theory.moments import Moments
from sims.engines.torch_engine import TorchEngine
from tests.sims.engines.test_cpu_engine import asymmetric
from tests.sims.problems import DESCENTS, by_engine, by_reference, deviation, problem

pytestmark = pytest.mark.libraries

SHAPES = [{"d": 1, "k": 1, "T": 1, "n": 3, "trials": 1}, {"d": 5, "k": 2, "T": 4, "n": 50, "trials": 5}]


@pytest.mark.parametrize("descent", DESCENTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("block_bytes", [1, 2**30])
def test_follows_the_reference(descent: str, shape: dict[str, int], block_bytes: int) -> None:
    given = problem(**shape)
    iterates = by_engine(TorchEngine(block_bytes=block_bytes), descent, given, steps=40, every=7)
    assert iterates.steps.tolist() == [*range(0, 40, 7), 40]
    assert deviation(iterates, by_reference(descent, given, steps=40)) <= 1e-9


def test_asymmetric_adapters_follow_the_reference() -> None:
    given = asymmetric(problem(**SHAPES[1]))
    iterates = by_engine(TorchEngine(), "lora_ml", given, steps=40, every=9)
    assert deviation(iterates, by_reference("lora_ml", given, steps=40)) <= 1e-9


def test_blocks_keep_to_their_memory() -> None:
    seen: list[int] = []

    class Watched(TorchEngine):
        def _moved(self, value: Any) -> Any:
            seen.append(len(value[0].W))
            return super()._moved(value)

    given = problem(d=4, k=1, T=2, n=40, trials=7)
    by_engine(Watched(block_bytes=3 * 12 * 8 * 2 * 4 * 4), "lora_ml", given, steps=2, every=0)
    assert seen == [3, 3, 1]


def test_evaluates_on_tensors_and_returns_arrays() -> None:
    given = problem(d=4, k=1, T=2, n=40)

    def formula(moments: Moments, *, options: dict[str, Any]) -> dict[str, Any]:
        assert isinstance(moments.S, torch.Tensor)
        assert options["A"].dtype == torch.float64
        assert options["index"].dtype == torch.int64
        return {"A": standard_retraining(moments), "name": options["name"]}

    options = {"A": np.zeros(3, np.float32), "index": np.array([1]), "name": "x"}
    got = TorchEngine().evaluate(formula, given.moments, options=options)
    assert got["name"] == "x"
    assert isinstance(got["A"], np.ndarray)
    np.testing.assert_allclose(got["A"], standard_retraining(given.moments), rtol=1e-10, atol=1e-12)


def test_results_that_are_named_tuples_keep_their_type() -> None:
    W = problem(d=6, k=1, T=3, n=10**6).moments.W
    assert type(TorchEngine().evaluate(spectral_recovery, W, 1)) is SpectralRecovery


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_an_error() -> None:
    with pytest.raises(InputError, match=r"sees no CUDA device for 'cuda'.*install"):
        TorchEngine("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
@pytest.mark.parametrize("descent", DESCENTS)
def test_follows_the_reference_on_a_cuda_device(descent: str) -> None:
    given = problem(**SHAPES[1])
    engine = TorchEngine("cuda")
    assert engine.evaluate(lambda x: str(x.device), np.zeros(1)) == "cuda:0"
    assert (
        deviation(by_engine(engine, descent, given, steps=40, every=7), by_reference(descent, given, steps=40)) <= 1e-9
    )
