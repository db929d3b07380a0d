"""The digits as tasks, and the study's record."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from realdata.completion import digits
from realdata.completion.leave_one_out import Settings
from realdata.completion.tasks import joint_moments, without

TINY = Settings(
    splits=2,
    ranks=(1, 2),
    samples=(20, 60),
    ridges=(1.0, 10.0),
    validation_ranks=(1,),
    validation_splits=2,
    validation_reach=1,
    relative_tolerance=1e-6,
    stop_without_ridge=3,
)


def test_tasks_hold_every_image_once_and_halves_fit_together() -> None:
    tasks, data = digits.half_images(), load_digits()
    assert [task.name for task in tasks] == [str(digit) for digit in range(10)]
    assert sum(task.N for task in tasks) == len(data.images)
    for digit, task in enumerate(tasks):
        assert (task.X.shape, task.Y.shape) == ((33, task.N), (32, task.N))
        images = np.concatenate([half.T.reshape(-1, 8, 4) for half in (task.X[:32], task.Y)], axis=2)
        assert np.array_equal(16 * images, data.images[data.target == digit])
        assert np.all(task.X[32] == 1)
        assert task.X.min() >= 0
        assert task.X.max() <= 1


def test_moments_are_those_of_the_pixels() -> None:
    tasks = digits.half_images()
    moments = joint_moments(tasks)
    assert moments.n == tuple(float(task.N) for task in tasks)
    for t, task in enumerate(tasks):
        assert moments.S[t] == pytest.approx(task.X @ task.X.T / task.N, abs=1e-12)
        assert moments.C[t] == pytest.approx(task.Y @ task.X.T / task.N, abs=1e-10)
        assert moments.yy[t] == pytest.approx(np.sum(task.Y**2) / task.N)
        assert np.linalg.matrix_rank(moments.S[t]) < 33  # constant pixels: S is singular
    rest = without(moments, (3,))
    assert rest.n == moments.n[:3] + moments.n[4:]
    assert np.array_equal(rest.W, np.delete(moments.W, 3, axis=0))


@pytest.fixture
def few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = digits.half_images()[:4]
    monkeypatch.setattr(digits, "half_images", lambda: tasks)
    monkeypatch.setitem(digits.SETTINGS, "quick", TINY)


@pytest.mark.usefixtures("few_digits")
@pytest.mark.long
def test_the_record_is_json_and_says_what_was_done() -> None:
    told: list[str] = []
    found = digits.study("quick", 3, progress=told.append)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["name"], found["profile"], found["seed"]) == ("digits", "quick", 3)
    assert found["settings"]["samples"] == [20, 60]
    assert {row["ridge_choice"] for row in found["rows"]} == {"cross-validated", "zero"}
    assert all(row["ridge"] == 0 for row in found["rows"] if row["ridge_choice"] == "zero")
    assert told[-1] == "held out 4/4"
    assert len(found["summary"]) == 4
    assert "converged in 8 of 8 cases with the ridge and in 0 of 8 without" in found["summary"][-1]


@pytest.mark.usefixtures("few_digits")
@pytest.mark.long
def test_the_record_depends_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(digits.SETTINGS, "quick", replace(TINY, ranks=(1,), samples=(20,)))
    assert digits.study("quick", 1) == digits.study("quick", 1)


def test_an_unknown_profile_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"profile: got 'fast', expected one of quick, full"):
        digits.study("fast", 0)


def test_the_summary_takes_its_words_from_the_numbers() -> None:
    def row(name: str, difference: float, scratch: float) -> dict[str, object]:
        return {
            "class": name,
            "k": 1,
            "n": 20,
            "ridge_choice": "cross-validated",
            "difference_percent": difference,
            "ci_low": difference - 1,
            "ci_high": difference + 1,
            "error_sr": 1.0,
            "error_lora_ml": 1 + difference / 100,
            "error_scratch": scratch,
        }

    mean = {"ridge_choice": "cross-validated", "k": 1, "n": 20, "classes": 3, "scratch_percent": 4.0}
    mean |= {"difference_percent": 1.0, "ci_low": -2.0, "ci_high": 4.0}
    ends = [{"ridge_choice": choice, "status": "converged"} for choice in ("cross-validated", "zero")]
    rows = [row("0", -4, 0.5), row("1", 0.5, 1.2), row("2", 6.5, 1.3)]
    said = " ".join(digits.summary({"rows": rows, "overall": [mean], "retraining": ends}))
    assert "mean over 3 held-out classes [95 % interval over classes]: +1.0 [−2.0, +4.0] at k = 1, n = 20." in said
    assert "from −4.0 % (digit 0, k = 1, n = 20) to +6.5 % (digit 2, k = 1, n = 20)" in said
    assert "Of 3 comparisons 1 are lower and 1 higher" in said
    assert "the best of the three in 1 of 3" in said
    assert "from standard retraining by +4.0 to +4.0 % on average" in said
    assert said.endswith("in 1 of 1 without.")
