"""The parts of all strategies: sizes, seeds, spectra, and the array library of the result."""

from __future__ import annotations

from functools import singledispatch
from types import ModuleType
from typing import Any, TypeAlias, TypeVar, get_args

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from loraml_theory.adapters import Parameters
from loraml_theory.constructions import SpectrumShape, spectrum_of
from loraml_theory.moments import Moments
from loraml_theory.structure import GroundTruth

Sizes: TypeAlias = int | SearchStrategy[int]
Made = TypeVar("Made")


def seeds() -> SearchStrategy[int]:
    """Draw seeds, which shrink to 0."""
    return st.integers(0, 2**16)


def spectra(length: int, *, conditioning: float = 10.0) -> SearchStrategy[tuple[float, ...]]:
    """Draw `length` singular values from `conditioning` down to 1, see `spectrum_of`; they shrink to ones.

    It makes two choices for any length, which Hypothesis shrinks better than one choice per value.
    """
    return st.builds(
        spectrum_of, st.just(length), st.floats(1.0, conditioning), st.sampled_from(get_args(SpectrumShape))
    )


def sizes(size: Sizes) -> SearchStrategy[int]:
    """Return a strategy for a size; a strategy is returned as it is."""
    return st.just(size) if isinstance(size, int) else size


def shrinking_to(value: int, low: int, high: int) -> SearchStrategy[int]:
    """Draw integers in ``low..high`` that shrink to `value`."""
    order = sorted(range(low, high + 1), key=lambda i: abs(i - value))
    # one choice even where a single value is possible: Hypothesis prefers examples of fewer choices
    return st.integers(0, 11).map(lambda i: order[i % len(order)])


@singledispatch
def in_namespace(made: Any, *, xp: ModuleType) -> Any:  # noqa: ARG001
    """Return an array, a truth, moments or parameters with the same numbers as arrays of another library.

    Parameters
    ----------
    made
        An object of NumPy arrays.
    xp
        A namespace of the array API: ``torch``, ``array_api_strict``, ``cupy``, ...

    Raises
    ------
    TypeError
        If it is none of these.

    Examples
    --------
    >>> in_namespace(np.eye(2), xp=np).dtype
    dtype('float64')
    """
    raise TypeError(f"made: got {type(made).__name__}, expected an array, a GroundTruth, Moments or Parameters")


@in_namespace.register
def _(made: np.ndarray, *, xp: ModuleType) -> Any:
    return xp.asarray(made.copy())  # a drawn array may be a read-only view, about which torch warns


@in_namespace.register
def _(made: GroundTruth, *, xp: ModuleType) -> GroundTruth:
    return GroundTruth(in_namespace(made.A_star, xp=xp), in_namespace(made.U_star, xp=xp))


@in_namespace.register
def _(made: Moments, *, xp: ModuleType) -> Moments:
    S, W, noise = (in_namespace(np.asarray(part), xp=xp) for part in (made.S, made.W, made.noise))
    return Moments(S, W, noise, made.n)


@in_namespace.register
def _(made: Parameters, *, xp: ModuleType) -> Parameters:
    return Parameters(*(None if part is None else in_namespace(part, xp=xp) for part in made))


def delivered(strategy: SearchStrategy[Made], xp: ModuleType | None) -> SearchStrategy[Made]:
    """Return a strategy for the same in the array library `xp`; NumPy where it is None."""
    return strategy if xp is None else st.builds(in_namespace, strategy, xp=st.just(xp))
