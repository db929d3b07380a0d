"""The shallow-network experiments: draws, runs, kept results, tables, files and the command."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest

from loraml_theory.harness.errors import InputError
from sims.methods import COMPARED
from sims.seeding import stream
from sims.shallow.cpu_descent import CpuDescent
from sims.shallow.draws import FRESH, draw_run, draw_start, tuning_start
from sims.shallow.figures import shallow_figure
from sims.shallow.network import Network, values
from sims.shallow.results import FOLDER, Study, results
from sims.shallow.runs import RetrainedNetworks, Tuned, fine_tune, retrain
from sims.shallow.settings import SOLVERS, VALUES, VARIANTS, AdamW, ShallowCell, cells
from sims.shallow.tables import (
    CURVE_COLUMNS,
    RUN_COLUMNS,
    central,
    median_interval,
    over_axis,
    paired,
    read_runs,
    run_rows,
    runs_csv,
)
from tests.paper_checks.conftest import Loraml, loraml  # noqa: F401

BRIEF = ShallowCell(d=4, N=60, n=40, epochs=30, tuning_epochs=20)


class Counting(CpuDescent):
    """Counts its calls, and stops like Ctrl-C at one of them."""

    def __init__(self, *, stop_at: int = -1) -> None:
        super().__init__()
        self.calls, self.stop_at = 0, stop_at

    def descend(self, *arguments: Any, **options: Any) -> Network:
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        return super().descend(*arguments, **options)


def test_the_papers_settings() -> None:
    settings = cells("T")
    assert list(settings) == [2, 3, 5, 10]
    assert [cell.ranks for cell in settings.values()] == [(1, 3), (1,), (1,), (1,)]
    assert {(c.d, c.k, c.N, c.n, c.sigma, c.epochs, c.tuning_epochs) for c in settings.values()} == {
        (10, 1, 1000, 100, 0.1, 40_000, 15_000)
    }
    assert list(cells("d")) == [5, 10, 20]
    assert ShallowCell(d=2, T=2).ranks == (1, 2)
    assert AdamW() == AdamW(1e-3, 0.01, 0.9, 0.999, 1e-8)
    with pytest.raises(ValueError, match="vary: got 'sigma', expected one of d, T, N, n, k"):
        cells("sigma")


def test_a_run_is_what_the_model_says() -> None:
    run = draw_run(0, 1, replace(BRIEF, T=2, k=2, N=4000, sigma=0.5))
    assert run.truth.U.shape == (3, 4, 2)
    W = run.truth.A + run.truth.U @ run.truth.U.swapaxes(-1, -2)
    hidden = 1 / (1 + np.exp(-np.einsum("tij,tsj->tsi", W[:2], run.retraining.x)))
    noise = run.retraining.y - hidden @ run.truth.c
    assert abs(noise.mean()) < 6 * 0.5 / np.sqrt(8000)
    assert noise.std() == pytest.approx(0.5, rel=6 / np.sqrt(16_000))
    assert np.all(run.tuning.y != run.tuning_clean)
    np.testing.assert_array_equal(values(W[2], run.truth.c, run.tuning.x[0]), run.tuning_clean[0])
    assert run.fresh.x.shape == (FRESH, 4)
    bounds = [np.abs(part).max() * 2 for part in (run.start.A, run.start.c, run.start.V)]
    assert not np.any(run.start.U)
    assert all(0.5 < bound <= 1 for bound in bounds)
    assert np.abs(tuning_start(0, 1, d=4, rank=3)).max() <= 0.5


def test_what_runs_share_and_what_they_do_not() -> None:
    base = draw_run(0, 0, BRIEF)
    more, fewer = draw_run(0, 0, replace(BRIEF, T=5)), draw_run(0, 0, replace(BRIEF, n=10, N=20))
    for name in ("A", "c"):
        np.testing.assert_array_equal(getattr(base.truth, name), getattr(more.truth, name))
    np.testing.assert_array_equal(base.truth.U[[0, 1, 2, 3]], more.truth.U[[0, 1, 2, 5]])
    np.testing.assert_array_equal(base.retraining.x, more.retraining.x[:3])
    np.testing.assert_array_equal(base.start.V, more.start.V[:3])
    np.testing.assert_array_equal(base.truth.U, fewer.truth.U)
    np.testing.assert_array_equal(base.fresh.y, fewer.fresh.y)
    others = [draw_run(0, 1, BRIEF), draw_run(1, 0, BRIEF)]
    for name in ("A", "c", "U"):
        assert not any(np.any(getattr(base.truth, name) == getattr(other.truth, name)) for other in others)
    assert not np.any(base.retraining.x == others[0].retraining.x)


def test_runs_do_not_depend_on_how_many_there_are_nor_on_the_order_of_settings() -> None:
    three, five = (
        {(r.value, r.rank): r for r in results("T", Study(CpuDescent(threads=t), runs=n), base=BRIEF)}
        for n, t in ((3, 1), (5, 2))
    )
    assert set(three) == set(five) == {(2, 1), (2, 3), (3, 1), (5, 1), (10, 1)}
    for key, result in three.items():
        np.testing.assert_array_equal(result.tuned.fresh_error, five[key].tuned.fresh_error[:, :3])
        np.testing.assert_array_equal(result.retrained.loss, five[key].retrained.loss[:, :3])
    drawn = [draw_run(0, run, replace(BRIEF, T=5)) for run in range(3)]
    bases = retrain(drawn, CpuDescent(), epochs=BRIEF.epochs)
    np.testing.assert_array_equal(bases.loss, three[5, 1].retrained.loss)


def test_errors_are_against_the_true_function() -> None:
    """At the truth both are 0 but for what fine-tuning moves; at another network they are its squared distance."""
    drawn = [draw_run(0, run, BRIEF) for run in range(2)]
    bases = retrain(drawn, CpuDescent(), epochs=0)
    tested = np.stack([run.truth.W[-1] for run in drawn])
    exact = replace(bases, A=np.stack([tested, 0 * tested]), c=np.stack([np.stack([run.truth.c for run in drawn])] * 2))
    tuned = fine_tune(drawn, exact, CpuDescent(precision="float64"), rank=1, epochs=1, seed=0)
    assert np.all(tuned.fresh_error[0, :, 0] < 1e-24)
    assert np.all(tuned.in_sample_error[0, :, 0] < 1e-24)
    for run, one in enumerate(drawn):
        half = 0.5 * one.truth.c.sum()
        assert tuned.fresh_error[1, run, 0] == pytest.approx(np.mean((one.fresh.y - half) ** 2))
        assert tuned.in_sample_error[1, run, 0] == pytest.approx(np.mean((one.tuning_clean - half) ** 2))


def test_lora_ml_is_ahead_at_three_tasks() -> None:
    """Ten times longer steps, twenty times fewer; the paper's figure is in docs/shallow.md."""
    cell, steep = ShallowCell(d=5, epochs=2000, tuning_epochs=1500), AdamW(step_size=1e-2)
    drawn = [draw_run(0, run, cell) for run in range(4)]
    bases = retrain(drawn, CpuDescent(), epochs=cell.epochs, settings=steep)
    tuned = fine_tune(drawn, bases, CpuDescent(), rank=1, epochs=cell.tuning_epochs, seed=0, settings=steep)
    meta, standard = tuned.fresh_error[:, :, -1]
    assert np.all(standard > meta)
    assert np.median(standard / meta) > 1.5
    assert np.all(bases.loss[0] < bases.loss[1])
    assert np.all(bases.loss < 0.5 * bases.start_loss)


