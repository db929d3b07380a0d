r"""Hypothesis strategies for tests about the linear model: instances that meet, and that violate, each
assumption.

An instance is drawn as a few small numbers (sizes, a seed, singular values) and then constructed, never
filtered from raw arrays. Seed 0 stands for the plainest instance of its kind (unit vectors, the identity) and
all spectra shrink to ones, so a failing example is reported as a short call of a public constructor of
`loraml_theory.constructions` that can be pasted into a test, such as
``truth_with_spectrum(d=4, k=1, T=3, seed=0, spectrum=(1.0, 1.0, 1.0, 1.0))``.

Needs Hypothesis (``pip install loraml-theory[testing]``); nothing else in the package imports this module.

Examples
--------
>>> import numpy as np
>>> from hypothesis import given
>>> from loraml_theory.testing import ground_truths
>>> @given(ground_truths(independent=True))
... def shifts_have_rank_k(truth):
...     assert np.all(np.linalg.matrix_rank(truth.R) == truth.k)
>>> shifts_have_rank_k()
"""

from __future__ import annotations

from math import inf
from typing import Literal, TypeAlias, get_args

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from loraml_theory.adapters import Parameters
from loraml_theory.constructions import (
    Floats,
    SpectrumShape,
    boost_with,
    moments_with_spectrum,
    orthogonal_matrix,
    point,
    spectrum_of,
    truth_with_spectrum,
)
from loraml_theory.moments import Moments
from loraml_theory.structure import GroundTruth

__all__ = [
    "boost_with",
    "boosts",
    "ground_truths",
    "moments",
    "moments_with_spectrum",
    "orthogonal_matrix",
    "orthogonals",
    "parameters",
    "point",
    "seeds",
    "spectra",
    "spectrum_of",
    "structures_violating",
    "truth_with_spectrum",
]

Sizes: TypeAlias = int | SearchStrategy[int]
Assumption: TypeAlias = Literal["independence", "triple", "two-task independence"]


def seeds() -> SearchStrategy[int]:
    """Draw seeds, which shrink to 0."""
    return st.integers(0, 2**16)


def spectra(length: int, *, conditioning: float = 10.0) -> SearchStrategy[tuple[float, ...]]:
    """Draw `length` singular values from `conditioning` down to 1, see `spectrum_of`; they shrink to ones.

    Two choices whatever the length, which Hypothesis shrinks better than one choice a value.
    """
    return st.builds(
        spectrum_of, st.just(length), st.floats(1.0, conditioning), st.sampled_from(get_args(SpectrumShape))
    )


def orthogonals(k: Sizes) -> SearchStrategy[Floats]:
    """Draw orthogonal matrices, ``(k, k)``, which shrink to the identity."""
    return st.builds(orthogonal_matrix, _sizes(k), seed=seeds())


def boosts(k: int, *, smallest: float = 0.0, largest: float = 2.0) -> SearchStrategy[Floats]:
    """Draw elements of O(k, k) with rapidities in ``[smallest, largest]``, which shrink to `smallest`."""
    return st.builds(boost_with, st.tuples(*[st.floats(smallest, largest)] * k), seed=seeds())


