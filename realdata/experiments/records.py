"""The record of one fine-tuning run, and how a folder of records is written and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class RunKey(NamedTuple):
    """What tells a run from the others of its experiment.

    Parameters
    ----------
    method
        Of retraining: ``standard``, ``lora-ml``, ``last-layer-ml``, ``reptile``, ``fomaml``.
    seed
        Root of everything that was drawn.
    quirks
        Switches of the public reference code that were on, sorted; none in the paper's mode.
    finetune
        ``lora``, ``last-layer`` or ``full``.
    rank
        Of the adapters, in retraining and in fine-tuning.
    n
        Examples fine-tuned on, as the experiment counts them (vision: images per class); None for all.
    task
        Name of the task adapted to.
    """

    method: str
    seed: int
    quirks: tuple[str, ...]
    finetune: str
    rank: int
    n: int | None
    task: str


class Count(NamedTuple):
    """Gradient steps taken and examples seen in them, repetitions counted."""

    gradient_steps: int
    examples: int


@dataclass(frozen=True)
class Record:
    """The record of one fine-tuning run.

    Parameters
    ----------
    key
        Which run it is.
    retraining, fine_tuning
        What each of them spent.
    retraining_curve, curve
        Columns of equal length by epoch: ``epoch`` (0 is before the first step), ``train_loss`` and, after a part
        and an underscore, every score: ``validation_accuracy``, ``test_accuracy``. ``retraining_curve`` has the means
        over the retraining tasks, in its own model or models.
    before, last, best
        The test scores before fine-tuning, after the last epoch, and at the epoch that was selected.
    best_epoch
        The epoch selected, on held-out examples unless a quirk says otherwise.
    correct
        The first score of every test example after the last epoch, as a text of 0 and 1, in the order of the test set.
    provenance
        The command, versions, device, precision and seconds.
    """

    key: RunKey
    retraining: Count
    fine_tuning: Count
    retraining_curve: Mapping[str, list[float]]
    curve: Mapping[str, list[float]]
    before: Mapping[str, float]
    last: Mapping[str, float]
    best: Mapping[str, float]
    best_epoch: int
    correct: str
    provenance: Mapping[str, Any]
