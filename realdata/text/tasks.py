"""Tasks of texts: read, split, and tokenised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from loraml_theory.harness.errors import InputError
from realdata.peft_ml.data import Task
from realdata.text.examples import Row, TokenExamples
from realdata.text.files import Source, read_source
from realdata.text.labelled import Fields, Labelled, labelled, labels_of
from realdata.text.settings import DataSettings
from realdata.text.splits import PARTS, Part, by_place, part_of, place

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TextTask(NamedTuple):
    """A task before it is tokenised: its labels in order, and its texts by part."""

    name: str
    labels: tuple[str | int, ...]
    parts: Mapping[Part, Sequence[Labelled]]


@dataclass(frozen=True)
class LabelledTask(Task):
    """A task of tokenised texts with its labels."""

    labels: tuple[str | int, ...]


def read_task(source: Source, settings: DataSettings, *, option: str) -> TextTask:
    """Read a task and split it.

    Parameters
    ----------
    source
        Where its rows are.
    settings
        Fields, shares and numbers of rows.
    option
        The command's option that named the source, for errors.

    Raises
    ------
    InputError
        If something cannot be used, or a part has no rows.
    """
    fields = Fields(settings.text, settings.label)
    given = {part: labelled(rows, fields) for part, rows in read_source(source).items()}
    parts = _parts(given, settings.split)
    for part, rows in parts.items():
        if not rows:
            where = ", ".join(map(str, source.paths))
            raise InputError(
                f"{option} {source.name}: the {sum(map(len, given.values()))} rows of {where} leave none for the part "
                f"{part}, expected more rows or another --split than {','.join(map(str, settings.split))}"
            )
    trained = given.get("all") or given["train"]
    labels = labels_of(f"{option} {source.name}", trained, [row for rows in given.values() for row in rows])
    ordered = {
        part: by_place(((place(row.texts), row) for row in parts[part]), most=most)
        for part, most in zip(PARTS, settings.most, strict=True)
    }
    return TextTask(source.name, labels, ordered)


def _parts(given: Mapping[str, Sequence[Labelled]], shares: Sequence[int]) -> dict[Part, Sequence[Labelled]]:
    """Split what is given together; what a user gives apart stays as it is."""
    own = dict(given)
    if "all" not in own and {"validation", "test"} <= set(own):
        return {part: own[part] for part in PARTS}
    train, validation, test = shares
    if "all" in own:
        found = _split(own.pop("all"), shares)
    elif "test" in own:
        found = _split(own.pop("train"), (train, validation, 0))
    else:
        found = _split(own.pop("train"), (train, 0, test))
    return {part: own.get(part, found[part]) for part in PARTS}


def _split(rows: Sequence[Labelled], shares: Sequence[int]) -> dict[Part, list[Labelled]]:
    found: dict[Part, list[Labelled]] = {part: [] for part in PARTS}
    for row in rows:
        found[part_of(place(row.texts), shares)].append(row)
    return found


def tokenised(task: TextTask, tokenizer: PreTrainedTokenizerBase, *, max_length: int, first: int = 0) -> LabelledTask:
    """Return the task as rows of tokens, its labels in the outputs of a model from number `first` on."""
    number = {label: first + at for at, label in enumerate(task.labels)}
    end = first + len(task.labels)

    def examples(rows: Sequence[Labelled]) -> TokenExamples:
        targets = torch.tensor([[number[row.label], first, end] for row in rows])
        tokens = token_rows(tokenizer, [row.texts for row in rows], max_length=max_length)
        return TokenExamples(tokens, targets, fill=fill_of(tokenizer))

    train, validation, test = (examples(task.parts[part]) for part in PARTS)
    return LabelledTask(task.name, train, validation, test, task.labels)


def token_rows(tokenizer: PreTrainedTokenizerBase, texts: Sequence[tuple[str, ...]], *, max_length: int) -> list[Row]:
    """Return the model's inputs for each text or pair of texts, cut to a length."""
    columns = [list(column) for column in zip(*texts, strict=True)]
    found = tokenizer(*columns, truncation=True, max_length=min(max_length, tokenizer.model_max_length))
    names = list(fill_of(tokenizer))
    return [dict(zip(names, values, strict=True)) for values in zip(*(found[name] for name in names), strict=True)]


def fill_of(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Return the inputs that a tokenizer gives, and what each is padded with."""
    fill = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id, "attention_mask": 0}
    names = {"input_ids", "attention_mask", *tokenizer.model_input_names}
    return {name: int(value) for name, value in fill.items() if name in names}
