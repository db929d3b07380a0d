"""Strategies for ground truths: with and without each assumption, and with another unseen task."""

from __future__ import annotations

from types import ModuleType
from typing import Literal, TypeAlias, get_args

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from loraml_theory.constructions import integer_truth, truth_with_spectrum, with_test_task
from loraml_theory.structure import GroundTruth
from loraml_theory.testing.choices import Sizes, delivered, seeds, shrinking_to, sizes, spectra

Assumption: TypeAlias = Literal["independence", "triple", "two-task independence"]
CONDITIONING = 10.0


@st.composite
def ground_truths(
    draw: DrawFn,
    *,
    d: Sizes | None = None,
    k: Sizes | None = None,
    T: Sizes | None = None,
    independent: bool | None = None,
    conditioning: float | None = None,
    exact: bool = False,
    xp: ModuleType | None = None,
) -> GroundTruth:
    """Draw ground truths.

    Parameters
    ----------
    d, k, T
        Sizes, or strategies for them. Left out: T in 2..5, k in 1..3, and d up to 3 more than ``k(T+1)`` and,
        unless `independent` is true, down to max(k, 2).
    independent
        Whether assumption I holds, [U_1*, ..., U_{T+1}*] of full column rank; None for either. Sizes that
        decide it must agree: ``k(T+1) <= d`` where it is to hold.
    conditioning
        Largest ratio of the joint factor's singular values other than 0; 10 if not given.
    exact
        Draw truths of small whole numbers, which are known exactly (`integer_truth`); their rank is what is
        drawn, their conditioning is not.
    xp
        Array library of the result; NumPy if not given.
    """
    k_ = draw(st.integers(1, 3) if k is None else sizes(k))
    T_ = draw(st.integers(2, 5) if T is None else sizes(T))
    columns = k_ * (T_ + 1)
    smallest = columns if independent else max(k_, 2)
    d_ = draw(shrinking_to(columns, smallest, columns + 3) if d is None else sizes(d))
    full = min(d_, columns)
    if independent and columns > d_:
        raise ValueError(f"d: got {d_}, expected at least k(T+1) = {columns} where assumption I is to hold")
    if independent is False:
        q = draw(shrinking_to(min(d_, columns - 1), k_, min(d_, columns - 1)))
    else:
        q = full if independent or full < columns else draw(shrinking_to(full, k_, full))
    return draw(delivered(_of_rank(d_, k_, T_, q, conditioning=conditioning, exact=exact), xp))


@st.composite
def structures_violating(
    draw: DrawFn,
    assumption: Assumption,
    *,
    d: Sizes | None = None,
    k: Sizes | None = None,
    T: Sizes | None = None,
    conditioning: float | None = None,
    exact: bool = False,
    xp: ModuleType | None = None,
) -> GroundTruth:
    """Draw ground truths that violate an assumption, while every factor still has rank k.

    Parameters
    ----------
    assumption
        ``independence`` (I): [U_1*, ..., U_{T+1}*] has full column rank. ``triple`` (ML-3): some three of the
        retraining factors are jointly independent; T >= 3 unless given. ``two-task independence`` (ML-2):
        [U_1*, U_2*] has full column rank; T = 2 unless given.
    d, k, T, conditioning, exact, xp
        As for `ground_truths`.
    """
    if assumption == "independence":
        return draw(ground_truths(d=d, k=k, T=T, independent=False, conditioning=conditioning, exact=exact, xp=xp))
    if assumption not in ("triple", "two-task independence"):
        raise ValueError(f"assumption: got {assumption!r}, expected one of {get_args(Assumption)}")
    jointly = 3 if assumption == "triple" else 2
    k_ = draw(st.integers(1, 3) if k is None else sizes(k))
    T_ = draw((st.integers(3, 5) if jointly == 3 else st.just(2)) if T is None else sizes(T))
    d_ = draw(shrinking_to(jointly * k_, max(k_, 2), k_ * (T_ + 1)) if d is None else sizes(d))
    most = min(d_, jointly * k_ - 1, k_ * T_)  # T = 2 never has a triple
    q = draw(shrinking_to(most, k_, most))
    return draw(delivered(_of_rank(d_, k_, T_, q, conditioning=conditioning, exact=exact, free_test_task=True), xp))


def test_tasks(
    truth: GroundTruth,
    *,
    independent: bool | None = None,  # noqa: PT028 - a strategy, not a test
) -> SearchStrategy[GroundTruth]:
    """Draw truths with the same A* and retraining tasks, and another unseen task (`with_test_task`).

    The result of retraining must hold for every one of them.

    Parameters
    ----------
    truth
        Truth of NumPy arrays, without batch axes.
    independent
        Whether the new factor is independent of the span of all retraining factors, or lies in it; None for either.

    Raises
    ------
    ValueError
        If `independent` is true and d is too small.
    """
    choices = st.just(independent) if independent is not None else _where_there_is_room(truth)
    return st.builds(with_test_task, st.just(truth), independent=choices, seed=seeds())


test_tasks.__test__ = False  # type: ignore[attr-defined]  # so that pytest leaves it alone


def _where_there_is_room(truth: GroundTruth) -> SearchStrategy[bool]:
    spanned = np.linalg.matrix_rank(np.concatenate(list(truth.U_retraining), axis=1))
    return st.sampled_from([True, False]) if spanned + truth.k <= truth.d else st.just(False)


def _of_rank(
    d: int, k: int, T: int, q: int, *, conditioning: float | None, exact: bool, free_test_task: bool = False
) -> SearchStrategy[GroundTruth]:
    """Draw truths whose joint factor, that of the retraining tasks where the test task is free, has rank q."""
    shape = {"d": st.just(d), "k": st.just(k), "T": st.just(T)}
    rest = {"seed": seeds(), **({"free_test_task": st.just(True)} if free_test_task else {})}
    if not exact:
        values = spectra(q, conditioning=CONDITIONING if conditioning is None else conditioning)
        return st.builds(truth_with_spectrum, **shape, spectrum=values, **rest)
    if conditioning is not None:
        raise ValueError(f"conditioning: got {conditioning} with exact=True, expected one of the two")
    return st.builds(integer_truth, **shape, rank=st.just(q), **rest)
