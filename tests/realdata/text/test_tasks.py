"""From rows to tasks: fields, labels, splits, tokens, and a head in which every task has its own rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from loraml_theory.harness.errors import InputError
from realdata.text.files import Source
from realdata.text.label_problem import LabelProblem
from realdata.text.labelled import Fields, Labelled, labelled, labels_of
from realdata.text.settings import DataSettings
from realdata.text.splits import PARTS, part_of, place
from realdata.text.tasks import TextTask, fill_of, read_task, tokenised
from tests.realdata.language.tiny import bert_tokenizer, roberta_tokenizer
from tests.realdata.text.made import rows, write


def read(path: Path, *more: Path, **settings: Any) -> TextTask[Labelled]:
    asked = DataSettings(**settings)
    fields = Fields(asked.text, asked.label)
    return read_task(Source("x", (path, *more)), asked, lambda rows: labelled(rows, fields), option="--task")


def labels(path: Path, *more: Path, **settings: Any) -> tuple[str | int, ...]:
    task = read(path, *more, **settings)
    every = [row for own in task.given.values() for row in own]
    return labels_of("x", task.given.get("all") or task.given["train"], every)


def refusal(path: Path, *more: Path, **settings: Any) -> str:
    with pytest.raises(InputError) as caught:
        labels(path, *more, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_split_is_by_shares_and_a_row_keeps_its_part(tmp_path: Path) -> None:
    found = rows([0, 1], count=600)
    for number, row in enumerate(found):
        row["text"] += f" {number}"
    task = read(write(tmp_path / "x.jsonl", found))
    sizes = [len(task.parts[part]) for part in PARTS]
    # binomial counts: each is within 5 standard deviations with probability 1 - 6e-7
    assert all(
        abs(size - 600 * share) < 5 * np.sqrt(600 * share * (1 - share))
        for size, share in zip(sizes, (0.7, 0.1, 0.2), strict=True)
    )
    fewer = read(write(tmp_path / "y.jsonl", found[::-3]))
    for part in PARTS:
        assert {row.texts for row in fewer.parts[part]} <= {row.texts for row in task.parts[part]}


def test_equal_texts_are_in_one_part_and_pairs_are_not_their_join() -> None:
    assert place(("ab", "c")) != place(("a", "bc"))
    assert [part_of(at, (1, 1, 2)) for at in (0.0, 0.25, 0.5, 0.999)] == ["train", "validation", "test", "test"]


def test_fewer_rows_are_a_part_of_all(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", rows([0, 1], count=200))
    every, some = read(path), read(path, training_rows=20, selection_rows=5, test_rows=6)
    assert [len(some.parts[part]) for part in PARTS] == [20, 5, 6]
    assert all(list(every.parts[part][: len(some.parts[part])]) == some.parts[part] for part in PARTS)


def test_files_for_training_and_testing_stay_apart(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", rows([0, 1], seed=0))
    test = write(tmp_path / "test.jsonl", rows([0, 1], seed=1, count=10))
    task = read(train, test)
    assert {row.where.rpartition(",")[0] for row in task.parts["test"]} == {str(test)}
    assert len(task.parts["train"]) + len(task.parts["validation"]) == 60
    assert len(task.parts["test"]) == 10
    other = write(tmp_path / "other.jsonl", [{"text": "a", "label": 7}])
    assert refusal(train, other) == f"{other}, row 1: has the label 7, expected one of those trained on: 0, 1"


def test_labels_are_in_order_and_named_where_a_folder_names_them(tmp_path: Path) -> None:
    import datasets

    assert labels(write(tmp_path / "x.jsonl", rows([10, 9, 2]))) == (2, 9, 10)
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    datasets.Dataset.from_list(rows([0, 1]), features=features).save_to_disk(tmp_path / "saved")
    assert labels(tmp_path / "saved") == ("no", "yes")


def test_fields_are_found_or_named(tmp_path: Path) -> None:
    pairs = [{"sentence1": row["text"], "sentence2": "b", "label": row["label"]} for row in rows([0, 1])]
    path = write(tmp_path / "x.jsonl", pairs)
    assert {len(row.texts) for row in read(path).parts["train"]} == {2}
    assert {len(row.texts) for row in read(path, text=("sentence1",)).parts["train"]} == {1}
    there = f"a field of {path}: sentence1, sentence2, label"
    assert refusal(path, text=("sentence1", "body")) == f"--text: got sentence1,body, expected {there}"
    assert refusal(path, label="class") == f"--label: got class, expected {there}"
    odd = write(tmp_path / "odd.jsonl", [{"body": "a", "kind": 1}])
    assert refusal(odd) == f"--text: is needed, expected a field of {odd}: body, kind"
    assert refusal(odd, text=("body",)) == f"--label: is needed, expected a field of {odd}: body, kind"


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"text": " ", "label": 0}, "row 61: its text is ' ', expected a text that is not empty"),
        ({"text": None, "label": 0}, "row 61: its text is None, expected a text that is not empty"),
        ({"text": "a", "label": None}, "row 61: its label is None, expected a text or a whole number"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, row: dict[str, Any], text: str) -> None:
    path = write(tmp_path / "x.jsonl", [*rows([0, 1]), row])
    assert refusal(path) == f"{path}, {text}"


def test_a_label_that_tells_nothing_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", [{**row, "id": at} for at, row in enumerate(rows([0, 1]))])
    assert refusal(path, label="id") == "x: each of its 60 rows has another label, expected labels of many rows"
    assert refusal(path, label="text") == f"--label: got text, which is the text of {path}, expected another field"
    with pytest.raises(ValueError, match=r"^text: got text,text, expected two different fields$"):
        DataSettings(text=("text", "text"))


def test_too_few_rows_or_labels_are_refused(tmp_path: Path) -> None:
    alone = write(tmp_path / "alone.jsonl", rows(["x"]))
    assert refusal(alone) == "x: its rows have the label 'x' only, expected two labels or more"
    few = write(tmp_path / "few.jsonl", rows([0, 1], count=2))
    assert refusal(few).startswith(f"--task x: the 2 rows of {few} leave none for the part ")


@pytest.mark.parametrize("tokenizer", [bert_tokenizer(), roberta_tokenizer()])
def test_rows_are_those_of_the_tokenizer(tmp_path: Path, tokenizer: Any) -> None:
    task = read(write(tmp_path / "x.jsonl", rows([0, 1])))
    made = tokenised(task, tokenizer, (0, 1), max_length=8)
    batch = made.train.batch(np.arange(5))
    texts = [row.texts[0] for row in task.parts["train"][:5]]
    expected = tokenizer(texts, truncation=True, max_length=8, padding=True, return_tensors="pt")
    assert set(batch.inputs) == set(expected)
    assert isinstance(batch.inputs, dict)
    assert all(torch.equal(batch.inputs[name], expected[name]) for name in expected)


def test_a_task_has_a_head_of_its_own_size() -> None:
    """Losses, gradients and scores are those of a head with the task's labels alone."""
    problem = LabelProblem({"input_ids": 0})
    torch.manual_seed(0)
    wide = torch.randn(6, 9, dtype=torch.float64, requires_grad=True)
    right = torch.tensor([0, 2, 1, 1, 0, 2])
    targets = torch.stack([right + 4, torch.full((6,), 4), torch.full((6,), 7)], dim=1)
    losses = problem.losses(wide, targets)
    (gradient,) = torch.autograd.grad(losses.sum(), wide)
    own = wide.detach()[:, 4:7].clone().requires_grad_()
    alone = functional.cross_entropy(own, right, reduction="none")
    (expected,) = torch.autograd.grad(alone.sum(), own)
    torch.testing.assert_close(losses, alone)
    torch.testing.assert_close(gradient[:, 4:7], expected)
    assert not gradient[:, :4].any()
    assert not gradient[:, 7:].any()
    assert problem.scores(wide, targets)[:, 0].tolist() == (own.argmax(1) == right).double().tolist()


def test_an_output_that_is_not_a_number_is_wrong() -> None:
    targets = torch.tensor([[0, 0, 2], [0, 0, 2]])
    outputs = torch.tensor([[torch.nan, 0.0, 5.0], [1.0, 0.0, torch.nan]])
    assert LabelProblem({}).scores(outputs, targets)[:, 0].tolist() == [0.0, 1.0]


def test_batches_of_several_tasks_are_padded_to_the_longest(tmp_path: Path) -> None:
    tokenizer = bert_tokenizer()
    made = tokenised(read(write(tmp_path / "x.jsonl", rows([0, 1]))), tokenizer, (0, 1), max_length=64)
    parts = [made.train.batch(np.array([at])) for at in range(4)]
    joined = LabelProblem(fill_of(tokenizer)).join(parts)
    together = made.train.batch(np.arange(4))
    assert torch.equal(joined.targets, together.targets)
    assert all(torch.equal(joined.inputs[name], together.inputs[name]) for name in together.inputs)  # type: ignore[index]
