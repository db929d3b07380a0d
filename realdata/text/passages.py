"""Texts of a causal language model by TRL's conventions: a text, a prompt with its completion, or a dialogue."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from loraml_theory.harness.errors import InputError, reason
from realdata.text.files import Rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORMS = (("messages",), ("prompt", "completion"), ("text",))
"""Fields of the three forms, the first of which that is there is used."""
IGNORED = -100
"""The target of a token without a loss, as in transformers."""


class Passage(NamedTuple):
    """A row: what tells it from others, its tokens, and how many of them are given before those with a loss."""

    texts: tuple[str, ...]
    tokens: tuple[int, ...]
    given: int


def passages(
    rows: Rows, tokenizer: PreTrainedTokenizerBase, *, fields: Sequence[str], max_length: int
) -> list[Passage]:
    """Return the passages of rows; the loss is on the completion, of a dialogue on its last answer, of a text on all.

    Parameters
    ----------
    rows
        Where they are.
    tokenizer
        Its end of a text ends each; its template makes texts of dialogues.
    fields
        One field of a text, or those of prompt and completion; if none, those of `FORMS`.
    max_length
        The most tokens; longer passages lose their end.

    Raises
    ------
    InputError
        If a field is not there, or a row cannot be used; the text names it.
    """
    used = _fields(rows, fields)
    read = _dialogue if used == ("messages",) else _plain
    found = []
    for number, values in enumerate(zip(*(rows.data[name] for name in used), strict=True), start=1):
        where = f"{rows.where}, row {number}"
        given, tokens = read(tokenizer, dict(zip(used, values, strict=True)), where)
        cut = tokens[:max_length]
        if len(cut) <= max(given, 1):
            raise InputError(
                f"{where}: its first {max_length} tokens leave none to learn, expected a larger --max-length"
            )
        texts = tuple(value if isinstance(value, str) else json.dumps(value) for value in values)
        found.append(Passage(texts, tuple(cut), given))
    if not found:
        raise InputError(f"{rows.where}: has no rows, expected texts")
    return found


def _fields(rows: Rows, asked: Sequence[str]) -> tuple[str, ...]:
    there = rows.data.column_names
    forms = [tuple(asked)] if asked else [form for form in FORMS if set(form) <= set(there)]
    if not forms or not set(forms[0]) <= set(there):
        said = f"got {','.join(asked)}" if asked else "is needed"
        raise InputError(f"--text: {said}, expected fields of {rows.where}: {', '.join(there)}")
    return forms[0]


def _plain(tokenizer: Any, row: dict[str, Any], where: str) -> tuple[int, list[int]]:
    """Return the tokens of a text, or of a prompt and its completion, and how many are those of the prompt."""
    for field, text in row.items():
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{where}: its {field} is {text!r}, expected a text that is not empty")
    *prompt, completion = row.values()
    given = tokenizer(prompt[0])["input_ids"] if prompt else []
    # tokens of the two apart, so that none spans their border
    own = tokenizer(completion, add_special_tokens=not prompt)["input_ids"]
    end = [tokenizer.eos_token_id] if own[-1:] != [tokenizer.eos_token_id] else []
    return len(given), [*given, *own, *end]


def _dialogue(tokenizer: Any, row: dict[str, Any], where: str) -> tuple[int, list[int]]:
    """Return the tokens of a dialogue, and how many are those before its last answer."""
    messages = row["messages"]
    roles = [message.get("role") for message in messages or [] if isinstance(message, dict)]
    if not roles or roles[-1] != "assistant":
        raise InputError(f"{where}: its messages have the roles {roles}, expected the last one to be of the assistant")
    try:
        before = tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template(messages, tokenize=False)
    except Exception as error:  # no template, or an error of its own
        raise InputError(f"{where}: the model's chat template cannot write its messages: {reason(error)}") from None
    if not whole.startswith(before):
        raise InputError(f"{where}: the model's chat template writes its last answer with other words before it")
    given = tokenizer(before, add_special_tokens=False)["input_ids"]
    own = tokenizer(whole[len(before) :], add_special_tokens=False)["input_ids"]
    return len(given), [*given, *own]


def targets(passages: Sequence[Passage], width: int) -> Iterator[list[int]]:
    """Yield the tokens with a loss of each passage, `IGNORED` elsewhere, filled up to a width."""
    for passage in passages:
        own = [IGNORED] * passage.given + list(passage.tokens[passage.given :])
        yield own + [IGNORED] * (width - len(own))
