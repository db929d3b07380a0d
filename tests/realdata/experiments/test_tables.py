"""The tables' numbers, against ones worked out by hand."""

from __future__ import annotations

import csv
from math import sqrt
from statistics import mean, stdev

import pytest

from loraml_theory.harness.errors import InputError
from realdata.experiments.records import Record
from realdata.experiments.tables import COLUMNS, Results, TableCell, csv_of
from realdata.experiments.wording import count
from realdata.intervals import MeanError, crossed_difference
from realdata.peft_ml.budget import Count
from tests.realdata.experiments.made import key, record

T_2 = 4.302652729911275  # 97.5 % quantile of Student's t with 2 degrees of freedom
STANDARD = TableCell("standard", "lora", None, 1, ())
LORA = STANDARD._replace(method="lora-ml")
TEXTS = {"standard": ("1100", "1000", "1110"), "lora-ml": ("1110", "1110", "1101")}  # by seed
BEST = {"standard": (0.5, 0.5, 0.75), "lora-ml": (0.75, 1.0, 0.75)}


def three_seeds() -> list[Record]:
    return [
        record(key(method=method, seed=seed), correct=text, best=BEST[method][seed])
        for method, texts in TEXTS.items()
        for seed, text in enumerate(texts)
    ]


def test_means_and_standard_errors_over_seeds() -> None:
    row = Results(three_seeds(), score="accuracy").row(LORA)
    assert row.seeds == (0, 1, 2)
    assert row.last == MeanError(0.75, 0.0, 3)
    assert row.best.mean == pytest.approx(mean([0.75, 1.0, 0.75]))
    assert row.best.standard_error == pytest.approx(stdev([0.75, 1.0, 0.75]) / sqrt(3))
    assert row.before == MeanError(0.5, 0.0, 3)
    assert row.retraining == (Count(600, 38400),)


def test_differences_are_paired_by_seed() -> None:
    compared = Results(three_seeds(), score="accuracy").row(LORA).compared
    assert compared is not None
    assert compared.last is not None
    assert compared.best is not None
    for found, differences in ((compared.last, [0.25, 0.5, 0.0]), (compared.best, [0.25, 0.5, 0.0])):
        half = T_2 * stdev(differences) / sqrt(3)
        assert found.estimate == pytest.approx((0.25, 0.25 - half, 0.25 + half))
        assert found.over == "seeds, on these test examples"
    expected = crossed_difference(
        [[float(c) for c in text] for text in TEXTS["lora-ml"]],
        [[float(c) for c in text] for text in TEXTS["standard"]],
    )
    assert compared.everything.estimate == expected.estimate
    assert compared.everything.over == "seeds and test examples"


def test_the_reference_is_compared_with_nothing() -> None:
    assert Results(three_seeds(), score="accuracy").row(STANDARD).compared is None


def test_only_seeds_that_both_have_are_compared() -> None:
    some = [one for one in three_seeds() if (one.key.method, one.key.seed) not in (("standard", 0), ("lora-ml", 2))]
    results = Results(some, score="accuracy")
    compared = results.row(LORA).compared
    assert compared is not None
    assert compared.seeds == (1,)
    assert compared.last is None
    assert compared.everything.over == "test examples, at one seed"
    assert compared.everything.estimate.value == 0.5
    assert results.row(LORA).seeds == (0, 1)
    none = [one for one in some if (one.key.method, one.key.seed) != ("standard", 1)]
    assert Results(none, score="accuracy").row(LORA).compared is None


def test_what_differs_otherwise_is_no_reference() -> None:
    other = [record(key(n=50)), record(key(rank=2)), record(key(finetune="full")), record(key(quirks=("warm-start",)))]
    results = Results([*other, record(key(method="lora-ml"))], score="accuracy")
    assert results.row(LORA).compared is None


def test_tasks_are_averaged_and_a_seed_counts_once_all_are_there() -> None:
    records = [
        record(key(method=method, seed=seed, task=task), correct=text)
        for method, seed, task, text in [
            *(("standard", 0, "a", "1000"), ("standard", 0, "b", "110000")),
            *(("standard", 1, "a", "1110"), ("standard", 1, "b", "111000")),
            *(("lora-ml", 0, "a", "1100"), ("lora-ml", 0, "b", "111000")),
            *(("lora-ml", 1, "a", "1110"), ("lora-ml", 1, "b", "111111")),
            ("standard", 2, "a", "1111"),
        ]
    ]
    results = Results(records, score="accuracy")
    assert results.tasks == ("a", "b")
    assert results.by_seed(STANDARD, "last") == pytest.approx({0: (1 / 4 + 1 / 3) / 2, 1: (3 / 4 + 1 / 2) / 2})
    compared = results.row(LORA).compared
    assert compared is not None
    assert compared.everything.over == "seeds and tasks"
    assert compared.everything.estimate.value == pytest.approx(mean([1 / 4, 1 / 6, 0, 1 / 2]))


def test_cells_stand_in_the_order_of_the_options() -> None:
    cells = [
        TableCell(method, finetune, n, rank, quirks)
        for quirks in ((), ("warm-start",), ("augment-once", "warm-start"))
        for rank in (1, 10)
        for finetune in ("lora", "last-layer")
        for n in (9, 50, None)
        for method in ("standard", "lora-ml", "reptile")
    ]
    names = ("method", "finetune", "n", "rank", "quirks")
    records = [record(key(**dict(zip(names, cell, strict=True)))) for cell in reversed(cells)]
    assert list(Results(records, score="accuracy").cells) == cells


def test_records_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(InputError, match=r"was tested on 3 examples, standard.*seed-0.*on 4"):
        Results([record(), record(key(seed=1), correct="110")], score="accuracy")
    with pytest.raises(InputError, match="has no score 'hits'"):
        Results([record()], score="hits")


def test_the_csv_has_a_line_for_each_run() -> None:
    rows = list(csv.DictReader(csv_of([record(key(n=50, quirks=("a", "b")))], scores=["accuracy"]).splitlines()))
    assert list(rows[0]) == list(COLUMNS)
    assert [rows[0][name] for name in ("n", "quirks", "last", "best", "fine_tuning_examples", "test_examples")] == [
        *("50", "a+b", "0.5", "0.75", "2500", "4")
    ]


def test_budgets_that_differ_are_a_range() -> None:
    assert count([Count(1200, 5)]) == "1 200 / 5"
    assert count([Count(1, 10), Count(3, 10), Count(2, 5)]) == "1–3 / 5–10"
