"""Benchmarks on disk: what is read, how it is split, and what is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from loraml_theory.harness.errors import InputError
from realdata.continual.benchmark import read_benchmark, read_orders
from realdata.text.settings import DataSettings
from tests.realdata.continual.benchmark_files import LABELS, benchmark, rows

DATA = DataSettings(split=(60, 20, 20))


def test_parts_that_are_given_stay_and_others_are_split_off(tmp_path: Path) -> None:
    found = read_benchmark(benchmark(tmp_path), ["others", "letters"], DATA)
    assert list(found) == ["others", "letters"]
    letters = found["letters"]
    assert letters.labels == ("a", "b", "c")
    assert {row.texts for row in letters.parts["test"]} == {(row["sentence"],) for row in rows("letters", 9, first=18)}
    assert len(letters.parts["train"]) + len(letters.parts["validation"]) == 18
    assert min(len(part) for part in letters.parts.values()) > 0
    texts = [row.texts for part in found["others"].parts.values() for row in part]
    assert len(texts) == len(set(texts)) == 30
    few = read_benchmark(tmp_path, ["others"], DataSettings(split=(60, 20, 20), training_rows=4, test_rows=1))["others"]
    assert (len(few.parts["train"]), len(few.parts["test"])) == (4, 1)
    assert set(few.parts["train"]) <= set(found["others"].parts["train"])


def test_three_files_are_the_three_parts_and_labels_may_be_those_of_the_rows(tmp_path: Path) -> None:
    benchmark(tmp_path)
    (tmp_path / "others/labels.json").unlink()
    (tmp_path / "others/test.jsonl").rename(tmp_path / "others/train.jsonl")
    for part, first in (("dev", 30), ("test", 36)):
        text = "".join(json.dumps(row) + "\n" for row in rows("others", 6, first=first))
        (tmp_path / f"others/{part}.jsonl").write_text(text)
    found = read_benchmark(tmp_path, ["others"], DATA)["others"]
    assert {part: len(own) for part, own in found.parts.items()} == {"train": 30, "validation": 6, "test": 6}
    assert found.labels == tuple(LABELS["others"])


def test_a_saved_folder_of_datasets_is_a_task(tmp_path: Path) -> None:
    import datasets

    data = datasets.Dataset.from_list(rows("letters", 30))
    data.save_to_disk(str(tmp_path / "letters"))
    found = read_benchmark(tmp_path, ["letters"], DATA)["letters"]
    assert sum(map(len, found.parts.values())) == 30
    assert found.labels == ("a", "b", "c")


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "labels": (lambda path: (path / "labels.json").write_text('["a"]'), "labels.json: is not a list of texts"),
    "twice": (lambda path: (path / "labels.json").write_text('["a", "b", "a"]'), "labels.json: has a label twice"),
    "other": (lambda path: (path / "labels.json").write_text('["a", "b"]'), "has the label 'c', expected one of a, b"),
    "two": (lambda path: (path / "train.jsonl").write_text("{}"), "has train.json.gz and train.jsonl, expected one"),
    "none": (lambda path: list(map(Path.unlink, path.glob("*.gz"))), "has no part, expected train.json.gz"),
    "damaged": (lambda path: (path / "train.json.gz").write_bytes(b"x"), "train.json.gz: "),
}


@pytest.mark.parametrize("what", SPOILT)
def test_what_cannot_be_used_is_one_line(tmp_path: Path, what: str) -> None:
    benchmark(tmp_path)
    spoil, text = SPOILT[what]
    spoil(tmp_path / "letters")
    with pytest.raises(InputError) as refused:
        read_benchmark(tmp_path, ["letters"], DATA)
    assert text in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_task_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no task 'yahoo', expected one of letters, others"):
        read_benchmark(benchmark(tmp_path), ["yahoo"], DATA)
    with pytest.raises(InputError, match="has no task 'letters', expected one of some folders"):
        read_benchmark(tmp_path / "none", ["letters"], DATA)


def test_orders_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "orders.json"
    path.write_text('[["a", "b"], ["b", "a"]]')
    assert read_orders(path) == (("a", "b"), ("b", "a"))
    for text in ("[]", "{}", '["a"]', '[["a", 1]]', "[[]]", "null"):
        path.write_text(text)
        with pytest.raises(InputError, match="is not a list of orders"):
            read_orders(path)
