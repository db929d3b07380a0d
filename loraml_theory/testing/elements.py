"""Strategies for orthogonal matrices and for elements of the indefinite orthogonal group."""

from __future__ import annotations

from types import ModuleType

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from loraml_theory.constructions import Floats, boost_with, orthogonal_matrix
from loraml_theory.testing.choices import Sizes, delivered, seeds, sizes


def orthogonals(k: Sizes, *, xp: ModuleType | None = None) -> SearchStrategy[Floats]:
    """Draw orthogonal matrices, ``(k, k)``, which shrink to the identity."""
    return delivered(st.builds(orthogonal_matrix, sizes(k), seed=seeds()), xp)


def boosts(
    k: int, *, smallest: float = 0.0, largest: float = 2.0, xp: ModuleType | None = None
) -> SearchStrategy[Floats]:
    """Draw elements of O(k, k) with rapidities in ``[smallest, largest]``, which shrink to `smallest`."""
    made = st.builds(boost_with, st.tuples(*[st.floats(smallest, largest)] * k), seed=seeds())
    return delivered(made, xp)
