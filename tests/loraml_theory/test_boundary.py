"""Arguments of the wrong kind are named at the boundary, rather than in a library's traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest

from loraml_theory import draw, fine_tune, from_samples, population, zoo
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


def test_a_sweep_may_be_named_by_text(tmp_path: Path) -> None:
    from sims import read_rows

    with pytest.raises(ValueError, match="does not hold a sweep"):
        read_rows(str(tmp_path))
