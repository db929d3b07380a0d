"""Rates of sweeps: the theory agrees, mutants of it differ, too little data decide nothing; files and command."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest

from loraml_theory.rates import degrees_of_freedom, parameter_error
from sims.rates import tables
from sims.rates.fits import Criteria, Rate, default_spec, fit_rates, write_slopes
from sims.rates.plots import write_pictures
from sims.rates.tables import Columns, axis_tables
from sims.sweep.running import run
from sims.sweep.spec import Spec, parse
from sims.sweep.store import read_rows
from tests.paper_checks.conftest import Loraml, loraml  # noqa: F401

pytestmark = pytest.mark.long

Predict = Callable[[Columns, int], np.ndarray]

SPEC = """
method = ["sr", "lora-ml-spectral"]
d = [10, 24]
k = [1, 3]
T = [3, 6]
N = "inf"
n = [60, 480]
sigma = 1e-5
seeds = 200
"""
CRITERIA = Criteria(margin=0.05, resamples=1000)
AGREE = {(method, axis) for method in ("sr", "lora-ml-spectral") for axis in "ndkT"}


def swept(folder: Path, text: str | Spec) -> Columns:
    run(parse(text) if isinstance(text, str) else text, folder, engine="cpu")
    return read_rows(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def columns(folder: Path) -> Columns:
    return swept(folder, SPEC)


@pytest.fixture(scope="module")
def rates(columns: Columns) -> list[Rate]:
    return fit_rates(columns, criteria=CRITERIA)


def of_rows(formula: Callable[..., float]) -> Predict:
    """Return a prediction from ``(method, rank, d, k, T, n, sigma)`` of every row."""

    def predict(columns: Columns, _root: int) -> np.ndarray:
        names = ("method", "rank", "d", "k", "T", "n", "sigma")
        return np.array([formula(*row) for row in zip(*(columns[name].tolist() for name in names), strict=True)])

    return predict


def differing(columns: Columns, formula: Callable[..., float]) -> set[tuple[str, str]]:
    """Return method and axis of the slopes that a mutated prediction differs in."""
    found = fit_rates(columns, criteria=CRITERIA, predict=of_rows(formula))
    return {(rate.data.group["method"], rate.data.axis) for rate in found if rate.verdict == "differs"}


def test_theory_agrees_in_slope_and_level(rates: list[Rate]) -> None:
    """False "differs" once in 20 of seeds at the most, and not at this one; power is above 0.6 throughout."""
    verdicts = {(rate.data.group["method"], rate.data.axis): rate for rate in rates}
    assert set(verdicts) == AGREE
    assert {rate.verdict for rate in rates} == {rate.level_verdict for rate in rates} == {"agrees"}
    assert min(rate.powers[0] for rate in rates) > 0.6
    assert verdicts["lora-ml-spectral", "T"].slope.value == pytest.approx(0, abs=1e-6)
    assert verdicts["sr", "T"].slope.value > 0.3


def test_finite_n_form_written_down_again_agrees(columns: Columns) -> None:
    def formula(_m: str, rank: int, d: int, _k: int, _T: int, n: float, sigma: float) -> float:
        return parameter_error(rank, d, n, sigma=sigma)

    assert differing(columns, formula) == set()


def test_mutant_t_for_t_plus_1_differs(columns: Columns) -> None:
    def formula(method: str, rank: int, d: int, k: int, T: int, n: float, sigma: float) -> float:
        return parameter_error(min(d, k * T) if method == "sr" else rank, d, n, sigma=sigma)

    assert ("sr", "T") in differing(columns, formula)


def test_mutant_error_of_lora_ml_growing_with_t_differs(columns: Columns) -> None:
    def formula(_m: str, _rank: int, d: int, k: int, T: int, n: float, sigma: float) -> float:
        return parameter_error(min(d, k * (T + 1)), d, n, sigma=sigma)

    assert {axis for method, axis in differing(columns, formula) if method == "lora-ml-spectral"} == {"T", "d", "k"}
    assert ("sr", "T") not in differing(columns, formula)


def test_mutant_asymptotic_exponent_differs(columns: Columns) -> None:
    """``sigma^2 r (2d - r) / n`` in place of the finite-n form: n to the power -1, and d's curve flatter."""

    def formula(_m: str, rank: int, d: int, _k: int, _T: int, n: float, sigma: float) -> float:
        return sigma**2 * degrees_of_freedom(rank, d) / n

    assert {("sr", "n"), ("lora-ml-spectral", "n"), ("sr", "d")} <= differing(columns, formula)


