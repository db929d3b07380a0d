"""Dialogues written in the ParlAI format, for what reads them."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Iterator

from loraml_theory.harness.atomic import write_whole
from realdata.language.parlai import _CONTROL, OWN, PARTNER, SILENCE, Dialogue, _short


def write_dialogues(path: str | os.PathLike[str], dialogues: Iterable[Dialogue]) -> None:
    """Write dialogues in the ParlAI text format, whole or not at all; gzipped if the name ends in ``.gz``.

    Raises
    ------
    ValueError
        If a text has a character that ends a field or a line, such as a tab, or another control character.
    """
    text = "".join(f"{number} {line}\n" for one in dialogues for number, line in enumerate(_lines(one), start=1))
    data = text.encode()
    write_whole(path, gzip.compress(data, mtime=0) if os.fspath(path).endswith(".gz") else data)


def _lines(dialogue: Dialogue) -> Iterator[str]:
    """Yield what follows the number of each line."""
    yield from (OWN + _plain(sentence) for sentence in dialogue.persona)
    yield from (PARTNER + _plain(sentence) for sentence in dialogue.partner)
    for turn in dialogue.turns:
        fields = [_plain(turn.utterance or SILENCE), _plain(turn.reply)]
        candidates = "|".join(_plain(one, forbidden="\t|") for one in turn.candidates)
        yield "\t".join([*fields, "", candidates] if candidates else fields)


def _plain(text: str, *, forbidden: str = "\t") -> str:
    if not text.strip() or _CONTROL.search(text) or any(mark in text for mark in forbidden):
        raise ValueError(
            f"text of a dialogue: got {_short(text)}; expected words, no control character and none of {forbidden!r}"
        )
    return text
