"""The scores of a record: average accuracy, forgetting and transfers of its matrix."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from loraml_theory.continual import scores
from realdata.continual.records import NO_ROWS_BETWEEN, ChainRecord

MEASURES = {
    "micro": "average accuracy over all test rows",
    "forgetting": "forgetting, mean over earlier tasks",
    "backward": "backward transfer",
    "forward": "forward transfer",
}
"""What a matrix says beside the average accuracy over tasks."""


def matrix(record: ChainRecord, score: str) -> NDArray[np.float64]:
    """Return ``(T + 1, T)``: the score of every task before any training and after each; NaN where there is no row."""
    count = len(record.tasks)
    found = np.full((count + 1, count), np.nan)
    for at, row in record.rows.items():
        found[at] = row[score]
    return found


def final(record: ChainRecord, score: str) -> NDArray[np.float64]:
    """Return the matrix with what a user is left with in its last row.

    That is the row itself for one model; for ``per-task`` every task's own adapter on it, which is the diagonal; and
    for ``no-training`` the plain model.
    """
    found = matrix(record, score)
    if record.key.method == "per-task":
        found[-1] = np.diagonal(found[1:])
    elif record.key.method == "no-training":
        found[-1] = found[0]
    return found


def average_accuracy(record: ChainRecord, score: str) -> float:
    """Return the mean over tasks at the end."""
    return float(scores.average_accuracy(final(record, score)))


def measured(record: ChainRecord, score: str, measure: str) -> float | None:
    """Return one of `MEASURES`; None where a method has no rows for it, or an adapter for each task."""
    if measure == "micro":
        return float(scores.average_accuracy(final(record, score), sizes=record.sizes))
    if record.key.method in (*NO_ROWS_BETWEEN, "per-task"):
        return None
    a = matrix(record, score)
    if measure == "forgetting":
        return float(np.mean(scores.forgetting(a)))
    return float({"backward": scores.backward_transfer, "forward": scores.forward_transfer}[measure](a))
