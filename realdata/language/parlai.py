"""Reading and writing of dialogues in the ParlAI text format, such as ConvAI2; errors name the damaged line."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from loraml_theory.harness.errors import InputError, reason
from loraml_theory.harness.input_files import decoded
from loraml_theory.harness.packed_files import open_packed

OWN = "your persona: "
PARTNER = "partner's persona: "
SILENCE = "__SILENCE__"  # utterance where the bearer of the persona speaks first
_NUMBERED = re.compile(r"([0-9]{1,9}) (.*)", re.DOTALL)
_EXPECTED = "a file of dialogues"
_LONGEST = 1 << 20  # bytes of a line; the longest of ConvAI2, with twenty candidates, has a few thousand
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")  # all except the tab


@dataclass(frozen=True)
class Turn:
    """An utterance and the true reply.

    Parameters
    ----------
    utterance
        The partner's; empty where the bearer of the persona speaks first.
        reply
        By the bearer of the persona.
        candidates
        The candidates in the file, with the true reply; empty if the file has none.
    """

    utterance: str
    reply: str
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dialogue:
    """A dialogue and the persona of the one who replies in it.

    Parameters
    ----------
    number
        From 1 in file order, over all files.
    persona
        Sentences of the one who replies.
    turns
        At least one, in order.
    partner
        Sentences of the other one, where the file has them.
    file
        Index of the file, from 0.
    """

    number: int
    persona: tuple[str, ...]
    turns: tuple[Turn, ...]
    partner: tuple[str, ...] = ()
    file: int = 0


def read_dialogues(paths: Sequence[str | os.PathLike[str]]) -> tuple[Dialogue, ...]:
    """Read dialogues from files in the ParlAI text format, plain or gzipped, in UTF-8.

    A line is a number, a space and text. The number restarts at 1 with each dialogue and grows by one. The text is a
    sentence after ``your persona: `` or ``partner's persona: ``, or a turn: the utterance and the true reply with a
    tab between them, and where there are candidates an empty field and the candidates joined by ``|``.

    Raises
    ------
    InputError
        If a file is missing, a folder, empty, or damaged; the text has the line's number.
    """
    if isinstance(paths, (str, os.PathLike)) or not paths:
        raise TypeError(f"paths: got {paths!r}; expected one or more file names in a sequence")
    found: list[Dialogue] = []
    for file, path in enumerate(paths):
        before = len(found)
        found.extend(_dialogues(Path(path), first=before + 1, file=file))
        if len(found) == before:
            raise InputError(f"{path}: is empty; expected dialogues in the ParlAI text format")
    return tuple(found)


def content_digest(dialogues: Iterable[Dialogue]) -> str:
    """Return the SHA-256 of personas, utterances and replies, in order, without candidates."""
    digest = hashlib.sha256()
    for one in dialogues:
        turns = [[turn.utterance, turn.reply] for turn in one.turns]
        digest.update(json.dumps([one.persona, one.partner, turns]).encode() + b"\n")
    return digest.hexdigest()


@dataclass
class _Draft:
    """A partially read dialogue."""

    line: int
    persona: list[str]
    partner: list[str]
    turns: list[Turn]


def _dialogues(path: Path, *, first: int, file: int) -> Iterator[Dialogue]:
    """Yield the dialogues of one file, numbered from `first`."""
    draft: _Draft | None = None
    expected = 1
    for line, text in _texts(path):
        match = _NUMBERED.fullmatch(text)
        if match is None:
            _fail(path, line, f"got {_short(text)}; expected a number, a space and text")
        number = int(match[1])
        if number == 1:
            if draft is not None:
                yield _finished(path, draft, number=first, file=file)
                first += 1
            draft = _Draft(line, [], [], [])
        elif number != expected or draft is None:
            _fail(path, line, f"numbered {number}; expected {expected if draft is None else f'{expected}, or 1'}")
        _add(path, line, draft, match[2])
        expected = number + 1
    if draft is not None:
        yield _finished(path, draft, number=first, file=file)


def _finished(path: Path, draft: _Draft, *, number: int, file: int) -> Dialogue:
    if not draft.turns:
        _fail(path, draft.line, "the dialogue that begins here has no turns; expected at least one")
    return Dialogue(number, tuple(draft.persona), tuple(draft.turns), tuple(draft.partner), file)


def _add(path: Path, line: int, draft: _Draft, text: str) -> None:
    """Add a line to the dialogue."""
    for prefix, sentences in ((OWN, draft.persona), (PARTNER, draft.partner)):
        if text.startswith(prefix):
            if draft.turns:
                _fail(path, line, "a persona sentence after a turn; expected a turn or a line numbered 1")
            if not text[len(prefix) :].strip():
                _fail(path, line, "the persona sentence is empty")
            sentences.append(text[len(prefix) :].strip())
            return
    draft.turns.append(_turn(path, line, text))


def _turn(path: Path, line: int, text: str) -> Turn:
    """Return the turn in a line."""
    fields = [field.strip() for field in text.split("\t")]
    if len(fields) not in (2, 4):
        _fail(
            path,
            line,
            f"{len(fields) - 1} tabs in {_short(text)}; expected 1 (utterance, reply) or 3 (…, nothing, candidates)",
        )
    utterance, reply = fields[:2]
    for name, field in (("utterance", utterance), ("reply", reply)):
        if not field:
            _fail(path, line, f"the {name} is empty")
    candidates = tuple(one.strip() for one in fields[3].split("|") if one.strip()) if len(fields) == 4 else ()
    if len(fields) == 4 and reply not in candidates:
        _fail(path, line, f"the true reply {_short(reply)} is not among the {len(candidates)} candidates")
    return Turn("" if utterance == SILENCE else utterance, reply, candidates)


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, with their numbers from 1, without their ends."""
    line = 0
    try:
        with open_packed(path, expected=_EXPECTED) as stream:  # by content, since names of downloads vary
            while data := stream.readline(_LONGEST + 1):
                line += 1
                if len(data) > _LONGEST:
                    _fail(path, line, f"has more than {_LONGEST} bytes; expected the lines of dialogues")
                text = (decoded(path, data, expected=_EXPECTED) if line == 1 else data.decode()).rstrip("\r\n")
                control = _CONTROL.search(text)
                if control is not None:
                    _fail(path, line, f"has the control character {ord(control[0]):#04x}; expected text")
                if text.strip():
                    yield line, text
    except UnicodeDecodeError as error:
        _fail(path, line, f"byte {error.start + 1} is {error.object[error.start]:#04x}, which is not UTF-8")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: damaged gzip data after line {line}; expected a whole file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)})") from error


def _fail(path: Path, line: int, what: str) -> NoReturn:
    raise InputError(f"{path}, line {line}: {what}")


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")
