"""Texts with labels: which fields of a row they are, and the labels of a task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from loraml_theory.harness.errors import InputError
from realdata.text.files import Rows

TEXTS = (("text",), ("sentence",), ("content",), ("sentence1", "sentence2"), ("premise", "hypothesis"))
"""Fields that are the text, or the two texts, where none is named: the first of these that are there."""
LABELS = ("label", "labels", "class")


class Fields(NamedTuple):
    """The fields of the text or of two texts, and of the label; empty and None for those that are usual."""

    text: tuple[str, ...] = ()
    label: str | None = None

    def of(self, rows: Rows) -> tuple[tuple[str, ...], str]:
        """Return the fields of some rows.

        Raises
        ------
        InputError
            If a field is not there, or none that is usual, with those that are; or one is both the text and the label.
        """
        there = list(rows.data.column_names)
        texts = [self.text] if self.text else [names for names in TEXTS if set(names) <= set(there)]
        labels = [self.label] if self.label else [name for name in LABELS if name in there]
        wanted = (
            ("text", texts and ",".join(texts[0]), [name for name in (texts or [()])[0] if name not in there]),
            ("label", labels and labels[0], [name for name in labels[:1] if name not in there]),
        )
        for option, got, missing in wanted:
            if missing or not got:
                said = f"got {got}" if got else "is needed"
                raise InputError(f"--{option}: {said}, expected a field of {rows.where}: {', '.join(there)}")
        if labels[0] in texts[0]:
            raise InputError(f"--label: got {labels[0]}, which is the text of {rows.where}, expected another field")
        return texts[0], labels[0]


class Labelled(NamedTuple):
    """One text, or two, with its label, and where it is from, for errors."""

    texts: tuple[str, ...]
    label: str | int
    where: str


def labelled(rows: Rows, fields: Fields) -> list[Labelled]:
    """Return the texts and labels of rows.

    Raises
    ------
    InputError
        If a field is not there, a text is empty or not a text, or a label is neither a text nor a whole number.
    """
    texts, label = fields.of(rows)
    columns = [rows.data[name] for name in texts]
    names = getattr(rows.data.features[label], "names", None)
    found = []
    for number, (value, *written) in enumerate(zip(rows.data[label], *columns, strict=True), start=1):
        where = f"{rows.where}, row {number}"
        for field, text in zip(texts, written, strict=True):
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"{where}: its {field} is {text!r}, expected a text that is not empty")
        found.append(Labelled(tuple(written), _label(value, names, field=label, where=where), where))
    if not found:
        raise InputError(f"{rows.where}: has no rows, expected texts with labels")
    return found


def labels_of(name: str, trained: Iterable[Labelled], others: Iterable[Labelled]) -> tuple[str | int, ...]:
    """Return the labels of a task in order: those that it can be trained on.

    Parameters
    ----------
    name
        Of the task, with the option that named it.
    trained
        The rows whose labels are the task's.
    others
        Rows that must have no other labels.

    Raises
    ------
    InputError
        If there are fewer than two labels, or as many as rows, or another row has one beside them.
    """
    given = [row.label for row in trained]
    labels = tuple(sorted(set(given), key=lambda label: (isinstance(label, str), label)))
    if len(labels) == len(given) > 2:
        raise InputError(f"{name}: each of its {len(given)} rows has another label, expected labels of many rows")
    if len(labels) < 2:
        raise InputError(f"{name}: its rows have the label {labels[0]!r} only, expected two labels or more")
    for row in others:
        if row.label not in labels:
            some = ", ".join(map(repr, labels[:20]))
            raise InputError(f"{row.where}: has the label {row.label!r}, expected one of those trained on: {some}")
    return labels


def _label(value: Any, names: Sequence[str] | None, *, field: str, where: str) -> str | int:
    if isinstance(value, str) and value.strip():
        return value
    if not isinstance(value, int):
        raise InputError(f"{where}: its {field} is {value!r}, expected a text or a whole number")
    return value if names is None else _named(value, names, field=field, where=where)


def _named(value: int, names: Sequence[str], *, field: str, where: str) -> str:
    """Return the name of a label that a saved folder keeps as a number; −1 there means that there is none."""
    if not 0 <= value < len(names):
        raise InputError(f"{where}: its {field} is {value}, expected one of 0 to {len(names) - 1}")
    return names[value]


def counted(rows: Iterable[Labelled]) -> Mapping[str, int]:
    """Return how many rows each label has, by its text.

    Examples
    --------
    >>> counted([Labelled(("fine",), 1, ""), Labelled(("good",), 1, ""), Labelled(("bad",), 0, "")])
    {'0': 1, '1': 2}
    """
    found: dict[str, int] = {}
    for row in rows:
        found[str(row.label)] = found.get(str(row.label), 0) + 1
    return dict(sorted(found.items()))
