"""Check a conjecture of one's own on drawn structures.

Conjecture: from the average of the tasks a new task needs rank k(T+1), whatever the tasks. It holds for independent
tasks (SR-2); Hypothesis finds the smallest structure for which it fails, decided over the rational numbers.

    python examples/conjecture.py
"""

from __future__ import annotations

from hypothesis import find, settings
from hypothesis.errors import NoSuchExample

from loraml_theory.exact import RationalTruth, rank, standard_retraining
from loraml_theory.structure import GroundTruth
from loraml_theory.testing import ground_truths

REPRODUCIBLE = settings(derandomize=True, database=None, max_examples=300, deadline=None)


def fails(truth: GroundTruth) -> bool:
    """Return whether the rank over Q is another one than conjectured."""
    exactly = RationalTruth.of(truth)
    residual = exactly.W_test - standard_retraining(exactly.W_retraining)
    return bool(rank(residual) != min(truth.d, truth.k * (truth.T + 1)))


def main() -> None:
    """Search among independent structures, then among all."""
    try:
        find(ground_truths(exact=True, independent=True), fails, settings=REPRODUCIBLE)
    except NoSuchExample:
        print("independent tasks: no counterexample in 300 structures")
    found = find(ground_truths(exact=True), fails, settings=REPRODUCIBLE)
    print(f"any tasks: fails at d = {found.d}, k = {found.k}, T = {found.T}, with the factors")
    print(found.U_star[..., 0])


if __name__ == "__main__":
    main()
