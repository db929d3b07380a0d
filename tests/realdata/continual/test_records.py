"""Records of chains survive the disk, their scores follow from their matrices, and what is not a record is refused."""

from __future__ import annotations

import csv
from dataclasses import replace
from io import StringIO
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loraml_theory.harness.errors import InputError
from realdata.continual.records import ChainKey, ChainRecord, Tuned, path_of, read_record, read_records, write_record
from realdata.continual.scores import average_accuracy, final, matrix, measured
from realdata.continual.tables import Chains, average, csv_of, mean_matrix, measure
from realdata.intervals import crossed_difference

MATRIX = np.array([[0.1, 0.2, 0.3], [0.5, 0.25, 0.36], [0.7, 0.8, 0.4], [0.6, 0.65, 0.9]])


def record(
    method: str = "sequential",
    *,
    order: int = 1,
    seed: int = 0,
    start: str = "plain",
    shift: float = 0.0,
    **changes: Any,
) -> ChainRecord:
    rows = {"joint": [0, 3], "no-training": [0]}.get(method, [0, 1, 2, 3])
    made = ChainRecord(
        key=ChainKey(method, start, order, seed),
        tasks=("a", "b/ç", "c"),
        sizes=(100, 100, 200),
        part="test",
        learning_rate=1e-3,
        tuned=Tuned((1e-3, 1e-2), (0.5, 0.4)),
        rows={at: {"all": tuple((MATRIX[at] + shift).tolist()), "own": (1.0, 0.5, 0.0)} for at in rows},
        losses=((1.5, None),) * (len(rows) - 1),
        steps=(3,) * (len(rows) - 1),
        examples=(24,) * (len(rows) - 1),
        seconds=(0.5,) * (len(rows) - 1),
        provenance={"command": "loraml"},
    )
    return replace(made, **changes)


@pytest.mark.parametrize("method", ["sequential", "joint", "no-training", "per-task"])
def test_a_record_is_read_as_it_was_written(tmp_path: Path, method: str) -> None:
    made = record(method)
    assert read_record(write_record(tmp_path, made)) == made
    trial = replace(made, key=made.key._replace(rate=3e-4), tuned=None, part="validation")
    assert read_record(write_record(tmp_path, trial)) == trial
    assert path_of(tmp_path, trial.key).parent.name == "tuning"
    assert read_records(tmp_path) == [made]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rows": {0: {"all": (0.1, 0.2, 0.3)}}}, "rows: got [0], expected [0, 1, 2, 3]"),
        ({"rows": {at: {"all": (0.1, nan, 0.3)} for at in range(4)}}, "rows: got a number that is not finite"),
        ({"rows": {at: {"all": (0.1, 1.5, 0.3)} for at in range(4)}}, "1.5 is greater than the maximum of 1"),
        ({"rows": {at: {"all": (0.1, 0.3)} for at in range(4)}}, "expected 3 numbers for each score"),
        ({"rows": {at: {f"s{at}": (0.1, 0.2, 0.3)} for at in range(4)}}, "got other scores"),
        ({"steps": (1, 2)}, "expected 3 trainings in each"),
        ({"part": "train"}, "part: 'train' is not one of"),
        ({"key": ChainKey("magic", "plain", 1, 0)}, "key.method: 'magic' is not one of"),
        ({"learning_rate": 0.0}, "learning_rate"),
    ],
)
def test_what_is_not_a_record_is_not_written(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError) as refused:
        write_record(tmp_path, record(**changes))
    assert text in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.rglob("*.json")) == []


def test_a_damaged_record_and_one_under_another_name_are_refused(tmp_path: Path) -> None:
    path = write_record(tmp_path, record())
    moved = path.with_name("sequential.plain.order-2.seed-0.json")
    path.rename(moved)
    with pytest.raises(InputError, match="not the one that its name says"):
        read_records(tmp_path)
    moved.write_text(moved.read_text()[:-20])
    with pytest.raises(InputError, match="expected the JSON of a chain; remove it and run again"):
        read_records(tmp_path)