@pytest.mark.long
def test_the_second_order_solver_ends_lower_from_the_same_data() -> None:
    by = {name: results("k", Study(CpuDescent(), runs=2, solver=name), base=BRIEF)[0] for name in SOLVERS}
    adamw, second = (by[name].retrained for name in SOLVERS)
    np.testing.assert_array_equal(adamw.start_loss, second.start_loss)
    assert np.all(second.loss < adamw.loss)
    assert np.all(second.loss[0] < second.loss[1])
    starts = [draw_start(0, 1, BRIEF, number=number) for number in (0, 1, 2)]
    np.testing.assert_array_equal(starts[0].A, draw_run(0, 1, BRIEF).start.A)
    assert not np.any(starts[0].A == starts[1].A)
    assert not np.any(starts[1].V == starts[2].V)


@pytest.mark.long
def test_tables_can_be_computed_again_from_the_runs(tmp_path: Path) -> None:
    study = Study(CpuDescent(), runs=5)
    (picture, curves, runs), found = shallow_figure("n", tmp_path, study, base=replace(BRIEF, T=2))
    assert [path.name for path in (picture, curves, runs)] == ["shallow-n.png", "shallow-n.csv", "shallow-n-runs.csv"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    rows, lines = read_runs(runs), list(csv.DictReader(curves.read_text("utf-8").splitlines()))
    assert tuple(lines[0]) == CURVE_COLUMNS
    assert len(rows) == 5 * len(COMPARED) * len(VALUES["n"]) * 2
    assert rows == list(run_rows(found, study))
    ends = {(r["value"], r["rank"], r["method"]): r for r in lines if int(r["iteration"]) == 20}
    for (value, rank, method), line in ends.items():
        errors = np.sort(
            [r["fresh_error"] for r in rows if (str(r["value"]), str(r["rank"]), r["method"]) == (value, rank, method)]
        )
        np.testing.assert_allclose(
            [float(line[name]) for name in ("median", "low", "high")], [errors[2], errors[1], errors[3]], rtol=1e-5
        )
    for pair in paired(rows):
        meta = [
            r["fresh_error"] for r in rows if (r["value"], r["rank"], r["method"]) == (pair.value, pair.rank, "LoRA-ML")
        ]
        np.testing.assert_array_equal(pair.meta, meta)
        np.testing.assert_allclose(10**pair.differences, pair.standard / pair.meta)
    table = {(r["value"], r["rank"], r["method"], r["run"]): np.log10(r["fresh_error"]) for r in rows}
    settings = [(value, rank) for value in VALUES["n"] for rank in (1, 3)]
    means = [np.mean([table[*s, "SR", run] - table[*s, "LoRA-ML", run] for s in settings]) for run in range(4)]
    np.testing.assert_allclose(over_axis(paired(r for r in rows if r["run"] < 4 or r["value"] == 100)), means)
    assert not any(path.suffix == ".tmp" for path in tmp_path.rglob("*"))


@pytest.mark.long
def test_the_variants_plot_different_errors_of_the_same_runs(tmp_path: Path) -> None:
    study = Study(CpuDescent(), runs=3, folder=tmp_path)
    (_, curves, runs), found = shallow_figure("k", tmp_path, study, base=BRIEF, variant="reference")
    lines = list(csv.DictReader(curves.read_text("utf-8").splitlines()))
    assert {line["variant"] for line in lines} == {"reference"}
    np.testing.assert_allclose(
        float(lines[0]["median"]), np.sort(found[0].tuned.in_sample_error[0, :, 0])[1], rtol=1e-5
    )
    other = Counting()
    again, _ = shallow_figure("k", tmp_path, replace(study, descent=other), base=BRIEF, variant="paper")
    assert other.calls == 0
    assert read_runs(again[2]) == read_runs(runs)


def test_central_ranges_are_the_papers() -> None:
    errors = np.random.default_rng(0).permutation(10.0 + np.arange(10))[:, None]
    assert [float(x[0]) for x in central(errors, VARIANTS["reference"])] == [14, 13, 17]
    assert [float(x[0]) for x in central(errors, VARIANTS["paper"])] == [14.5, 13, 17]
    assert [float(x[0]) for x in central(errors[:1], VARIANTS["paper"])] == [float(errors[0, 0])] * 3


def test_intervals_cover_the_median_as_often_as_they_say() -> None:
    """2000 samples of ten: a standard error of 0.0033, six of them allowed."""
    rng, inside = stream(0, "coverage"), 0
    for sample in rng.exponential(size=(2000, 10)):
        found = median_interval(sample)
        inside += found.low <= np.log(2) <= found.high
    assert inside / 2000 == pytest.approx(found.confidence, abs=0.02)
    assert found.confidence == pytest.approx(1 - 2 * 11 / 1024)
    few = median_interval(np.array([3.0, 1.0]))
    assert (few.low, few.high, few.confidence) == (1, 3, 0.5)
    assert median_interval(np.array([3.0])) == (3, 3, 3, 0)


@pytest.mark.long
def test_an_interrupted_figure_goes_on_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    study = Study(Counting(stop_at=4), runs=2, folder=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        shallow_figure("T", tmp_path, study, base=BRIEF)
    assert sorted(path.name.split("-")[0] for path in (tmp_path / FOLDER).iterdir()) == ["retrained", "tuned", "tuned"]
    assert [path.name for path in tmp_path.iterdir()] == [FOLDER]
    resumed = Counting()
    _, found = shallow_figure("T", tmp_path, replace(study, descent=resumed), base=BRIEF)
    assert resumed.calls == 9 - 3
    whole = results("T", replace(study, descent=CpuDescent(), folder=None), base=BRIEF)
    for one, other in zip(found, whole, strict=True):
        np.testing.assert_array_equal(one.tuned.fresh_error, other.tuned.fresh_error)


@pytest.mark.parametrize(
    "change",
    [
        lambda study: replace(study, seed=1),
        lambda study: replace(study, runs=3),
        lambda study: replace(study, solver="second-order"),
        lambda study: replace(study, settings=AdamW(step_size=1e-2)),
        lambda study: replace(study, descent=CpuDescent(precision="float64")),
    ],
)
@pytest.mark.long
def test_kept_results_are_of_the_same_study(change: Callable[[Study], Study], tmp_path: Path) -> None:
    study = Study(CpuDescent(), runs=2, folder=tmp_path)
    first, other = (results("k", s, base=BRIEF)[0] for s in (study, change(study)))
    assert first.tuned.fresh_error.shape != other.tuned.fresh_error.shape or np.any(
        first.tuned.fresh_error != other.tuned.fresh_error
    )


@pytest.mark.parametrize("harm", [lambda part: part[:1], lambda part: part[..., :1], lambda part: part.astype(str)])
def test_kept_results_of_other_shapes_are_named(tmp_path: Path, harm: Callable[[np.ndarray], np.ndarray]) -> None:
    study = Study(CpuDescent(), runs=2, folder=tmp_path)
    results("k", study, base=BRIEF)
    path = next((tmp_path / FOLDER).glob("tuned*"))
    with np.load(path) as kept:
        parts = dict(kept)
    np.savez(path, **{**parts, "fresh_error": harm(parts["fresh_error"])})
    with pytest.raises(InputError, match="expected results of an earlier command; remove it to compute them again"):
        results("k", study, base=BRIEF)


@pytest.mark.parametrize("name", ["retrained", "tuned"])
def test_kept_results_that_declare_far_more_than_they_are_are_named(tmp_path: Path, name: str) -> None:
    """Arrays of 40000 by 40000 in some kilobytes, and a stream that does not unpack."""
    study = Study(CpuDescent(), runs=2, folder=tmp_path)
    results("k", study, base=BRIEF)
    path = next((tmp_path / FOLDER).glob(f"{name}*"))
    with np.load(path) as kept:
        parts = dict(kept)
    declared = BytesIO()
    np.lib.format.write_array_header_1_0(declared, {"descr": "<f8", "fortran_order": False, "shape": (40_000, 40_000)})
    with ZipFile(path, "w") as archive:
        for part in parts:
            archive.writestr(f"{part}.npy", declared.getvalue())
    with pytest.raises(InputError, match=r"damaged, got \d+ bytes and 12800000\d+ declared"):
        results("k", study, base=BRIEF)
    np.savez_compressed(path, **parts)
    content = bytearray(path.read_bytes())
    content[60:120] = bytes(60)
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        results("k", study, base=BRIEF)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    study = Study(CpuDescent(), runs=1, folder=tmp_path)
    found = results("k", study, base=BRIEF)
    for path in (tmp_path / FOLDER).iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="expected results of an earlier command; remove it to compute them again"):
        results("k", study, base=BRIEF)
    table = tmp_path / "runs.csv"
    text = runs_csv(run_rows(found, study))
    for broken, message in (
        ("a,b\n1,2\n", "expected the columns axis, value"),
        (text.replace("LoRA-ML", "other"), "is not a table of runs .method 'other'"),
        (text.replace(",1000,", ",x,").replace(",60,", ",x,"), "is not a table of runs"),
        (text[: text.index("\n") + 9] + "\n", "is not a table of runs"),
    ):
        table.write_text(broken)
        with pytest.raises(InputError, match=message):
            read_runs(table)
    table.write_text(text)
    assert tuple(read_runs(table)[0]) == RUN_COLUMNS


@pytest.mark.long
def test_command_draws_a_figure(loraml: Loraml, tmp_path: Path) -> None:  # noqa: F811
    words = ("figure", "shallow", "--vary", "T", "--out", "f", "--runs", "2", "--epochs", "3", "--tuning-epochs", "2")
    ended = loraml(*words)
    assert (ended.status, ended.err) == (0, "")
    assert "f/shallow-T.png, f/shallow-T.csv, f/shallow-T-runs.csv: " in ended.out
    assert "covers the latter with 50 %" in ended.out
    assert sorted(path.name for path in (tmp_path / "f").iterdir()) == [
        *("shallow-T-runs.csv", "shallow-T.csv", "shallow-T.png", "shallow-results"),
    ]
    assert len(ended.out.splitlines()) == 1 + 5 + 1 + 2 + 1


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--vary", "x"], "--vary: got 'x', expected d, T, N, n, k or all"),
        (["--vary", "n", "--variant", "x"], "--variant: got 'x', expected paper or reference"),
        (["--vary", "n", "--solver", "x"], "--solver: got 'x', expected adamw or second-order"),
        (["--vary", "n", "--engine", "x"], "--engine: got 'x', expected auto, cpu or torch"),
        (["--vary", "n", "--engine", "cpu", "--device", "cuda"], "engine cpu: runs on the device cpu, not on cuda"),
        (["--vary", "n", "--precision", "x"], "--precision: got 'x', expected float32 or float64"),
        (["--vary", "n", "--runs", "0"], "--runs: got '0', expected a whole number from 1 to 10000"),
        (["--vary", "n", "--epochs", "1.5"], "--epochs: got '1.5', expected a whole number from 1 to 1000000000"),
        (
            ["--vary", "n", "--tuning-epochs", "0"],
            "--tuning-epochs: got '0', expected a whole number from 1 to 1000000000",
        ),
        (["--vary", "n", "--seed", "-1"], "--seed: got '-1', expected a whole number >= 0 of at most 18 digits"),
        ([], "Missing option '--vary'. Choose from: d, T, N, n, k, all; see `loraml figure shallow --help`"),
    ],
)
def test_bad_input_is_one_line(loraml: Loraml, words: list[str], text: str) -> None:  # noqa: F811
    ended = loraml("figure", "shallow", *words)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"loraml: error: {text}")
    assert ended.err.count("\n") == 1


def test_results_that_were_kept_before_are_found() -> None:
    assert (RetrainedNetworks.file, Tuned.file) == ("retrained", "tuned")
