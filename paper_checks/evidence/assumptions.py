"""The claims' assumptions as predicates on instances."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations

import numpy as np

from loraml_theory.spectra import DEPENDENT, INDEPENDENT, best_triple_separation, separation
from paper_checks.claim import Assumption, Finding
from paper_checks.evidence.exact_evidence import over_rationals
from paper_checks.evidence.instance import Instance


def independence(measured: float) -> Finding:
    """Decide joint independence from a `separation`; between the two thresholds float64 cannot tell."""
    if measured > INDEPENDENT:
        return Finding(True, measured)
    return Finding(False if measured < DEPENDENT else None, measured)


def _independent(instance: Instance, tasks: slice) -> Finding:
    """Decide whether some tasks' factors are jointly independent."""
    return _exactly(instance, [tuple(range(instance.truth.T + 1)[tasks])], separation(instance.truth.U_star[tasks]))


def _exactly(instance: Instance, groups: Iterable[tuple[int, ...]], measured: float) -> Finding:
    """Decide whether some group of tasks is jointly independent: over Q where the instance is known exactly.

    Independence over Q that float64 cannot see stays undecided, since most of a claim's evidence is in float64.
    """
    seen, truth = independence(float(measured)), over_rationals(instance)
    if truth is None:
        return seen
    from loraml_theory.exact import rank

    joint = (np.concatenate(list(truth.U_star[list(group)]), axis=1) for group in groups)
    if any(rank(factor) == factor.shape[1] for factor in joint):
        return seen if seen.holds else Finding(None, seen.measured)
    return Finding(False, seen.measured)


def _decide(
    condition: Callable[[Instance], bool], number: Callable[[Instance], float]
) -> Callable[[Instance], Finding]:
    return lambda instance: Finding(condition(instance), number(instance))


ALL_TASKS_INDEPENDENT: Assumption[Instance] = Assumption(
    r"I: $[U_1^\star, \ldots, U_{T+1}^\star]$ has full column rank $k(T+1) \le d$ "
    "(measured: its smallest singular value, columns normalised)",
    lambda instance: _independent(instance, slice(None)),
)

RETRAINING_PAIR_INDEPENDENT: Assumption[Instance] = Assumption(
    r"$[U_1^\star, U_2^\star]$ has full column rank $2k \le d$ "
    "(measured: its smallest singular value, columns normalised)",
    lambda instance: _independent(instance, slice(2)),
)


CONSECUTIVE_INDEPENDENT: Assumption[Instance] = Assumption(
    r"$[U_t^\star, U_{t+1}^\star]$ has full column rank $2k \le d$ for all $t < T$ "
    "(measured: the least of their smallest singular values, columns normalised)",
    lambda instance: min(
        (_independent(instance, slice(t, t + 2)) for t in range(instance.truth.T - 1)), key=lambda found: found.measured
    ),
)


def _triple(instance: Instance) -> Finding:
    if instance.truth.T < 3:
        return Finding(False, 0.0)
    triples = combinations(range(instance.truth.T), 3)
    return _exactly(instance, triples, best_triple_separation(instance.truth.U_retraining))


SOME_TRIPLE_INDEPENDENT = Assumption(
    r"some three of $U_1^\star, \ldots, U_T^\star$ are jointly independent, so $d \ge 3k$ "
    "(measured: largest smallest singular value of a triple, columns normalised)",
    _triple,
)

TEST_FACTOR_OF_FULL_RANK: Assumption[Instance] = Assumption(
    r"$U_{T+1}^\star$ has full column rank $k$ (measured: its smallest singular value, columns normalised)",
    lambda instance: _independent(instance, slice(-1, None)),
)

RETRAINING_FACTORS_OF_FULL_RANK: Assumption[Instance] = Assumption(
    r"every $U_t^\star$, $t \le T$, has full column rank $k$ (measured: the least of their smallest singular values)",
    lambda instance: independence(float(np.min(separation(instance.truth.U_retraining[:, None])))),
)

TWO_TASKS = Assumption("$T = 2$ (measured: $T$)", _decide(lambda i: i.truth.T == 2, lambda i: i.truth.T))

RANK_BELOW_DIMENSION = Assumption(
    "$d > k$ (measured: $d - k$)", _decide(lambda i: i.truth.d > i.truth.k, lambda i: i.truth.d - i.truth.k)
)

THREE_TASKS = Assumption(r"$T \ge 3$ (measured: $T$)", _decide(lambda i: i.truth.T >= 3, lambda i: i.truth.T))
