"""The tasks as a table: the task, the role and the part of every dialogue."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from io import StringIO

from loraml_theory.harness.atomic import write_whole
from realdata.language.splits import Assignment

COLUMNS = ("task", "dialogue", "turns", "role", "part")


def write_tasks(path: str | os.PathLike[str], uses: Sequence[Assignment]) -> None:
    """Write one line for each dialogue, by task, atomically, in UTF-8 with a header.

    The columns are the task (of the persona), the dialogue (numbered from 1 in file order), its turns, the role of the
    task (``retraining``, ``test`` or ``unused``) and the dialogue's part of the task (``train``, ``validation`` or
    ``test``; empty if the task is unused).
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for use in sorted(uses, key=lambda use: (use.task, use.dialogue.number)):
        writer.writerow([use.task, use.dialogue.number, len(use.dialogue.turns), use.role, use.part or ""])
    write_whole(path, text.getvalue())
