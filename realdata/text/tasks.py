"""Tasks of texts: read, split, and tokenised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

import torch

from loraml_theory.harness.errors import InputError
from realdata.peft_ml.data import Task
from realdata.text.examples import Row, TokenExamples
from realdata.text.files import Rows, Source, read_source
from realdata.text.labelled import Labelled
from realdata.text.settings import DataSettings
from realdata.text.splits import PARTS, Part, by_place, part_of, place

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Text(Protocol):
    """A row of a task as it is read."""

    @property
    def texts(self) -> tuple[str, ...]:
        """What tells it from other rows, and decides on its part."""
        ...


R = TypeVar("R", bound=Text)


class TextTask(NamedTuple, Generic[R]):
    """A task before it is tokenised: its rows by part, and as they were given."""

    name: str
    parts: Mapping[Part, Sequence[R]]
    given: Mapping[str, Sequence[R]]


def read_task(
    source: Source, settings: DataSettings, read: Callable[[Rows], Sequence[R]], *, option: str
) -> TextTask[R]:
    """Read a task and split it.

    Parameters
    ----------
    source
        Where its rows are.
    settings
        Shares and numbers of rows.
    read
        From rows of a file to those of the task.
    option
        The command's option that named the source, for errors.

    Raises
    ------
    InputError
        If something cannot be used, or a part has no rows.
    """
    given = {part: read(rows) for part, rows in read_source(source).items()}
    parts = _parts(given, settings.split)
    for part, rows in parts.items():
        if not rows:
            where = ", ".join(map(str, source.paths))
            raise InputError(
                f"{option} {source.name}: the {sum(map(len, given.values()))} rows of {where} leave none for the part "
                f"{part}, expected more rows or another --split than {','.join(map(str, settings.split))}"
            )
    ordered = {
        part: by_place(((place(row.texts), row) for row in parts[part]), most=most)
        for part, most in zip(PARTS, settings.most, strict=True)
    }
    return TextTask(source.name, ordered, given)


def _parts(given: Mapping[str, Sequence[R]], shares: Sequence[int]) -> dict[Part, Sequence[R]]:
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


def _split(rows: Sequence[R], shares: Sequence[int]) -> dict[Part, list[R]]:
    found: dict[Part, list[R]] = {part: [] for part in PARTS}
    for row in rows:
        found[part_of(place(row.texts), shares)].append(row)
    return found


def tokenised(
    task: TextTask[Labelled],
    tokenizer: PreTrainedTokenizerBase,
    labels: Sequence[str | int],
    *,
    max_length: int,
    first: int = 0,
) -> Task:
    """Return the task as rows of tokens, its labels in the outputs of a model from number `first` on."""
    number = {label: first + at for at, label in enumerate(labels)}
    end = first + len(labels)

    def examples(rows: Sequence[Labelled]) -> TokenExamples:
        targets = torch.tensor([[number[row.label], first, end] for row in rows])
        tokens = token_rows(tokenizer, [row.texts for row in rows], max_length=max_length)
        return TokenExamples(tokens, targets, fill=fill_of(tokenizer))

    return Task(task.name, *(examples(task.parts[part]) for part in PARTS))


def token_rows(tokenizer: PreTrainedTokenizerBase, texts: Sequence[tuple[str, ...]], *, max_length: int) -> list[Row]:
    """Return the model's inputs for each text or pair of texts, cut to a length."""
    columns = [list(column) for column in zip(*texts, strict=True)]
    longest = min(max_length, tokenizer.model_max_length)
    own = tokenizer.num_special_tokens_to_add(pair=len(columns) > 1)
    if longest <= own:
        raise InputError(f"--max-length: got {longest}, of which {own} are not the text's, expected {own + 1} or more")
    found = tokenizer(*columns, truncation=True, max_length=longest)
    names = list(fill_of(tokenizer))
    return [dict(zip(names, values, strict=True)) for values in zip(*(found[name] for name in names), strict=True)]


def fill_of(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Return the inputs that a tokenizer gives, and what each is padded with."""
    fill = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id, "attention_mask": 0}
    names = {"input_ids", "attention_mask", *tokenizer.model_input_names}
    return {name: int(value) for name, value in fill.items() if name in names}
