"""Identities that prove ML-3 for all structures are found with three tasks, and not with two."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory.certified import certificate, check, check_theorem, identities, theorem
from loraml_theory.certified.identities import NoIdentityError, at_degree, find
from loraml_theory.certified.minors import Ideal, Minor, Product
from tests.loraml_theory.certified.test_check_theorem import document

SIZES = st.builds(Ideal, st.integers(1, 2), st.booleans())


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("k", [1, *(pytest.param(k, marks=pytest.mark.long) for k in (2, 3))])
def test_what_ships_is_found_again(k: int, symmetric: bool) -> None:
    made = theorem.document(ideal := Ideal(k, symmetric), find(ideal), {})
    shipped = document(f"ml-3-k{k}-{'symmetric' if symmetric else 'asymmetric'}")
    assert made["identities"] == shipped["identities"]
    proved = check_theorem.check(check.opened(certificate.dumps(made)))
    assert (proved.k, proved.adapters) == (k, made["adapters"])


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("k", [1, 2])
def test_two_tasks_have_no_identity(k: int, symmetric: bool) -> None:
    with pytest.raises(NoIdentityError, match=r"with two tasks all minors vanish where .* at any degree"):
        find(Ideal(k, symmetric, tasks=2))


def test_a_degree_that_is_too_low_is_no_proof_of_absence() -> None:
    """The diagonal at k = 2 needs degree 4."""
    with pytest.raises(NoIdentityError, match=r"X\[0, 0\] up to degree 3: one of a higher degree may exist"):
        find(Ideal(2, True), extra=0)


def test_averages_over_the_symmetries_are_identities_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "AVERAGED", 1)
    for symmetric in (True, False):
        made = theorem.document(ideal := Ideal(2, symmetric), find(ideal), {})
        assert check_theorem.check(check.opened(certificate.dumps(made))).k == 2


def test_the_point_of_two_tasks_is_no_zero_with_three() -> None:
    assert at_degree(Ideal(1, True), (0, 1), 2) is not None
    assert at_degree(Ideal(1, True, tasks=2), (0, 1), 4) is None


@given(SIZES, st.integers(0, 10**6))
def test_minors_are_determinants(ideal: Ideal, seed: int) -> None:
    """Both expansions, at a drawn matrix of small whole numbers."""
    rng = np.random.default_rng(seed)
    X = rng.integers(-3, 4, (ideal.n, ideal.n))
    X = X + X.T if ideal.symmetric else X
    rows, columns = sorted(np.sort(rng.permutation(ideal.n)[: ideal.k + 1]).tolist() for _ in range(2))
    task = int(rng.integers(3))
    E = np.diag((np.arange(ideal.n) // ideal.k == task).astype(int))
    expected = round(float(np.linalg.det((E - X)[np.ix_(rows, columns)])))
    for polynomial in (
        ideal.expanded(Minor(task, tuple(rows), tuple(columns))),
        check_theorem._Expansions(ideal.k, ideal.symmetric).determinant(task, tuple(rows), tuple(columns)),
    ):
        assert sum(c * int(np.prod([X[at] for at in monomial])) for monomial, c in polynomial.items()) == expected


@given(SIZES, st.integers(0, 10**6))
def test_relabelled_products_are_relabelled_polynomials(ideal: Ideal, seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = identities.entries(ideal.k)[0]
    symmetries = ideal.symmetries(target)
    products = ideal.products(target, ideal.k + 2)
    by, each = symmetries[rng.integers(len(symmetries))], products[rng.integers(len(products))]
    moved, factor = ideal.moved_product(each, by)
    expected = {ideal.moved(m, by): c for m, c in _polynomial(ideal, each).items()}
    assert {m: factor * c for m, c in _polynomial(ideal, moved).items()} == expected
    assert moved in products


def _polynomial(ideal: Ideal, product: Product) -> dict[tuple[tuple[int, int], ...], int]:
    return {tuple(sorted(m + product.monomial)): c for m, c in ideal.expanded(product.minor).items()}
