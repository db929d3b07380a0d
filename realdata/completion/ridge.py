"""The ridge that both methods share, chosen without a look at the task it is chosen for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from loraml_theory.structure import Array
from realdata.completion.splits import Splits, draw_splits, tuned_errors
from realdata.completion.tasks import Retrained, Task, joint_moments, retrain, without

METHODS = ("sr", "lora_ml")
TOLERANCE = 1e-4  # of LoRA-ML's gradient: test errors are then within about a percent of their limits


@dataclass(frozen=True, eq=False)
class Validation:
    """What the cross-validation found.

    Parameters
    ----------
    chosen
        The ridge for each held-out task, ``(tasks,)``: that of least error on the average over both methods.
    errors
        ``(tasks, ridges, 2)``: validation errors for each held-out task, standard retraining's first.
    statuses
        How often LoRA-ML's solver ended in each status.
    """

    chosen: tuple[float, ...]
    errors: Array
    statuses: dict[str, int]


def cross_validate(
    tasks: Sequence[Task],
    ridges: Sequence[float],
    *,
    ranks: Sequence[int],
    samples: Sequence[int],
    splits: int,
    reach: int | None,
    seed: int,
    progress: Callable[[str], None],
) -> Validation:
    """Choose a ridge for every held-out task from the other tasks alone.

    For the held-out task c and another task v both are left out of retraining, and v is fine-tuned and tested
    on as c will be: nothing of c enters what is chosen for c. One retraining serves both orders of a pair. An
    error is the mean over v, all ranks, all n and all splits, so that one ridge serves all of them.

    Parameters
    ----------
    tasks
        At least four.
    ridges
        Candidates for lambda, positive.
    ranks, samples, splits
        Ranks, numbers of samples to fine-tune on, and random splits of each task v.
    reach
        Use only tasks v at most so many places from c in a ring; None for all.
    seed
        Root of the splits.
    progress
        Told what is about to be done.
    """
    count, moments = len(tasks), joint_moments(tasks)
    parts = [
        draw_splits(np.random.default_rng([seed, 1, v]), task, samples, count=splits) for v, task in enumerate(tasks)
    ]
    found: list[list[Array]] = [[] for _ in tasks]
    statuses: Counter[str] = Counter()
    for a in range(count):
        progress(f"ridge {a + 1}/{count}")
        for b in range(a + 1, count):
            if reach is not None and min(b - a, count - b + a) > reach:
                continue
            rest = without(moments, (a, b))
            made = [
                retrain(rest, ranks, ridge=ridge, relative_tolerance=TOLERANCE, stop_without_ridge=0)
                for ridge in ridges
            ]
            statuses.update(each.status(rank) for each in made for rank in ranks)
            found[a].append(np.stack([_mean_errors(parts[b], each) for each in made]))
            found[b].append(np.stack([_mean_errors(parts[a], each) for each in made]))
    errors = np.stack([np.mean(of_task, axis=0) for of_task in found])
    best = np.argmin(np.mean(errors, axis=-1), axis=-1)
    return Validation(tuple(float(ridges[i]) for i in best), errors, dict(statuses))


def _mean_errors(parts: dict[int, Splits], made: Retrained) -> Array:
    """Return the mean test errors of both methods over all ranks, n and splits, ``(2,)``."""
    errors = [
        tuned_errors(part, made.bases(rank), rank, ridge=made.ridge) for part in parts.values() for rank in made.lora_ml
    ]
    return np.mean(errors, axis=(0, 2))
