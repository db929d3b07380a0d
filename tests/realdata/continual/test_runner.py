"""What is run in which order, how learning rates are chosen, and what a kill leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loraml_theory.harness.folders import FolderError
from realdata.continual.experiment import ContinualSpec
from realdata.continual.records import ChainKey, read_record, read_records
from realdata.continual.runner import ChainBench, ContinualRequest, chosen, run
from realdata.continual.settings import settings
from tests.realdata.continual.test_records import record
from tests.realdata.experiments.killed import killed

GRID: dict[str, Any] = {"methods": ["sequential", "ewc"], "orders": [1], "seeds": [0]}


def request(**changes: Any) -> ContinualRequest:
    found = settings("made", {"training": {"epochs": 1}, "grid": {**GRID, **changes}})
    return ContinualRequest(ContinualSpec(found), workers=1)


def ran(folder: Path) -> None:
    run(request(), folder)


def test_the_rate_with_the_largest_mean_is_chosen_and_of_equal_ones_the_smallest() -> None:
    def trial(rate: float, seed: int, shift: float) -> Any:
        made = record(shift=shift)
        return replace(made, key=made.key._replace(rate=rate, seed=seed))

    trials = [
        trial(1e-2, 0, 0.05),
        trial(1e-2, 1, 0.0),
        trial(1e-3, 0, 0.0),
        trial(1e-3, 1, 0.01),
        trial(1e-4, 0, -0.1),
    ]
    tuned, best = chosen(trials, score="all")
    assert (tuned.rates, best) == ((1e-4, 1e-3, 1e-2), 1e-2)
    assert tuned.scores[2] == pytest.approx(2.15 / 3 + 0.025)
    assert chosen([trial(1e-2, 0, 0.0), trial(1e-3, 0, 0.0)], score="all")[1] == 1e-3


@pytest.mark.long
def test_trials_come_first_and_each_methods_rate_is_its_own(tmp_path: Path) -> None:
    asked = replace(request(), tune=True)
    assert run(asked, tmp_path).new_runs == 2
    for method in ("sequential", "ewc"):
        trials = [read_record(path) for path in (tmp_path / "tuning").glob(f"{method}.*.json")]
        assert len(trials) == 2
        assert {one.part for one in trials} == {"validation"}
        tuned, best = chosen(trials, score="all")
        (own,) = [one for one in read_records(tmp_path) if one.key.method == method]
        assert (own.tuned, own.learning_rate, own.part) == (tuned, best, "test")
    assert run(asked, tmp_path).new_runs == 0
    with pytest.raises(FolderError, match="was started with other settings"):
        run(request(), tmp_path)


@pytest.mark.long
def test_a_killed_chain_goes_on_after_its_last_task_and_ends_the_same(tmp_path: Path) -> None:
    ran(tmp_path / "whole")
    killed(ran, tmp_path / "killed", phase="ewc", epoch=2.0, bench=ChainBench)
    left = tmp_path / "killed/checkpoints/ewc.plain.order-1.seed-0/chain.json"
    assert '"rows": {"0"' in left.read_text()
    ran(tmp_path / "killed")
    assert list((tmp_path / "killed/checkpoints").iterdir()) == []
    for method in ("sequential", "ewc"):
        name = f"runs/{ChainKey(method, 'plain', 1, 0).id}.json"
        whole, again = (read_record(tmp_path / folder / name) for folder in ("whole", "killed"))
        assert (again.rows, again.losses, again.steps) == (whole.rows, whole.losses, whole.steps)
