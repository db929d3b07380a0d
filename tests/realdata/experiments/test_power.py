"""What a design can detect: variances that were put in are found, and detected is what the intervals detect."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from realdata.experiments.power import Design, Power, Variances, of_differences, powers, variances
from realdata.experiments.tables import Results
from realdata.intervals import crossed_difference, student
from tests.realdata.experiments.made import key, record

PLANTED = Variances(seed=0.04, task=0.09, seed_task=0.01, example=0.25, seed_example=0.16)


def drawn(rng: np.random.Generator, of: Variances, design: Design, mean: float = 0.0) -> list[NDArray[np.float64]]:
    """Draw the differences of every task, with normal effects."""
    S, T, m = design.seeds, design.tasks, int(design.examples)
    sizes = [(of.seed, (S, 1, 1)), (of.task, (1, T, 1)), (of.seed_task, (S, T, 1))]
    sizes += [(of.example, (1, T, m)), (of.seed_example, (S, T, m))]
    total = mean + sum((value or 0.0) ** 0.5 * rng.standard_normal(shape) for value, shape in sizes)
    return [total[:, t] for t in range(T)]


def stated(of: Variances, run: Design) -> Power:
    return Power("lora-ml − standard", 0.0, run, of, retraining_seconds=60.0, fine_tuning_seconds=6.0)


def mean_and_error(found: Sequence[Variances], name: str) -> tuple[float, float]:
    values = np.array([getattr(one, name) for one in found])
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)


def test_the_variances_that_were_put_in_are_found() -> None:
    rng = np.random.default_rng(0)
    found = [variances(drawn(rng, PLANTED, Design(12, 12, 20))) for _ in range(100)]
    for name, value in PLANTED._asdict().items():
        mean, error = mean_and_error(found, name)
        assert abs(mean - value) < 4.5 * error, name
        assert error < 0.1 * value, name


def test_with_one_task_the_tasks_effect_is_the_seeds() -> None:
    rng = np.random.default_rng(1)
    planted = PLANTED._replace(task=None, seed_task=None)
    found = [variances(drawn(rng, planted, Design(10, 1, 50))) for _ in range(200)]
    assert {(one.task, one.seed_task) for one in found} == {(None, None)}
    for name in ("seed", "example", "seed_example"):
        mean, error = mean_and_error(found, name)
        assert abs(mean - getattr(planted, name)) < 4.5 * error


def test_with_one_seed_what_is_between_seeds_is_not_known() -> None:
    found = variances(drawn(np.random.default_rng(2), PLANTED, Design(1, 5, 20)))
    assert (found.seed, found.seed_task, found.seed_example) == (None, None, None)
    power = stated(found, Design(1, 5, 20))
    assert power.detectable(Design(5, 5, 20), power=0.8) is None
    assert power.cheapest(100.0, power=0.8) is None


@pytest.mark.parametrize(
    ("planted", "design"),
    [
        (PLANTED, Design(4, 6, 20)),
        (PLANTED._replace(seed=0.4), Design(3, 20, 5)),
        (PLANTED._replace(task=None, seed_task=None), Design(3, 1, 200)),
        (PLANTED._replace(task=None, seed_task=None, example=9.0), Design(10, 1, 30)),
    ],
)
@pytest.mark.parametrize("share", [0.8, 0.5])
def test_detected_is_what_the_interval_detects(planted: Variances, design: Design, share: float) -> None:
    least = stated(planted, design).detectable(design, power=share)
    assert least is not None
    rng, draws = np.random.default_rng(3), 4000
    seen = 0
    for _ in range(draws):
        tables = drawn(rng, planted, design, mean=least)
        table = np.array([one.mean(axis=1) for one in tables]).T if design.tasks > 1 else tables[0]
        seen += crossed_difference(table, np.zeros_like(table)).estimate.low > 0
    error = (share * (1 - share) * (1 / draws + 1 / 20_000)) ** 0.5
    assert abs(seen / draws - share) < 4.5 * error


def test_the_cheapest_design_is_cheapest() -> None:
    power = stated(PLANTED, Design(3, 5, 20))
    design = power.cheapest(0.5, power=0.8)
    assert design is not None
    least = power.detectable(design, power=0.8)
    assert least is not None
    assert least <= 0.5
    for fewer in (design._replace(seeds=design.seeds - 1), design._replace(tasks=design.tasks - 5)):
        if fewer.seeds > 1 and fewer.tasks > 0:
            below = power.detectable(fewer, power=0.8)
            assert below is None or below > 0.5 or power.seconds(fewer) >= power.seconds(design)
    assert power.cheapest(1e-6, power=0.8) is None
    assert power.seconds(design) == design.seeds * (60.0 + 6.0 * design.tasks)


def test_records_lead_to_differences_and_costs() -> None:
    spent = {"command": "", "seconds": 3.0, "retraining_seconds": 20.0}
    answers = {("standard", 0): "1100", ("standard", 1): "1000", ("lora-ml", 0): "1110", ("lora-ml", 1): "1011"}
    records = [
        record(key(method=method, seed=seed), correct=correct, provenance=spent)
        for (method, seed), correct in answers.items()
    ]
    (found,) = powers(Results(records, score="accuracy"))
    assert found.what == "lora-ml − standard, fine-tuning by lora, n = all, rank 1"
    assert found.run == Design(2, 1, 4.0)
    assert found.difference == pytest.approx(0.375)
    assert (found.retraining_seconds, found.fine_tuning_seconds) == (40.0, 6.0)


def test_differences_of_independent_runs_are_judged_by_student() -> None:
    rng = np.random.default_rng(3)
    power = of_differences("a − b", rng.standard_normal((40, 1)))
    least = power.detectable(Design(20, 1, 2.0), power=0.8)
    assert least is not None
    assert power.variances.seed is not None
    drawn = least + power.variances.seed**0.5 * rng.standard_normal((4000, 20))
    low = drawn.mean(axis=1) - student(19) * drawn.std(axis=1, ddof=1) / 20**0.5
    assert abs((low > 0).mean() - 0.8) < 0.03
