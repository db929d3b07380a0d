"""The paper's linear figures: the descents of both variants, the predicted floors, the files."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loraml_theory import zoo
from loraml_theory.adapters import Parameters
from loraml_theory.closed_forms import fine_tune
from loraml_theory.harness.plotting import spread
from loraml_theory.moments import draw, from_samples, population
from loraml_theory.objectives import ProjectedLoRAML
from loraml_theory.solvers import newton
from loraml_theory.structure import GroundTruth
from sims.engines import get
from sims.engines.engine import Engine, Schedule
from sims.linear.figures import COLUMNS, as_csv, linear_figure
from sims.linear.runs import Curve, curves, standard_descent
from sims.linear.settings import VALUES, LinearCell, cells
from sims.rates import floors
from sims.rates.floors import left_over, predicted_error
from tests.paper_checks.conftest import Loraml, loraml  # noqa: F401

BRIEF = LinearCell(d=6, N=500, n=60, schedule=Schedule(outer_steps=40), steps=30)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return get("cpu")


@pytest.fixture(scope="module")
def over_tasks(engine: Engine) -> dict[tuple[str, int], Curve]:
    """The paper's figure over T, whole, at 1000 fine-tuning steps."""
    return {(curve.method, curve.value): curve for curve in curves("T", engine, base=LinearCell())}


def test_the_papers_settings() -> None:
    settings = cells("T")
    assert [(cell.d, cell.k, cell.N, cell.n, cell.sigma) for cell in settings.values()] == [(10, 1, 5000, 100, 0.1)] * 3
    assert [cell.rank for cell in settings.values()] == [3, 1, 1]
    assert [cell.rank for cell in cells("k").values()] == [1, 2, 3]
    with pytest.raises(ValueError, match="vary: got 'sigma', expected one of d, T, N, n, k"):
        cells("sigma")


def test_descent_starts_far_and_ends_at_the_closed_form(over_tasks: dict[tuple[str, int], Curve]) -> None:
    for (method, T), curve in over_tasks.items():
        assert curve.errors.shape == (5, 1001)
        assert (curve.steps[0], curve.steps[-1]) == (0, 1000)
        if (method, T) in (("LoRA-ML", 3), ("LoRA-ML", 5)):  # the others may take ten times as many steps
            np.testing.assert_allclose(curve.errors[:, -1], curve.optimum, rtol=0.02)
            assert np.all(curve.errors[:, 0] > 1000 * curve.errors[:, -1])
        elif method == "SR":
            np.testing.assert_allclose(curve.errors[:, -1], curve.optimum, rtol=0.2)


def test_floors_hold(over_tasks: dict[tuple[str, int], Curve]) -> None:
    """LoRA-ML's end over its floor is near a chi-square over its 19 degrees or more: outside once in 1000 seeds."""
    for (method, T), curve in over_tasks.items():
        ratio = curve.optimum / curve.floor
        if method == "SR" and T > 2:
            assert np.all((ratio > 0.9) & (ratio < 1.4))
            assert curve.floor.min() > 1
        else:
            assert np.all((ratio > 0.1) & (ratio < 3))
            assert curve.floor.max() < 0.01


def test_in_the_reference_variant_frozen_adapters_keep_sr_from_the_test_task_at_two(engine: Engine) -> None:
    found = {(c.method, c.value): c for c in curves("T", engine, variant="reference", base=LinearCell())}
    assert 0.05 < found["SR", 2].optimum.mean() < 1
    np.testing.assert_allclose(found["SR", 2].optimum.mean(), found["SR", 2].floor.mean(), rtol=0.3)
    assert found["LoRA-ML", 3].optimum.mean() < 0.005
    assert len({float(value) for value in found["LoRA-ML", 3].floor}) == 1  # one truth serves all runs


def test_frozen_adapters_are_descended_as_on_samples(engine: Engine) -> None:
    rng = np.random.default_rng(0)
    T, d, N, steps, size = 3, 4, 30, 25, 3e-2
    X, Y = rng.standard_normal((2, T, d, N))
    U = 0.1 * rng.standard_normal((T, d, 1))
    A, shifts = np.zeros((d, d)), U @ U.swapaxes(-1, -2)
    inputs, targets = np.concatenate(X, axis=1), np.concatenate(Y, axis=1)
    for _ in range(steps):
        A = A - size / (N * T) * sum(((A + shift) @ inputs - targets) @ inputs.T for shift in shifts)
    frozen = shifts.mean(axis=0)[None]
    moments = from_samples(X[None], Y[None])
    cell = LinearCell(d=d, T=T, schedule=Schedule(outer_steps=steps))
    np.testing.assert_allclose(standard_descent(engine, moments, frozen, cell, times=T)[0], A, rtol=1e-10)


