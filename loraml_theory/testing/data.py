"""Strategies for moments and for points of the objectives."""

from __future__ import annotations

from math import inf
from types import ModuleType

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from loraml_theory.adapters import Parameters
from loraml_theory.constructions import moments_with_spectrum, point
from loraml_theory.moments import Moments
from loraml_theory.testing.choices import Sizes, delivered, seeds, shrinking_to, sizes, spectra


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
    xp: ModuleType | None = None,
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
    xp
        Array library of the result; NumPy if not given.
    """
    d_out_, d_in_ = (draw(st.integers(1, 4) if size is None else sizes(size)) for size in (d_out, d_in))
    count = draw(st.integers(2, 4) if tasks is None else sizes(tasks))
    singular = draw(st.booleans()) if singular is None else singular
    weighted = draw(st.booleans()) if weighted is None else weighted
    positive = draw(shrinking_to(d_in_ - 1, 0, d_in_ - 1)) if singular else d_in_
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
    return draw(delivered(st.builds(moments_with_spectrum, **made, seed=seeds()), xp))


def parameters(
    *,
    d_out: Sizes,
    d_in: Sizes,
    rank: Sizes,
    tasks: int | None,
    base: bool = True,
    symmetric: bool | None = None,
    scale: float = 1.0,
    xp: ModuleType | None = None,
) -> SearchStrategy[Parameters]:
    """Draw parameters, say to start from; see `point`. Symmetric adapters where `symmetric`, either for
    None.
    """
    either = st.booleans() if symmetric is None else st.just(symmetric)
    fixed = {"tasks": st.just(tasks), "base": st.just(base), "scale": st.just(scale)}
    shape = {"d_out": sizes(d_out), "d_in": sizes(d_in), "rank": sizes(rank)}
    return delivered(st.builds(point, **shape, **fixed, symmetric=either, seed=seeds()), xp)