@st.composite
def ground_truths(
    draw: DrawFn,
    *,
    d: Sizes | None = None,
    k: Sizes | None = None,
    T: Sizes | None = None,
    independent: bool | None = None,
    conditioning: float = 10.0,
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
        Largest ratio of the joint factor's singular values other than 0.
    """
    k_ = draw(st.integers(1, 3) if k is None else _sizes(k))
    T_ = draw(st.integers(2, 5) if T is None else _sizes(T))
    columns = k_ * (T_ + 1)
    smallest = columns if independent else max(k_, 2)
    d_ = draw(_shrinking_to(columns, smallest, columns + 3) if d is None else _sizes(d))
    full = min(d_, columns)
    if independent and columns > d_:
        raise ValueError(f"d: got {d_}, expected at least k(T+1) = {columns} where assumption I is to hold")
    if independent is False:
        q = draw(_shrinking_to(min(d_, columns - 1), k_, min(d_, columns - 1)))
    else:
        q = full if independent or full < columns else draw(_shrinking_to(full, k_, full))
    values = spectra(q, conditioning=conditioning)
    sizes = {"d": st.just(d_), "k": st.just(k_), "T": st.just(T_)}
    return draw(st.builds(truth_with_spectrum, **sizes, spectrum=values, seed=seeds()))


@st.composite
def structures_violating(
    draw: DrawFn,
    assumption: Assumption,
    *,
    d: Sizes | None = None,
    k: Sizes | None = None,
    T: Sizes | None = None,
    conditioning: float = 10.0,
) -> GroundTruth:
    """Draw ground truths that violate an assumption, and whose every factor still has rank k.

    Parameters
    ----------
    assumption
        ``independence`` (I): [U_1*, ..., U_{T+1}*] has full column rank. ``triple`` (ML-3): some three of the
        retraining factors are jointly independent; T >= 3 unless given. ``two-task independence`` (ML-2):
        [U_1*, U_2*] has full column rank; T = 2 unless given.
    d, k, T, conditioning
        As for `ground_truths`.
    """
    if assumption == "independence":
        return draw(ground_truths(d=d, k=k, T=T, independent=False, conditioning=conditioning))
    if assumption not in ("triple", "two-task independence"):
        raise ValueError(f"assumption: got {assumption!r}, expected one of {get_args(Assumption)}")
    jointly = 3 if assumption == "triple" else 2
    k_ = draw(st.integers(1, 3) if k is None else _sizes(k))
    T_ = draw((st.integers(3, 5) if jointly == 3 else st.just(2)) if T is None else _sizes(T))
    d_ = draw(_shrinking_to(jointly * k_, max(k_, 2), k_ * (T_ + 1)) if d is None else _sizes(d))
    most = min(d_, jointly * k_ - 1, k_ * T_)  # T = 2 has no triple whatever its factors are
    q = draw(_shrinking_to(most, k_, most))
    sizes = {"d": st.just(d_), "k": st.just(k_), "T": st.just(T_)}
    values = spectra(q, conditioning=conditioning)
    return draw(st.builds(truth_with_spectrum, **sizes, spectrum=values, seed=seeds(), free_test_task=st.just(True)))


@st.composite
def moments(
    draw: DrawFn,
    *,
    d_out: Sizes | None = None,
    d_in: Sizes | None = None,
    tasks: Sizes | None = None,
    singular: bool | None = False,
    weighted: bool | None = None,
    conditioning: float = 10.0,
) -> Moments:
    """Draw moments of several tasks, or of a single one without a task axis where ``tasks=0``.

    Parameters
    ----------
    d_out, d_in, tasks
        Sizes, or strategies for them; left out, 1 to 4 each, and 2 to 4 tasks.
    singular
        Whether the S_t are singular (all in the same number of directions); None for either.
    weighted
        Whether the tasks have unequal numbers of samples; None for either.
    conditioning
        Largest ratio of eigenvalues of S other than 0.
    """
    d_out_, d_in_ = (draw(st.integers(1, 4) if size is None else _sizes(size)) for size in (d_out, d_in))
    count = draw(st.integers(2, 4) if tasks is None else _sizes(tasks))
    singular = draw(st.booleans()) if singular is None else singular
    weighted = draw(st.booleans()) if weighted is None else weighted
    positive = draw(_shrinking_to(d_in_ - 1, 0, d_in_ - 1)) if singular else d_in_
    values = draw(spectra(positive, conditioning=conditioning)) + (0.0,) * (d_in_ - positive)
    n: float | tuple[float, ...] = inf
    if weighted and count:
        n = tuple(float(draw(st.integers(1, 100))) + t for t in range(count))
    elif draw(st.booleans()):
        n = float(draw(st.integers(1, 1000)))
    made = {
        "d_out": st.just(d_out_),
        "tasks": st.just(count or None),
        "spectrum": st.just(values),
        "n": st.just(n),
    }
    return draw(st.builds(moments_with_spectrum, **made, seed=seeds()))


def parameters(
    *,
    d_out: Sizes,
    d_in: Sizes,
    rank: Sizes,
    tasks: int | None,
    base: bool = True,
    symmetric: bool | None = None,
    scale: float = 1.0,
) -> SearchStrategy[Parameters]:
    """Draw parameters, say to start from; see `point`. Symmetric adapters where `symmetric`, either for
    None.
    """
    either = st.booleans() if symmetric is None else st.just(symmetric)
    fixed = {"tasks": st.just(tasks), "base": st.just(base), "scale": st.just(scale)}
    sizes = {"d_out": _sizes(d_out), "d_in": _sizes(d_in), "rank": _sizes(rank)}
    return st.builds(point, **sizes, **fixed, symmetric=either, seed=seeds())


def _sizes(size: Sizes) -> SearchStrategy[int]:
    return st.just(size) if isinstance(size, int) else size


def _shrinking_to(value: int, low: int, high: int) -> SearchStrategy[int]:
    """Draw integers in ``low..high`` that shrink to `value`."""
    order = sorted(range(low, high + 1), key=lambda i: abs(i - value))
    # one choice even where a single value is possible: Hypothesis prefers examples of fewer choices
    return st.integers(0, 11).map(lambda i: order[i % len(order)])
