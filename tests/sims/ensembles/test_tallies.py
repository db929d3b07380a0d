"""Ensembles in blocks, and the counts of what came of their structures."""

from __future__ import annotations

import numpy as np

from sims.ensembles.ensembles import Ensemble
from sims.ensembles.masks import Masks, Tally, count


def test_structures_do_not_depend_on_how_many_there_are() -> None:
    ensemble = Ensemble("generic", 4, 1, 3)
    first = ensemble.block(1, 0, purpose="one")
    again = ensemble.block(1, 0, purpose="other")
    assert np.array_equal(first.truth.U_star, again.truth.U_star)
    assert first.rng.random() != again.rng.random()
    assert not np.array_equal(first.truth.U_star, ensemble.block(0, 0, purpose="one").truth.U_star)


def test_of_the_masks_the_strongest_counts_and_the_first_failure_is_named() -> None:
    flags = np.eye(5, dtype=bool)
    found = Masks(flags[0] | flags[3], flags[1] | flags[2] | flags[3], flags[2] | flags[3], flags[3])
    assert count(found, first=10) == Tally(1, 1, 1, 1, 1, first_failure=14)
    both = Tally(1, 0, 0, 0, 0) + Tally(1, 2, 3, 4, 5, first_failure=7)
    assert both == Tally(2, 2, 3, 4, 5, first_failure=7)
    assert (both.judged, both.structures) == (4, 16)
