"""Leave one task out, retrain on the others by both methods, fine-tune on it and compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loraml_theory.moments import Moments
from realdata.completion.ridge import METHODS, cross_validate
from realdata.completion.splits import (
    Splits,
    draw_splits,
    relative_difference,
    tuned_errors,
    untuned_errors,
)
from realdata.completion.tasks import Retrained, Task, joint_moments, retrain, without
from realdata.intervals import mean_with_interval

CHOICES = ("cross-validated", "zero")
Record = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How much is tried.

    Parameters
    ----------
    splits
        Random splits of every held-out task.
    ranks
        Adapter ranks k, the same in LoRA-ML's retraining and in the fine-tuning of both methods.
    samples
        Numbers n of samples to fine-tune on.
    ridges
        Candidates for lambda.
    validation_ranks, validation_splits, validation_reach
        Of the cross-validation, see `realdata.completion.ridge.cross_validate`.
    relative_tolerance
        Of the gradient of LoRA-ML with a ridge.
    stop_without_ridge
        Sweeps of block descent at lambda = 0.
    """

    splits: int
    ranks: tuple[int, ...] = (1, 2, 4)
    samples: tuple[int, ...] = (20, 60)
    ridges: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    validation_ranks: tuple[int, ...] = (1, 2, 4)
    validation_splits: int = 20
    validation_reach: int | None = None
    relative_tolerance: float = 1e-8
    stop_without_ridge: int = 50


def compare(tasks: Sequence[Task], settings: Settings, *, seed: int, progress: Callable[[str], None]) -> Record:
    """Hold out every task in turn and compare the methods on it.

    Parameters
    ----------
    tasks
        At least four.
    settings
        How much is tried.
    seed
        Root of the splits: those of a task depend on the seed and the task's place only.
    progress
        Told what is about to be done.

    Returns
    -------
    ``rows``, ``overall``, ``retraining`` and ``cross_validation``, records that JSON can hold.
    """
    moments = joint_moments(tasks)
    validation = cross_validate(
        tasks,
        settings.ridges,
        ranks=settings.validation_ranks,
        samples=settings.samples,
        splits=settings.validation_splits,
        reach=settings.validation_reach,
        seed=seed,
        progress=progress,
    )
    rows, retraining = [], []
    for c, task in enumerate(tasks):
        progress(f"held out {c + 1}/{len(tasks)}")
        rng = np.random.default_rng([seed, 0, c])
        splits = draw_splits(rng, task, settings.samples, count=settings.splits)
        for common, made in _retrained(without(moments, (c,)), settings, validation.chosen[c]):
            common = {"class": task.name, **common}
            retraining += [common | _ending(made, rank) for rank in settings.ranks]
            rows += [common | _row(part, made, rank) for rank in settings.ranks for part in splits.values()]
    chosen = [
        {"class": task.name, "ridge": validation.chosen[c]}
        | {f"errors_{method}": validation.errors[c, :, i].tolist() for i, method in enumerate(METHODS)}
        for c, task in enumerate(tasks)
    ]
    return {
        "rows": rows,
        "overall": _overall(rows),
        "retraining": retraining,
        "cross_validation": {
            "ridges": list(settings.ridges),
            "chosen": chosen,
            "statuses": validation.statuses,
        },
    }


def _retrained(moments: Moments, settings: Settings, chosen: float) -> Iterator[tuple[Record, Retrained]]:
    """Retrain with the chosen ridge and without one."""
    for choice, ridge in zip(CHOICES, (chosen, 0.0), strict=True):
        yield (
            {"ridge": ridge, "ridge_choice": choice},
            retrain(
                moments,
                settings.ranks,
                ridge=ridge,
                relative_tolerance=settings.relative_tolerance,
                stop_without_ridge=settings.stop_without_ridge,
            ),
        )


def _ending(made: Retrained, rank: int) -> Record:
    """Say how LoRA-ML's solver ended."""
    solution = made.lora_ml[rank]
    standard, lora_ml = np.linalg.norm(made.bases(rank), axis=(-2, -1))
    return {
        "k": rank,
        "status": made.status(rank),
        "iterations": solution.iterations,
        "gradient_norm": float(solution.gradient_norm),
        "tolerance": float(solution.tolerance),
        "objective": float(solution.value),
        "base_norm_sr": float(standard),
        "base_norm_lora_ml": float(lora_ml),
    }


def _row(splits: Splits, made: Retrained, rank: int) -> Record:
    """Compare the methods on one task at one rank and one n."""
    bases = np.concatenate([made.bases(rank), np.zeros_like(made.standard)[None]])
    sr, lora_ml, scratch = tuned_errors(splits, bases, rank, ridge=made.ridge)
    difference, low, high = relative_difference(sr, lora_ml)
    untuned = untuned_errors(splits, bases)
    return {
        "k": rank,
        "n": splits.n,
        "error_sr": float(np.mean(sr)),
        "error_lora_ml": float(np.mean(lora_ml)),
        "difference_percent": difference,
        "ci_low": low,
        "ci_high": high,
        "error_sr_untuned": float(np.mean(untuned[0])),
        "error_lora_ml_untuned": float(np.mean(untuned[1])),
        "error_scratch": float(np.mean(scratch)),
        "retraining_status": made.status(rank),
        "test_images": splits.test_samples,
        "splits": len(sr),
    }


def _overall(rows: Sequence[Record]) -> list[Record]:
    """Average the relative differences over the held-out tasks, which are the units of the interval."""
    groups: dict[tuple[str, int, int], list[Record]] = {}
    for row in rows:
        groups.setdefault((row["ridge_choice"], row["k"], row["n"]), []).append(row)
    found = []
    for (choice, k, n), group in groups.items():
        mean, low, high = mean_with_interval(np.asarray([row["difference_percent"] for row in group]))
        from_scratch = [100 * (row["error_scratch"] / row["error_sr"] - 1) for row in group]
        scratch = mean_with_interval(np.asarray(from_scratch))
        found.append(
            {
                "ridge_choice": choice,
                "k": k,
                "n": n,
                "difference_percent": mean,
                "ci_low": low,
                "ci_high": high,
                "classes": len(group),
                "classes_lower": sum(row["ci_high"] < 0 for row in group),
                "classes_higher": sum(row["ci_low"] > 0 for row in group),
                "scratch_percent": scratch.value,
                "scratch_ci_low": scratch.low,
                "scratch_ci_high": scratch.high,
                "not_converged": sum(row["retraining_status"] != "converged" for row in group),
            }
        )
    return found
