r"""Hypothesis strategies for tests about the linear model: instances that meet, and that violate, each
assumption, for NumPy and, with ``xp=``, for any other array library.

An instance is drawn as a few small numbers (sizes, a seed, singular values) and then constructed, never
filtered from raw arrays. Seed 0 stands for the simplest instance of its kind (unit vectors, the identity) and
all spectra shrink to ones, so a failing example is reported as a short call of a public constructor of
`loraml_theory.constructions` that can be pasted into a test, such as
``truth_with_spectrum(d=4, k=1, T=3, seed=0, spectrum=(1.0, 1.0, 1.0, 1.0))``.

Needs Hypothesis (``pip install '.[testing]'`` in a clone); nothing else in the package imports this module.
docs/testing.md shows how to test a retraining method against the theory, and how to find a counterexample.

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

from loraml_theory.constructions import (
    boost_with,
    integer_truth,
    moments_with_spectrum,
    orthogonal_matrix,
    point,
    spectrum_of,
    truth_with_spectrum,
    with_test_task,
)
from loraml_theory.testing.choices import in_namespace, seeds, spectra
from loraml_theory.testing.data import moments, parameters
from loraml_theory.testing.elements import boosts, orthogonals
from loraml_theory.testing.truths import Assumption, ground_truths, structures_violating, test_tasks

__all__ = [
    "Assumption",
    "boost_with",
    "boosts",
    "ground_truths",
    "in_namespace",
    "integer_truth",
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
    "test_tasks",
    "truth_with_spectrum",
    "with_test_task",
]
