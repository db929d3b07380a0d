"""Rates of a sweep against theory: slopes with intervals, tests of equivalence, and verdicts that can go either way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from math import ceil, exp, isfinite
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from loraml_theory.harness.atomic import write_whole
from sims.rates.slopes import (
    RESAMPLES,
    Fit,
    clusters_for_power,
    departure_p,
    departure_power,
    equivalence_p,
    equivalence_power,
    fit_level,
    fit_slope,
    holm,
)
from sims.rates.tables import LEAST_TRUTHS, AxisTable, Columns, Predict, axis_tables
from sims.sweep.spec import Spec, parse

Verdict: TypeAlias = Literal["agrees", "differs", "undecided"]
MISSING = 0.01  # a larger share of unconverged rows leaves a verdict open: they are not missing at random


@dataclass(frozen=True)
class Criteria:
    """How slopes, and levels, are compared with their predictions.

    Parameters
    ----------
    margin
        Slopes this close to the prediction count as equal.
    level_margin
        The same for the logarithm of measured over predicted.
    alpha
        Probability, over all slopes together, of one "agrees" that is false; the same of one "differs".
    confidence
        Level of each reported interval by itself.
        resamples, seed
        Of the cluster bootstrap; more are drawn where the correction for many slopes needs smaller p-values.
    """

    margin: float = 0.03
    level_margin: float = 0.05
    alpha: float = 0.05
    confidence: float = 0.95
    resamples: int = RESAMPLES
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Rate:
    """One method along one axis: its data, the fitted slope and level, and the verdicts on both."""

    data: AxisTable
    slope: Fit
    level: Fit
    p_values: tuple[float, float]
    adjusted: tuple[float, float]
    verdict: Verdict
    level_verdict: Verdict
    powers: tuple[float, float]
    would_decide: int | None
    criteria: Criteria

    @property
    def interval(self) -> tuple[float, float]:
        """The slope's interval; with two or three truths its ends are infinite."""
        return self.slope.interval(self.criteria.confidence)

    def row(self) -> dict[str, Any]:
        """Return the row of slopes.json, None for what is not finite; the first eight keys are its contract."""
        criteria, data = self.criteria, self.data
        low, high = self.interval
        below, above = self.slope.difference_interval(criteria.confidence)
        least, most = self.level.difference_interval(criteria.confidence)
        return _plain(
            {
                "method": data.group["method"],
                "axis": data.axis,
                "slope": self.slope.value,
                "ci_low": low,
                "ci_high": high,
                "predicted": self.slope.predicted,
                "margin": criteria.margin,
                "verdict": self.verdict,
                "difference": self.slope.difference,
                "difference_low": below,
                "difference_high": above,
                "p_equivalent": self.p_values[0],
                "p_equivalent_holm": self.adjusted[0],
                "p_different": self.p_values[1],
                "p_different_holm": self.adjusted[1],
                "power": self.powers[0],
                "power_different": self.powers[1],
                "truths_to_decide": self.would_decide,
                "level": exp(self.level.difference),
                "level_low": exp(least),
                "level_high": exp(most) if isfinite(most) else most,
                "level_verdict": self.level_verdict,
                **{name: value for name, value in data.group.items() if name != "method"},
                "points": data.table.axis.size,
                "lines": len(data.lines),
                "truths": len(data.table.errors),
                "rows": data.rows,
                "unconverged": data.unconverged,
                "unpredicted": data.unpredicted,
                "signal_to_noise": data.signal_to_noise,
                "confidence": criteria.confidence,
                "alpha": criteria.alpha,
            }
        )


def fit_rates(
    columns: Columns,
    *,
    root: int = 0,
    statistic: str = "parameter",
    criteria: Criteria | None = None,
    predict: Predict | None = None,
) -> list[Rate]:
    """Fit every slope of a sweep and judge all of them together.

    "agrees" means that the two one-sided tests reject ``|slope - predicted| >= margin``, "differs" that
    ``|slope - predicted| <= margin`` is rejected, each at `Criteria.alpha` over all slopes by Holm's correction.
    Anything else is "undecided", as is everything with fewer than 8 truths, and equivalence where more than 1 % of the
    rows did not converge.

    Parameters
    ----------
    columns
        From `sims.sweep.store.read_rows`.
    root
        The spec's root seed.
    statistic, predict
        See `axis_tables`.
    criteria
        Margins, levels and the resampling; the defaults of `Criteria` if not given.
    """
    criteria = criteria or Criteria()
    tables = list(axis_tables(columns, root=root, statistic=statistic, predict=predict))
    resamples = max(criteria.resamples, ceil(4 * len(tables) / criteria.alpha))
    fits = []
    for number, data in enumerate(tables):
        rng = np.random.default_rng([criteria.seed, number])
        fits.append([fit(rng, data.table, resamples=resamples) for fit in (fit_slope, fit_level)])
    slopes, levels = ([pair[i] for pair in fits] for i in range(2))
    p_values, adjusted = _p_values(slopes, criteria.margin)
    _, of_levels = _p_values(levels, criteria.level_margin)
    each = criteria.alpha / max(len(tables), 1)
    return [
        Rate(
            data,
            slope,
            level,
            p,
            corrected,
            _verdict(corrected, data, slope, criteria.alpha),
            _verdict(of_level, data, level, criteria.alpha),
            (equivalence_power(slope, criteria.margin, each), departure_power(slope, criteria.margin, each)),
            _would_decide(slope, data, criteria.margin, each),
            criteria,
        )
        for data, slope, level, p, corrected, of_level in zip(
            tables, slopes, levels, p_values, adjusted, of_levels, strict=True
        )
    ]


def _would_decide(slope: Fit, data: AxisTable, margin: float, alpha: float) -> int | None:
    """Return about how many truths decide; None where none do, since too many rows did not converge."""
    if data.unconverged > MISSING * data.rows:
        return None
    found = clusters_for_power(slope, len(data.table.errors), margin, alpha)
    return None if found is None else max(found, LEAST_TRUTHS)


def default_spec() -> Spec:
    """Return the sweep of `loraml rates --default`."""
    return parse(files("sims.rates").joinpath("default.toml").read_text("utf-8"))


def write_slopes(path: Path, rates: Sequence[Rate]) -> None:
    """Write slopes.json: a list with one object per slope."""
    write_whole(path, json.dumps([rate.row() for rate in rates], indent=1, allow_nan=False) + "\n")


def _p_values(fits: Sequence[Fit], margin: float) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Return the p-values against equivalence and against difference, and both after Holm's correction."""
    equivalent = [equivalence_p(fit, margin) for fit in fits]
    different = [departure_p(fit, margin) for fit in fits]
    return (
        list(zip(equivalent, different, strict=True)),
        list(zip(holm(equivalent), holm(different), strict=True)),
    )


def _verdict(adjusted: tuple[float, float], data: AxisTable, fit: Fit, alpha: float) -> Verdict:
    if len(data.table.errors) < LEAST_TRUTHS or not isfinite(fit.difference_error):
        return "undecided"
    if adjusted[1] <= alpha:
        return "differs"
    complete = data.unconverged <= MISSING * data.rows
    return "agrees" if adjusted[0] <= alpha and complete else "undecided"


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Round floats to 6 digits and to multiples of 10^-9, and replace those that are not finite by None."""

    def plain(value: float) -> float | None:
        return float(f"{round(value, 9) + 0.0:.6g}") if isfinite(value) else None

    return {name: plain(value) if isinstance(value, float) else value for name, value in row.items()}
