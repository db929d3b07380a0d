"""What was found on a user's own structure, before any claim: ranks, whether the tasks determine the base, errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loraml_theory.closed_forms import best_rank_error, standard_retraining
from loraml_theory.moments import population
from loraml_theory.rates import degrees_of_freedom
from loraml_theory.spectra import numerical_rank
from paper_checks.claim import Profile
from paper_checks.evidence.assumptions import (
    ALL_TASKS_INDEPENDENT,
    RETRAINING_PAIR_INDEPENDENT,
    SOME_TRIPLE_INDEPENDENT,
)
from paper_checks.evidence.evidence import Note
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.measure import level
from paper_checks.evidence.minimisers import Minimiser, all_minimisers, asserted_condition
from paper_checks.evidence.phrasing import number, plural

DETERMINED = "the tasks determine the base"
HOLDS = {True: "holds", False: "does not hold", None: "cannot be told in float64"}


@dataclass(frozen=True)
class Fact:
    """A quantity of a structure, its value in words, and what to compare it with."""

    what: str
    value: str
    beside: str


def facts(instance: Instance, profile: Profile) -> list[Fact]:
    """Measure a structure: every statement is about its numbers, none is a claim."""
    truth = instance.truth
    found = [point for point in all_minimisers(instance, profile) if not isinstance(point, Note)]
    residual = truth.W_test - standard_retraining(population(truth.W_retraining))
    standard, meta = _rank(instance, [residual]), _rank(instance, [truth.W_test - point.A for point in found])
    return [
        _standard(instance, standard),
        _left(instance, residual),
        _meta(instance, meta, found),
        _determined(instance, found),
        Fact(
            r"degrees of freedom $r(2d - r)$ of fine-tuning's error at these ranks",
            f"{_degrees(standard, truth.d)} from SR, {_degrees(meta, truth.d)} from LoRA-ML",
            r"the noise part of $\mathrm{E}\|\Delta\|_F^2$ is about this times $\sigma^2/(\sigma_x^2 n)$ (FT-2)",
        ),
    ]


def _rank(instance: Instance, residuals: list[np.ndarray]) -> tuple[int, int]:
    """Return the smallest and the largest rank of some residuals; where float64 cannot tell, its bounds."""
    counts = [numerical_rank(M, np.asarray(10 * level(instance))) for M in residuals]
    return min(int(c.low) for c in counts), max(int(c.high) for c in counts)


def _words(ranks: tuple[int, int]) -> str:
    return str(ranks[0]) if ranks[0] == ranks[1] else f"{ranks[0]} to {ranks[1]}"


def _degrees(ranks: tuple[int, int], d: int) -> str:
    return _words((degrees_of_freedom(ranks[0], d), degrees_of_freedom(ranks[1], d)))


def _standard(instance: Instance, ranks: tuple[int, int]) -> Fact:
    truth = instance.truth
    assumption, needed = ALL_TASKS_INDEPENDENT.test(instance), truth.k * (truth.T + 1)
    return Fact(
        r"rank that the test task needs from $A_{\mathrm{SR}}$",
        _words(ranks) + (", all that float64 can see" if assumption.holds and ranks[1] < needed else ""),
        f"$k(T+1) = {needed}$ where all tasks are independent (SR-2), which "
        f"{HOLDS[assumption.holds]} here ({number(assumption.measured)})",
    )


def _left(instance: Instance, residual: np.ndarray) -> Fact:
    whole = float(np.sum(residual**2))
    share = float(best_rank_error(residual, instance.truth.k)) / whole if whole else 0.0
    what = r"share of $\|W_{T+1} - A_{\mathrm{SR}}\|_F^2$ that adapters of rank $k$ leave"
    return Fact(what, f"{100 * share:.3g} %", "for any number of samples (SR-3)")


def _meta(instance: Instance, ranks: tuple[int, int], found: list[Minimiser]) -> Fact:
    k = instance.truth.k
    return Fact(
        "rank that it needs from LoRA-ML's base",
        _words(ranks),
        f"over {plural(len(found), 'global minimiser')}; at most $3k = {3 * k}$ (ML-1), $k = {k}$ where the tasks "
        "determine the base",
    )


def _determined(instance: Instance, found: list[Minimiser]) -> Fact:
    """Say whether the retraining tasks determine the base: T >= 3 with an independent triple (ML-3)."""
    truth = instance.truth
    scale = float(truth.retraining_scale)
    furthest = max(float(np.linalg.norm(point.A - truth.A_star)) for point in found) / scale
    apart = rf"a minimiser's base is up to {number(furthest, 2)} $\max_t \|W_t\|_F$ from $A^\star$"
    if truth.T == 2:
        pair = HOLDS[RETRAINING_PAIR_INDEPENDENT.test(instance).holds]
        return Fact(DETERMINED, "no", f"two tasks leave an orbit (ML-2; their independence {pair}); {apart}")
    triple = SOME_TRIPLE_INDEPENDENT.test(instance)
    if triple.holds:
        condition = number(float(asserted_condition(truth)), 3)
        amplified = f"errors of the data come into the base times {condition}"
        return Fact(DETERMINED, "yes", f"three tasks are independent (ML-3, {number(triple.measured)}); {amplified}")
    said = "not shown" if triple.holds is None or furthest < 1e-6 else "no"
    return Fact(
        DETERMINED,
        said,
        f"no three tasks are clearly independent ({number(triple.measured)}); {apart}",
    )
