"""Near misses: how wrong a value may be before its check must refute it."""

from __future__ import annotations

from fractions import Fraction
from math import inf
from typing import Any

import numpy as np
import pytest

from loraml_theory import zoo
from paper_checks.evidence.evidence import Outcome
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.measure import inertia_evidence, mean_evidence, rounding, zero_evidence
from paper_checks.evidence.resolution import (
    COARSER,
    FLOAT64,
    RULES,
    near_miss,
    nearest_miss,
    resolution,
    slightly_more,
)
from paper_checks.verify import check
from tests.paper_checks import fakes
from tests.paper_checks.fakes import evidence

GIVEN = Instance("generic", zoo.generic(np.random.default_rng(0), 10, 1, 3), 0)


@pytest.mark.parametrize(
    ("changes", "value", "rule"),
    [
        ({"predicted": 4, "rounding": None}, 1.0, "count"),
        ({"predicted": 4.0, "rounding": None}, 4 * FLOAT64, "float64"),
        ({"predicted": 0.0, "rounding": None}, FLOAT64, "float64"),
        ({"predicted": -2.0, "rounding": 1e-12}, 1e-9, "rounding"),
        ({"interval": (0.9, 1.3)}, 0.6, "interval"),
        ({"predicted": 4, "interval": (0.9, 1.3)}, 0.6, "interval"),
    ],
)
def test_the_resolution_follows_from_the_kind_of_value(changes: dict[str, Any], value: float, rule: str) -> None:
    found = resolution(evidence(**changes))
    assert found.value == pytest.approx(value)
    assert found.reason == RULES[rule]


def test_larger_resolutions_are_listed_with_their_reason() -> None:
    for name, listed in COARSER.items():
        assert resolution(evidence(predicted=2.0, coarser=name)) == (2 * listed.value, listed.reason)
    with pytest.raises(KeyError):
        resolution(evidence(coarser="not listed"))


@pytest.mark.parametrize("relation", ["equal", "slope", "at most", "at least"])
@pytest.mark.parametrize(("tolerance", "refuted"), [(0.0, True), (0.99, True), (1.01, False)])
def test_a_near_miss_passes_where_the_tolerance_is_wider_than_the_resolution(
    relation: str, tolerance: float, refuted: bool
) -> None:
    miss = near_miss(evidence(relation=relation, tolerance=tolerance))  # of resolution 1
    assert abs(miss.measured - 1.0) == pytest.approx(1.0)
    assert (miss.outcome is Outcome.DISAGREES) == refuted


@pytest.mark.parametrize(("tolerance", "refuted"), [(0.0, True), (0.29, True), (0.31, False)])
def test_a_near_miss_of_a_mean_moves_its_interval(tolerance: float, refuted: bool) -> None:
    miss = near_miss(evidence(measured=1.05, interval=(0.95, 1.25), tolerance=tolerance))  # of resolution 0.4
    assert miss.interval == pytest.approx((1.3, 1.6))
    assert (miss.outcome is Outcome.DISAGREES) == refuted


def test_a_near_miss_is_what_was_measured_on_a_displaced_input() -> None:
    blind, seeing = (near_miss(evidence(predicted=1, displaced=count)) for count in (1, 2))
    assert (blind.measured, blind.outcome) == (1, Outcome.AGREES)
    assert (seeing.measured, seeing.outcome) == (2, Outcome.DISAGREES)


def test_what_must_be_above_misses_below() -> None:
    miss = near_miss(evidence(relation="above", predicted=0.0, rounding=None, tolerance=0.0))
    assert (miss.measured, miss.outcome) == (-FLOAT64, Outcome.DISAGREES)


def test_the_nearest_miss_is_one_that_passes_or_else_the_least_refuted() -> None:
    fine, coarse = evidence(what="fine", tolerance=0.01), evidence(what="coarse", tolerance=0.5)
    passing = evidence(what="passing", tolerance=2.0)
    ignored = [evidence(measured=9.0), evidence(decides=False), evidence(decidable=False)]
    for items, what in (((fine, coarse), "coarse"), ((fine, passing, coarse), "passing")):
        miss, count = nearest_miss([*items, *ignored])
        assert miss is not None
        assert (miss.what, count) == (what, len(items))
    assert nearest_miss(ignored) == (None, 0)


def test_the_runner_says_how_many_values_a_near_miss_is_made_of() -> None:
    *_, control = check(fakes.claim(), [fakes.instance("a"), fakes.instance("b")], fakes.QUICK, seed=0).controls
    assert control.what == "near miss: each of 2 values wrong by its resolution"
    assert control.evidence is not None
    assert control.evidence.measured == 2.0


@pytest.mark.parametrize("factor", [1.0, 30.0])
def test_a_rank_is_seen_to_change_by_an_eigenvalue_of_a_thousand_roundings(factor: float) -> None:
    """With a cut so many times as large it is not, and the near miss passes."""
    truth = GIVEN.truth
    M, arguments = truth.R[0], {"factor": truth.U_star[0], "smallest": 1.0, "predicted": (1, 0)}
    rows = inertia_evidence(GIVEN, "R", M, **arguments)
    assert rows[0].displaced == 2
    assert all(near_miss(row).outcome is Outcome.DISAGREES for row in rows)
    below = M + factor * rounding(GIVEN) * np.eye(10)
    assert inertia_evidence(GIVEN, "R", below, **arguments)[0].measured == (1 if factor == 1 else 10)


def test_a_matrix_of_full_rank_has_no_kernel_to_displace() -> None:
    rows = inertia_evidence(GIVEN, "I", np.eye(10), factor=np.eye(10), smallest=1.0, predicted=(10, 0))
    assert rows[0].displaced is None


def test_what_vanishes_to_rounding_is_resolved_to_a_thousand_roundings() -> None:
    item = zero_evidence(GIVEN, "x", 0.0, condition=7.0, slack=1e-12)
    eps = float(np.finfo(float).eps)
    assert resolution(item).value == pytest.approx(1000 * 7 * (10 * eps + 1e-13))
    assert 20 < resolution(item).value / item.tolerance < 110


@pytest.mark.parametrize(("bias", "outcome"), [(1e-3, Outcome.AGREES), (0.15, Outcome.UNDECIDED)])
def test_a_mean_whose_bias_is_wider_than_its_interval_cannot_agree(bias: float, outcome: Outcome) -> None:
    samples = np.random.default_rng(0).normal(1.0, 0.2, 400)
    item = mean_evidence(GIVEN, "x", samples, 1.0, bias=bias, reason="none")
    assert item.outcome is outcome
    assert mean_evidence(GIVEN, "x", samples, 3.0, bias=bias, reason="none").outcome is Outcome.DISAGREES


def test_slightly_more_is_exact_over_the_rationals() -> None:
    assert slightly_more(Fraction(3)) == Fraction(3) + Fraction(3, 10**9)
    assert slightly_more(2.0, 4) == 2.5
    assert slightly_more(inf) == inf
