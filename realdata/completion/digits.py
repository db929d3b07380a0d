"""Half-digit completion: from the left half of a handwritten digit to the right, ten classes as ten tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import distribution
from typing import Any

import numpy as np

from realdata.completion.leave_one_out import CHOICES, Settings, compare
from realdata.completion.tasks import Task

NAME = "digits"
FILE = "sklearn/datasets/data/digits.csv.gz"
WHAT = (
    "Half-digit completion on scikit-learn's 1797 handwritten digits of 8 by 8 pixels: from the left half of "
    "an image and a constant to its right half, ten classes as ten tasks. Each class in turn is held out: "
    "both methods retrain on the other nine, fine-tune with rank k on n images of the held-out class, and "
    "are tested on its other images."
)
EXPLANATIONS = {
    "pixels": "0 to 16, divided by 16",
    "error": "mean over test images of the squared error, summed over the 32 pixels of the right half",
    "difference": "LoRA-ML's mean error over standard retraining's at the same rank and ridge, minus 1, in %",
    "ridge": "lambda beside losses summed over images, for every task on the base and on its shift; one for both "
    "methods, retraining and fine-tuning, all k and all n; chosen for each held-out class on the other nine alone",
    "interval_class": "95 %, over the choice of the images to fine-tune on, given these images and the bases",
    "interval_overall": "95 %, over the ten classes as a sample of classes; the retrainings of any two of "
    "them share eight of nine classes",
}
SETTINGS = {
    "quick": Settings(
        splits=20,
        ridges=(0.3, 1.0, 3.0, 10.0),
        validation_ranks=(2,),
        validation_splits=5,
        validation_reach=1,
        relative_tolerance=1e-5,
    ),
    "full": Settings(splits=100),
}


def study(profile: str, seed: int, *, progress: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Compare LoRA-ML with standard retraining on every held-out digit.

    Parameters
    ----------
    profile
        'quick' (20 splits; the ridge is validated on two classes, at rank 2, for each held-out class) or
        'full' (100 splits; on all nine, at all ranks).
    seed
        Root of the random splits, at least 0.
    progress
        Told what is about to be done.

    Returns
    -------
    Records that JSON can hold: ``rows`` per class, rank, n and ridge; ``overall``; how each ``retraining``
    ended; the ``cross_validation``; and a ``summary`` in sentences. A finding about this data, not a theorem.

    Raises
    ------
    ValueError
        If the profile is unknown.
    """
    if profile not in SETTINGS:
        raise ValueError(f"profile: got {profile!r}, expected one of {', '.join(SETTINGS)}")
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    settings = SETTINGS[profile]
    with threadpool_limits(limits=1):  # matrices of 33 rows: threads only wait for each other
        found = compare(half_images(), settings, seed=seed, progress=progress or (lambda _: None))
    shown = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()}
    return {
        "name": NAME,
        "what": WHAT,
        "profile": profile,
        "seed": seed,
        "settings": shown | EXPLANATIONS,
        **found,
        "summary": summary(found),
    }


def half_images() -> list[Task]:
    """Return the ten classes: X the left halves and a constant, ``(33, N)``, Y the right halves, ``(32, N)``.

    Pixels run over the rows of their half and are divided by 16: they lie in 0..1 like the constant.
    """
    # the file that load_digits reads: to import scikit-learn takes thirty times as long
    rows = np.loadtxt(str(distribution("scikit-learn").locate_file(FILE)), delimiter=",")
    tasks = []
    for digit in range(10):
        images = rows[rows[:, 64] == digit, :64].reshape(-1, 8, 8) / 16
        left, right = (half.reshape(len(images), 32).T for half in (images[:, :, :4], images[:, :, 4:]))
        X = np.concatenate([left, np.ones((1, len(images)))])
        tasks.append(Task(str(digit), X, np.ascontiguousarray(right)))
    return tasks


def summary(found: dict[str, Any]) -> list[str]:
    """Say in sentences what was found, with the numbers."""
    rows = [row for row in found["rows"] if row["ridge_choice"] == CHOICES[0]]
    overall = [record for record in found["overall"] if record["ridge_choice"] == CHOICES[0]]
    least, most = (pick(rows, key=lambda row: row["difference_percent"]) for pick in (min, max))
    lower, higher = sum(row["ci_high"] < 0 for row in rows), sum(row["ci_low"] > 0 for row in rows)
    best = sum(row["error_scratch"] < min(row["error_sr"], row["error_lora_ml"]) for row in rows)
    means = "; ".join(f"{_estimate(record)} at {_where(record)}" for record in overall)
    scratch = [record["scratch_percent"] for record in overall]
    return [
        "LoRA-ML's test error relative to standard retraining's, in percent, mean over "
        f"{overall[0]['classes']} held-out classes [95 % interval over classes]: {means}.",
        f"By class it goes from {_percent(least['difference_percent'])} % (digit {least['class']}, {_where(least)}) to "
        f"{_percent(most['difference_percent'])} % (digit {most['class']}, {_where(most)}). Of {len(rows)} comparisons "
        f"{lower} are lower and {higher} higher, with an interval over splits that leaves out 0.",
        "A fit from scratch, without any retraining, differs from standard retraining by "
        f"{_percent(min(scratch))} to {_percent(max(scratch))} % on average, and is the best of the three in {best} of "
        f"{len(rows)} comparisons.",
        _convergence(found["retraining"]),
    ]


def _convergence(retraining: Sequence[dict[str, Any]]) -> str:
    """Count how LoRA-ML's retraining ended, with and without the ridge."""
    penalised, free = (
        [entry["status"] == "converged" for entry in retraining if entry["ridge_choice"] == choice]
        for choice in CHOICES
    )
    sentence = f"LoRA-ML's retraining converged in {sum(penalised)} of {len(penalised)} cases with the ridge "
    sentence += f"and in {sum(free)} of {len(free)} without"
    if all(free):
        return f"{sentence}."
    return f"{sentence}, where it need not have a minimiser: errors there depend on where the descent stopped."


def _estimate(record: dict[str, Any]) -> str:
    low, high = _percent(record["ci_low"]), _percent(record["ci_high"])
    return f"{_percent(record['difference_percent'])} [{low}, {high}]"


def _where(record: dict[str, Any]) -> str:
    return f"k = {record['k']}, n = {record['n']}"


def _percent(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")