def test_records_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    write_record(tmp_path, record())
    other = write_record(tmp_path, record(seed=1, tasks=("a", "b", "c")))
    with pytest.raises(InputError, match="has other tasks than another record of order 1"):
        read_records(tmp_path)
    other.unlink()
    write_record(tmp_path, record(order=2, rows={at: {"all": (0.1, 0.2, 0.3)} for at in range(4)}))
    with pytest.raises(InputError, match="other scores than"):
        read_records(tmp_path)
    with pytest.raises(InputError, match="tuned: got 1 rates and 2 scores"):
        write_record(tmp_path, record(tuned=Tuned((0.1,), (0.1, 0.2))))


def test_the_scores_of_a_matrix_by_hand() -> None:
    one = record()
    assert average_accuracy(one, "all") == pytest.approx(2.15 / 3)
    assert measured(one, "all", "micro") == pytest.approx((0.60 + 0.65 + 2 * 0.90) / 4)
    assert measured(one, "all", "forgetting") == pytest.approx((0.10 + 0.15) / 2)
    assert measured(one, "all", "backward") == pytest.approx((0.10 - 0.15) / 2)
    assert measured(one, "all", "forward") == pytest.approx((0.05 + 0.10) / 2)


def test_what_a_user_is_left_with() -> None:
    assert final(record("per-task"), "all")[-1].tolist() == pytest.approx([0.5, 0.8, 0.9])
    assert final(record("no-training"), "all")[-1].tolist() == pytest.approx([0.1, 0.2, 0.3])
    joint = record("joint")
    assert np.isnan(matrix(joint, "all")[1:3]).all()
    assert average_accuracy(joint, "all") == pytest.approx(2.15 / 3)
    for method in ("joint", "no-training", "per-task"):
        assert measured(record(method), "all", "forgetting") is None
        assert measured(record(method), "all", "micro") is not None


def records() -> list[ChainRecord]:
    return [
        record(method, order=order, seed=seed, shift=shift * (1 + seed + 2 * order) / 100)
        for method, shift in (("sequential", 0.0), ("o-lora", 1.0))
        for order in (1, 2)
        for seed in (0, 1, 2)
    ]


def test_differences_are_paired_by_seed_and_order() -> None:
    chains = Chains(records())
    line, other = chains.line("o-lora"), chains.line("sequential")
    assert line is not None
    assert other is not None
    found = chains.compare(line, other, "all")
    table = np.array([[(1 + seed + 2 * order) / 100 for order in (1, 2)] for seed in range(3)])
    assert found is not None
    assert found.everything is not None
    assert found.seeds is not None
    assert found.everything.estimate == pytest.approx(crossed_difference(table, 0 * table).estimate)
    assert found.seeds.estimate.value == pytest.approx(table.mean())
    assert average(line, "all").values == 6
    assert measure(line, "all", "forgetting") is not None
    assert measure(Chains([record("joint")]).lines[0], "all", "forgetting") is None


def test_a_seed_without_all_orders_is_left_out_and_none_is_no_difference() -> None:
    some = [one for one in records() if not (one.key.method == "o-lora" and one.key[2:4] == (2, 1))]
    chains = Chains(some)
    found = chains.compare(chains.lines[1], chains.lines[0], "all")
    assert found is not None
    assert found.seeds is not None
    assert found.seeds.seeds == 2
    apart = Chains([record("sequential", seed=0), record("o-lora", seed=1)])
    assert apart.compare(apart.lines[1], apart.lines[0], "all") is None


def test_lines_are_in_the_order_of_the_methods_and_tables_hold_every_chain() -> None:
    chains = Chains([record("joint"), record("ewc", start="sr"), record("sequential"), record("ewc")])
    assert [line[:2] for line in chains.lines] == [
        ("sequential", "plain"),
        ("ewc", "plain"),
        ("joint", "plain"),
        ("ewc", "sr"),
    ]
    rows = list(csv.DictReader(StringIO(csv_of(chains, ["all", "own"]))))
    assert len(rows) == 8
    assert {row["method"]: row["a_1_1"] for row in rows if row["score"] == "all"}["joint"] == ""
    assert float(rows[4]["average"]) == pytest.approx(2.15 / 3)
    assert isnan(mean_matrix(chains.lines[2], 1, "all")[1, 0])


def test_a_rate_at_the_end_of_those_tried_is_said() -> None:
    inner = record("ewc", tuned=Tuned((1e-4, 1e-3, 1e-2), (0.1, 0.5, 0.2)))
    found = Chains([record(), inner]).tunings()
    assert [(one.method, one.at_the_end) for one in found] == [("sequential", True), ("ewc", False)]
