"""Chains at many learning rates: theory and descent agree, limits are reached, and the files say what was drawn."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from sims.continual import figures, runs
from sims.continual.figures import COLUMNS, as_csv, summary
from sims.continual.runs import FULL, PAIRS, Chains, Curve, Setting, curves
from tests.paper_checks.conftest import Loraml, loraml  # noqa: F401

SMALL = Setting(d=6, T=3, structures=4)


@pytest.fixture(autouse=True)
def few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RATES", (0.01, 0.2))
    monkeypatch.setattr(runs, "STEPS", (1, 8))
    monkeypatch.setattr(runs, "FINER", 1)


@pytest.fixture
def chains() -> Chains:
    return Chains(SMALL, seed=0)


def test_theory_is_what_descent_on_the_full_shift_does(chains: Chains) -> None:
    found = curves(chains)
    assert len(found) == 14
    theory = [curve for curve in found if curve.theory]
    for one in theory:
        every = (len(one.values) - 1) // (len(runs.RATES) - 1)
        (other,) = (c for c in found if (c.method, c.adapts, c.vary, c.theory) == (one.method, FULL, one.vary, False))
        assert one.average[::every] == pytest.approx(other.average, abs=1e-10)
        assert one.forgetting[::every] == pytest.approx(other.forgetting, abs=1e-10)


def test_converged_pairs_reach_the_limits(chains: Chains) -> None:
    limits = chains.limits()
    for method in ("sequential", "O-LoRA"):
        found = chains.scores(chains.descended(method, PAIRS, step_size=0.2, steps=4000))
        for measured, limit in zip(found, limits[method], strict=True):
            assert measured == pytest.approx(limit, abs=1e-6)


def test_nothing_learnt_has_loss_one_and_no_forgetting(chains: Chains) -> None:
    average, forgetting = chains.scores(chains.descended("sequential", FULL, step_size=0.1, steps=0))
    assert average == pytest.approx(1)
    assert forgetting == pytest.approx(0)


def test_structures_and_starts_depend_on_the_seed_alone() -> None:
    one, same, other = (Chains(SMALL, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(one.U, same.U)
    assert np.array_equal(one.start.V, same.start.V)
    assert not np.array_equal(one.U, other.U)


def curve(**changes: object) -> Curve:
    zeros = np.zeros(2)
    made = {"method": "sequential", "adapts": FULL, "theory": False, "vary": "learning rate", "values": (0.1, 0.2)}
    scores = {"average": np.array([0.9, 0.7]), "average_error": zeros, "forgetting": zeros, "forgetting_error": zeros}
    return Curve(**{**made, **scores, **changes})  # type: ignore[arg-type]


def test_the_table_has_a_line_for_every_point() -> None:
    lines = list(csv.reader(as_csv([curve()]).splitlines()))
    assert lines[0] == list(COLUMNS)
    assert lines[2] == ["learning rate", "0.2", "sequential", FULL, "descent", "0.7", "0", "0", "0"]


def test_the_summary_names_the_best_rate_and_its_share_of_the_joint_gain() -> None:
    limits = {name: (np.array([level]), np.zeros(1)) for name, level in (("sequential", 1.5), ("joint", 0.6))}
    text = summary([curve(), curve(theory=True, average=np.array([0.9, 0.69]))], limits)
    assert "sequential, full shift" in text
    assert "0.700     0.2      1.500" in text
    assert "75 %" in text
    assert "differ by 0.01 at most" in text


@pytest.mark.long
def test_the_command_writes_picture_and_table(loraml: Loraml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(figures, "Setting", lambda structures: Setting(d=6, T=3, structures=structures))
    ended = loraml("figure", "continual", "--structures", "3", "--out", "f", "--format", "png,svg")
    assert ended.status == 0
    assert sorted(path.name for path in (tmp_path / "f").iterdir()) == [
        "continual.csv",
        "continual.png",
        "continual.svg",
    ]
    assert "share of the joint gain" in ended.out
    refused = loraml("figure", "continual", "--structures", "1")
    assert refused.status == 2
    assert "--structures: got '1', expected a whole number from 2 to 10000" in refused.err