def test_mutant_linear_in_t_plus_1_differs(columns: Columns) -> None:
    def formula(method: str, rank: int, d: int, k: int, T: int, n: float, sigma: float) -> float:
        linear = sigma**2 * 2 * d * k * (T + 1) / n
        return linear if method == "sr" else parameter_error(rank, d, n, sigma=sigma)

    assert {("sr", "T"), ("sr", "k")} <= differing(columns, formula)


def test_mutant_constant_differs_in_level_alone(columns: Columns) -> None:
    def formula(_m: str, rank: int, d: int, _k: int, _T: int, n: float, sigma: float) -> float:
        return parameter_error(rank, d, n, sigma=sigma) / 2

    found = fit_rates(columns, criteria=CRITERIA, predict=of_rows(formula))
    assert {rate.verdict for rate in found} == {"agrees"}
    assert {rate.level_verdict for rate in found} == {"differs"}
    assert {round(rate.row()["level"], 1) for rate in found} == {2.0}


def test_few_truths_decide_nothing(columns: Columns) -> None:
    few = {name: values[columns["seed"] < 12] for name, values in columns.items()}
    found = fit_rates(few, criteria=CRITERIA)
    assert "undecided" in {rate.verdict for rate in found}
    assert all(rate.powers[0] < 0.95 for rate in found if rate.verdict == "undecided")
    fewer = {name: values[columns["seed"] < 7] for name, values in columns.items()}
    assert {rate.verdict for rate in fit_rates(fewer, criteria=CRITERIA)} == {"undecided"}


@pytest.mark.parametrize("truths", [1, 2, 3])
def test_one_two_or_three_truths_have_an_interval_to_infinity(columns: Columns, truths: int, tmp_path: Path) -> None:
    """Most resamples of so few have no spread; the limits of the level were once too large for exp."""
    few = {name: values[columns["seed"] < truths] for name, values in columns.items()}
    found = fit_rates(few, criteria=CRITERIA)
    assert {(rate.verdict, rate.level_verdict) for rate in found} == {("undecided", "undecided")}
    assert any(rate.interval == (-inf, inf) for rate in found)
    write_slopes(tmp_path / "slopes.json", found)
    rows = json.loads((tmp_path / "slopes.json").read_text("utf-8"), parse_constant=pytest.fail)
    for row in rows:
        assert row["ci_low"] is None or row["ci_low"] <= row["slope"]
        assert 0 <= row["level_low"] <= row["level"]
    assert any(row["level_high"] is None for row in rows)


def test_the_command_shows_an_interval_to_infinity(loraml: Loraml, tmp_path: Path) -> None:  # noqa: F811
    swept(tmp_path / "s", 'method = "sr"\nn = [20, 40, 80]\nseeds = 2')
    ended = loraml("rates", "s", "--out", "r")
    assert (ended.status, ended.err) == (0, "")
    assert "[-∞, ∞]" in ended.out
    assert "? undecided" in ended.out
    assert (tmp_path / "r/rates-n.png").read_bytes().startswith(b"\x89PNG")


def test_rows_that_did_not_converge_leave_a_verdict_open(columns: Columns) -> None:
    status = columns["status"].copy()
    status[::50] = "max_iterations"
    found = fit_rates({**columns, "status": status}, criteria=CRITERIA)
    assert {rate.verdict for rate in found} == {"undecided"}
    assert all(rate.row()["unconverged"] == pytest.approx(0.02 * rate.row()["rows"], rel=0.2) for rate in found)


def test_heavy_tails_are_left_to_the_in_sample_error(tmp_path: Path) -> None:
    """At n <= d + 3 the parameter error has no variance; the in-sample one is FT-2's from n = d on."""
    rows = swept(tmp_path, 'method = "lora-ml-exact"\nN = "inf"\nn = [10, 20, 40]\nsigma = 1e-5\nseeds = 150')
    (parameter,) = axis_tables(rows, root=0)
    assert parameter.table.axis.tolist() == [20, 40]
    (rate,) = fit_rates(rows, statistic="in-sample", criteria=Criteria(margin=0.1))
    assert rate.data.table.axis.tolist() == [10, 20, 40]
    assert rate.slope.predicted == pytest.approx(-1)
    assert rate.verdict == "agrees"


