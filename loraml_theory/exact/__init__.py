r"""The model over the rational numbers: ranks, inertia, closed forms and derivatives without a tolerance anywhere.

Every float64 is a rational number, so a structure in floating point is one over Q as well; what is computed here
is true of exactly that structure. Arrays are NumPy arrays of rationals (python-flint's `fmpq`), so that a formula
reads as it does in floating point: `RationalTruth` has the attributes of `GroundTruth`.

Needs python-flint (the extra ``exact``); nothing else in the package imports this one.

Examples
--------
>>> import numpy as np
>>> from loraml_theory import zoo
>>> from loraml_theory.exact import RationalTruth, inertia, recover, standard_retraining
>>> truth = RationalTruth.of(zoo.integer(np.random.default_rng(0), d=10, k=2, T=3))
>>> inertia(truth.W_test - standard_retraining(truth.W_retraining))  # k and kT, exactly
Inertia(positive=2, negative=6)
>>> bool((recover(truth.W_retraining, truth.k) == truth.A_star).all())
True
"""

from __future__ import annotations

try:
    import flint as _flint  # noqa: F401 - what everything here needs; without it, say so once
except ModuleNotFoundError as problem:
    raise ModuleNotFoundError(
        "exact arithmetic needs python-flint: pip install '.[exact]' in a clone of loraml-theory", name="flint"
    ) from problem

from loraml_theory.exact.closed_forms import (
    boost,
    orthogonal,
    pins_base,
    recover,
    standard_retraining,
    two_task_orbit,
)
from loraml_theory.exact.rational import Rationals, RationalTruth, rationals
from loraml_theory.exact.reduced import gradient, hessian, value
from loraml_theory.exact.spaces import Inertia, column_space, inertia, intersection, kernel, non_zero, rank

__all__ = [
    "Inertia",
    "RationalTruth",
    "Rationals",
    "boost",
    "column_space",
    "gradient",
    "hessian",
    "inertia",
    "intersection",
    "kernel",
    "non_zero",
    "orthogonal",
    "pins_base",
    "rank",
    "rationals",
    "recover",
    "standard_retraining",
    "two_task_orbit",
    "value",
]