@pytest.mark.parametrize(("d", "k", "T"), [(10, 1, 3), (12, 2, 3), (9, 3, 4), (12, 1, 2)])
def test_left_over_in_the_span_is_that_of_the_whole_space(d: int, k: int, T: int) -> None:
    truth = zoo.generic(np.random.default_rng(d), d, k, T)
    left, _, right = np.linalg.svd(truth.R[-1])
    whole = floors._trace([*truth.U_retraining, left[:, :k], right[:k].T])
    assert left_over(truth.R[-1], truth.U_retraining, k) == pytest.approx(whole, rel=1e-9)
    assert whole > (d - k) ** 2 / T - 1e-9
    assert left_over(truth.R[-1], T, k) == (d - k) ** 2 / T


def test_left_over_is_what_fine_tuning_leaves() -> None:
    """The mean of 400 trials of 15 to 16 degrees of freedom: relative standard error 0.018, six of them allowed."""
    rng = np.random.default_rng(1)
    truth, trials, N, sigma = zoo.orthogonal(rng, 5, 1, 3), 400, 10**6, 1e-2
    moments = draw(rng, truth.W_retraining, N, sigma=sigma, batch=(trials,))
    objective = ProjectedLoRAML(moments)
    start = Parameters(U=np.broadcast_to(truth.U_retraining, (trials, 3, 5, 1)))
    end = newton(objective, start, relative_tolerance=1e-10)
    assert bool(np.all(end.converged))
    tuned = fine_tune(population(truth.W_test), objective.base(end.parameters), 1)
    measured = np.mean(np.sum((tuned - truth.W_test) ** 2, axis=(-2, -1)))
    assert measured == pytest.approx(sigma**2 / N * left_over(truth.R[-1], truth.U_retraining, 1), rel=0.11)


def test_predicted_error_is_the_floor_where_no_shift_reaches_the_task() -> None:
    residual = np.diag([3.0, 2.0, 1.0])
    assert predicted_error(residual, 3, rank=1, N=10, n=100, sigma=0.1) == pytest.approx(5)
    truth = GroundTruth(np.zeros((5, 5)), np.ones((3, 5, 1)))
    expected = 0.01 * (5 / 94 + 4 / 98) + 0.01 / 1000 * 16 / 2
    assert predicted_error(truth.R[-1], 2, rank=1, N=1000, n=100, sigma=0.1) == pytest.approx(expected)


@pytest.mark.long
def test_files_say_what_they_hold_and_depend_on_the_seed_alone(engine: Engine, tmp_path: Path) -> None:
    paths = linear_figure("n", tmp_path, engine, variant="reference", base=BRIEF)
    assert [path.name for path in paths] == ["linear-n.png", "linear-n.csv", "linear-n-theory.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (paths[0], paths[2]))
    text = paths[1].read_text("utf-8")
    again, other = (as_csv(curves("n", engine, variant="reference", seed=seed, base=BRIEF)) for seed in (0, 1))
    assert text == again != other
    rows = list(csv.DictReader(text.splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 2 * len(VALUES["n"]) * (BRIEF.steps + 1)
    assert {(row["variant"], row["noise"], row["runs"]) for row in rows} == {("reference", "0.01", "5")}
    assert all(float(row["min"]) <= float(row["mean"]) <= float(row["max"]) for row in rows)


@pytest.mark.long
def test_long_descents_are_recorded_now_and_then(engine: Engine, tmp_path: Path) -> None:
    _, table, _ = linear_figure("T", tmp_path, engine, base=replace(BRIEF, steps=6000))
    rows = list(csv.DictReader(table.read_text("utf-8").splitlines()))
    assert len(rows) == 2 * 3 * 1001


def test_labels_are_moved_apart_and_no_further() -> None:
    assert spread([0.1, 0.5, 0.9], 0.1) == [0.1, 0.5, 0.9]
    places = spread([0.5, 0.5, 0.5, 0.52, 0.95], 0.1)
    assert np.all(np.diff(places) >= 0.1 - 1e-9)
    assert np.mean(places[:4]) == pytest.approx(0.505)


@pytest.mark.long
def test_command_draws_a_figure(loraml: Loraml, tmp_path: Path) -> None:  # noqa: F811
    ended = loraml("figure", "linear", "--vary", "n", "--out", "f", "--engine", "cpu")
    assert (ended.status, ended.err) == (0, "")
    assert "f/linear-n.png, f/linear-n.csv, f/linear-n-theory.png" in ended.out
    assert len(list((tmp_path / "f").iterdir())) == 3


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--vary", "x"], "--vary: got 'x', expected d, T, N, n, k or all"),
        (["--vary", "n", "--variant", "x"], "--variant: got 'x', expected paper or reference"),
        (["--vary", "n", "--engine", "x"], "--engine: got 'x', expected auto, cpu, torch or cupy"),
        (["--vary", "n", "--seed", "-1"], "--seed: got '-1', expected a whole number >= 0 of at most 18 digits"),
        ([], "Missing option '--vary'. Choose from: d, T, N, n, k, all; see `loraml figure linear --help`"),
    ],
)
def test_bad_input_is_one_line(loraml: Loraml, words: list[str], text: str) -> None:  # noqa: F811
    ended = loraml("figure", "linear", *words)
    assert (ended.status, ended.out, ended.err) == (2, "", f"loraml: error: {text}\n")