def test_finite_samples_of_retraining_are_predicted(tmp_path: Path) -> None:
    """ML-9: the base's error, and what fine-tuning on unlimited samples leaves of it."""
    rows = swept(
        tmp_path,
        'method = ["sr", "lora-ml-newton"]\nstart = "truth"\nd = 6\nN = [1000, 4000, 16000]\nn = "inf"\nsigma = 0.003'
        "\nseeds = 120",
    )
    wide = Criteria(margin=0.1, level_margin=0.15)
    (base,) = fit_rates(rows, statistic="base", criteria=wide)
    assert (base.data.group["method"], base.data.axis, base.verdict) == ("lora-ml-newton", "N", "agrees")
    left = fit_rates(rows, criteria=wide)
    assert [(rate.data.group["method"], rate.verdict, rate.level_verdict) for rate in left] == [
        ("sr", "agrees", "agrees"),
        ("lora-ml-newton", "agrees", "agrees"),
    ]


def test_slopes_json_keeps_its_contract(rates: list[Rate], tmp_path: Path) -> None:
    write_slopes(tmp_path / "slopes.json", rates)
    rows = json.loads((tmp_path / "slopes.json").read_text("utf-8"))
    assert len(rows) == len(AGREE)
    contract = ["method", "axis", "slope", "ci_low", "ci_high", "predicted", "margin", "verdict"]
    for row in rows:
        assert list(row)[:8] == contract
        assert row["ci_low"] <= row["slope"] <= row["ci_high"]
        assert row["verdict"] in ("agrees", "differs", "undecided")
        assert row["margin"] == 0.05


def test_resampling_depends_on_its_seed_alone(columns: Columns, rates: list[Rate]) -> None:
    first, again, other = (
        [rate.row() for rate in found]
        for found in (
            rates,
            fit_rates(columns, criteria=CRITERIA),
            fit_rates(columns, criteria=replace(CRITERIA, seed=1)),
        )
    )
    assert first == again != other


def test_pictures_are_drawn_for_every_axis(rates: list[Rate], tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, rates[:1] + rates[-1:])
    assert [path.name for path in paths] == ["rates-n.png", "rates-T.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_the_default_spec_varies_what_the_claims_speak_of() -> None:
    spec = default_spec()
    assert all(len(values) > 2 for values in (spec.n, spec.d, spec.k, spec.T))
    assert {"sr", "lora-ml-exact", "lora-ml-spectral"} == set(spec.method)
    assert min(spec.n) > 3 * max(spec.d)


@pytest.mark.slow
def test_default_rates_agree(loraml: Loraml, tmp_path: Path) -> None:  # noqa: F811
    ended = loraml("rates", "--default", "--out", "r", "--engine", "cpu")
    assert (ended.status, ended.err) == (0, "")
    rows = json.loads((tmp_path / "r/slopes.json").read_text("utf-8"))
    assert {row["verdict"] for row in rows} == {row["level_verdict"] for row in rows} == {"agrees"}
    assert len(rows) == 12


def test_command_prints_a_table_and_fails_where_slopes_differ(
    loraml: Loraml,  # noqa: F811
    folder: Path,
    columns: Columns,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert len(columns["d"]) > 0
    monkeypatch.setattr("sims.rates.plots.write_pictures", lambda *_, **__: [])
    ended = loraml("rates", folder, "--out", "r", "--margin", "0.05")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.count("✓ agrees") == 8
    assert "r/slopes.json: 8 slopes" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80
    half = of_rows(lambda _m, rank, d, _k, _T, n, sigma: parameter_error(rank, d, n, sigma=sigma) / 2)
    monkeypatch.setitem(tables.PREDICTIONS, "parameter", half)
    assert loraml("rates", folder, "--out", "r").status == 1


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "DIR: is missing, expected the folder of a sweep, or --default"),
        (["none"], "none: does not hold a sweep (no spec.json)"),
        (["none", "--margin", "0"], "--margin: got '0', expected a number above 0, at most 10"),
        (["none", "--alpha", "nan"], "--alpha: got 'nan', expected a number above 0, at most 0.5"),
        (["none", "--statistic", "x"], "--statistic: got 'x', expected parameter, in-sample or base"),
    ],
)
def test_bad_input_is_one_line(loraml: Loraml, words: list[str], text: str) -> None:  # noqa: F811
    ended = loraml("rates", *words)
    assert (ended.status, ended.out, ended.err) == (2, "", f"loraml: error: {text}\n")


def test_a_sweep_that_varies_nothing_is_refused(loraml: Loraml, tmp_path: Path) -> None:  # noqa: F811
    swept(tmp_path / "s", 'method = "sr"\nd = 4\nseeds = 3')
    ended = loraml("rates", "s")
    assert ended.status == 2
    assert "no method has converged rows with a prediction at two values" in ended.err
