"""`loraml power`: the answer first, then where it comes from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paper_checks.claims.nl_shallow import drawn_runs
from tests.paper_checks.claims import test_nl_continual, test_nl_shallow
from tests.paper_checks.conftest import Loraml
from tests.realdata.experiments.made import experiment, key, record


def recorded(folder: Path, *, seeds: int, tasks: tuple[str, ...] = ("ship-truck",)) -> Path:
    """Write records of two methods, answers drawn with accuracies of 0.7 and 0.8."""
    rng = np.random.default_rng(0)
    spent = {"command": "", "seconds": 30.0, "retraining_seconds": 60.0}
    return experiment(
        folder,
        [
            record(
                key(method=method, seed=seed, task=task),
                correct="".join("01"[int(right)] for right in rng.random(400) < accuracy),
                provenance=spent,
            )
            for method, accuracy in (("standard", 0.7), ("lora-ml", 0.8))
            for seed in range(seeds)
            for task in tasks
        ],
    )


def test_the_design_that_detects_is_said_first(loraml: Loraml, tmp_path: Path) -> None:
    ended = loraml("power", str(recorded(tmp_path / "runs", seeds=3)), "--effect", "10")
    assert (ended.status, ended.err) == (0, "")
    first, second, third, *table = ended.out.splitlines()
    assert first.startswith("lora-ml − standard, fine-tuning by lora, n = all, rank 1: +")
    assert second.startswith("To detect 10 percentage points with power 0.8 takes ")
    assert second.endswith(" min on 2 cores.")
    assert third.endswith("from 3 seeds, 400 test examples each.")
    assert table[0].split() == ["seeds", "detects", "time", "on", "2", "cores"]
    assert table[2].split()[0] == "3"
    assert table[2].endswith("4 min   ") or table[2].rstrip().endswith("4 min")


def test_tasks_are_a_second_axis_and_one_seed_is_not_enough(loraml: Loraml, tmp_path: Path) -> None:
    ended = loraml("power", str(recorded(tmp_path / "two", seeds=2, tasks=("a", "b", "c"))))
    assert "3 tasks" in ended.out
    assert ended.out.count("\n6") + ended.out.count("      6") > 0
    ended = loraml("power", str(recorded(tmp_path / "one", seeds=1)))
    assert "One seed was run, so the variance between seeds is not known: run a second one." in ended.out
    assert "detects" not in ended.out


def test_chains_have_orders_in_the_place_of_examples(loraml: Loraml, tmp_path: Path) -> None:
    ended = loraml("power", str(test_nl_continual.written(tmp_path / "chains")))
    assert (ended.status, ended.err) == (0, "")
    assert "o-lora from plain − sequential from plain: +" in ended.out
    assert "seeds within an order" in ended.out
    assert "from 5 seeds, 4 orders each." in ended.out


def test_runs_of_the_shallow_network_are_independent(loraml: Loraml, tmp_path: Path) -> None:
    folder = test_nl_shallow.written(tmp_path / "runs", drawn_runs(0, ratio=2.0))
    ended = loraml("power", str(folder), "--effect", "0.2")
    assert (ended.status, ended.err) == (0, "")
    first, second, third, *_ = ended.out.splitlines()
    assert first.startswith("log10 of SR's test error over LoRA-ML's, d = ")
    assert second.startswith("To detect 0.2 powers of ten with power 0.8 takes ")
    assert second.endswith(" runs.")
    assert third.startswith("Standard deviation of the difference between runs 0.1")
    assert "min" not in ended.out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["none"], "none: holds no experiment (no experiment.json)"),
        (["lonely"], "lonely: has no two methods with a seed in common, of which one is standard"),
        (["lonely", "--effect", "0"], "--effect: got '0', expected a number above 0"),
        (["lonely", "--power", "1"], "--power: got '1', expected a number above 0"),
    ],
)
def test_what_is_wrong_is_one_line(
    loraml: Loraml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    experiment(Path("lonely"), [record(key(method="lora-ml"))])
    ended = loraml("power", *words)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"loraml: error: {text}")
    assert ended.err.count("\n") == 1
