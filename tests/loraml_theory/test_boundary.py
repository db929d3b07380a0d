"""Arguments of the wrong kind are named at the boundary, rather than in a library's traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest

from loraml_theory import (
    LoRAML,
    draw,
    fine_tune,
    from_samples,
    population,
    reduced_rank_regression,
    spectral_recovery,
    standard_retraining,
    two_task_orbit,
    zoo,
)
from loraml_theory.structure import GroundTruth

W, OTHER = np.eye(4), array_api_strict.eye(4)
SEED: Any = 0
WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "a seed for a generator, zoo": (lambda: zoo.generic(SEED, 4, 1, 3), "rng: got int, expected a generator"),
    "a seed for a generator, draw": (lambda: draw(SEED, W, 100, sigma=0.1), "rng: got int, expected a generator"),
    "two libraries, truth": (
        lambda: GroundTruth(OTHER, np.ones((3, 4, 1))),
        "A_star, U_star: got A_star of array_api_strict, U_star of numpy, expected arrays of one library",
    ),
    "two libraries, samples": (lambda: from_samples(W, OTHER), "X, Y: got X of numpy, Y of array_api_strict"),
    "two libraries, base": (lambda: fine_tune(population(W), OTHER, 1), "moments, base: got moments of numpy"),
    "transposed samples": (lambda: from_samples(np.ones((9, 4)), np.ones((9, 3))), "n >= 1: a sample is a column"),
}


@pytest.mark.parametrize(("call", "text"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(call: Callable[[], object], text: str) -> None:
    with pytest.raises((TypeError, ValueError)) as raised:
        call()
    assert text in str(raised.value)


TRUTH, TWO = (zoo.generic(np.random.default_rng(0), 8, 1, T) for T in (3, 2))
DATA = population(TRUTH.W_test)
CALLS: dict[str, tuple[Callable[..., object], dict[str, object]]] = {
    "draw": (
        draw,
        {"rng": np.random.default_rng(0), "W": W, "n": 20, "sigma_x": 1.0, "sigma": 0.1, "batch": (2,)},
    ),
    "fine_tune": (fine_tune, {"moments": DATA, "base": np.eye(8), "rank": 1, "ridge": 0.0}),
    "from_samples": (from_samples, {"X": np.ones((4, 9)), "Y": np.ones((4, 9))}),
    "generic": (zoo.generic, {"rng": np.random.default_rng(0), "d": 8, "k": 1, "T": 3, "batch": (2,)}),
    "GroundTruth": (GroundTruth, {"A_star": TRUTH.A_star, "U_star": TRUTH.U_star}),
    "LoRAML": (LoRAML, {"moments": population(TRUTH.W_retraining)}),
    "population": (population, {"W": W, "sigma_x": 1.0, "sigma": 0.0}),
    "reduced_rank_regression": (reduced_rank_regression, {"moments": DATA, "rank": 1, "ridge": 0.0}),
    "spectral_recovery": (spectral_recovery, {"W": TRUTH.W_retraining, "k": 1}),
    "standard_retraining": (standard_retraining, {"moments": population(TRUTH.W_retraining), "ridge": 0.0}),
    "two_task_orbit": (two_task_orbit, {"truth": TWO, "H": np.eye(2)}),
}
WRONG_FOR_ALL: dict[str, object] = {
    "none": None,
    "text": "x",
    "list": [[1.0, 0.0], [0.0, 1.0]],
    "complex": np.eye(8) * 1j,
    "objects": np.array([object()]),
    "NaN": float("nan"),
    "negative": -1.5,
}


@pytest.mark.parametrize("wrong", WRONG_FOR_ALL.values(), ids=WRONG_FOR_ALL)
@pytest.mark.parametrize(("name", "argument"), [(name, argument) for name in CALLS for argument in CALLS[name][1]])
def test_every_argument_of_the_wrong_kind_is_named(name: str, argument: str, wrong: object) -> None:
    function, arguments = CALLS[name]
    function(**arguments)
    with pytest.raises((TypeError, ValueError), match=rf"^{argument}\b.*: got .*expected"):
        function(**{**arguments, argument: wrong})


def test_a_sweep_may_be_named_by_text(tmp_path: Path) -> None:
    from sims import read_rows

    with pytest.raises(ValueError, match="does not hold a sweep"):
        read_rows(str(tmp_path))
