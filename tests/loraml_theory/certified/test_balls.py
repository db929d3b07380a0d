"""Balls contain what they stand for; Krawczyk and L D L^T prove what is so, and nothing else."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from flint import arb, ctx, fmpq
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory.certified.balls import Balls, above, balls, below, krawczyk, positive_definite, refine
from loraml_theory.exact import rationals


@given(st.fractions(-10, 10, max_denominator=1000), st.fractions(0, 1, max_denominator=1000))
def test_bounds_enclose_the_ball(centre: Fraction, radius: Fraction) -> None:
    q, r = fmpq(centre.numerator, centre.denominator), fmpq(radius.numerator, radius.denominator)
    ball = balls(rationals(np.array([centre], dtype=object)), r)[0]
    assert below(ball) <= q - r
    assert above(ball) >= q + r
    assert above(ball) - below(ball) <= 2 * r * fmpq(10**8 + 1, 10**8) + fmpq(1, 10**12)  # radii have 30 bits


def test_precision_is_left_as_it_was() -> None:
    before = ctx.prec
    with ctx.workprec(200):
        balls(rationals([1 / 3]))
    assert ctx.prec == before


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_what_is_proved_positive_definite_is(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    M = rng.integers(-3, 4, (n, n))
    H = M + M.T + rng.integers(0, 8) * np.eye(n, dtype=int)
    smallest = np.linalg.eigvalsh(H)[0]
    if positive_definite(balls(rationals(H))):
        assert smallest > -1e-12
    else:
        assert smallest < 1e-9
    if n < smallest:  # every symmetric matrix whose entries are within 1 of H is positive definite
        assert smallest > 0
    assert not positive_definite(balls(rationals(H), fmpq(int(max(smallest, 0)) + 1)))  # one of these is singular


def test_krawczyk_encloses_the_root_of_two() -> None:
    def function(x: Balls) -> Balls:
        return x * x - 2

    def derivative(x: Balls) -> Balls:
        return np.array([[2 * x[0]]], dtype=object)

    with ctx.workprec(128):
        centre = refine(function, derivative, rationals([1.5]), steps=6)
        K = krawczyk(function, derivative, centre, fmpq(1, 10**20))
        assert K is not None
        assert K[0].contains(arb(2).sqrt()) or K[0].overlaps(arb(2).sqrt())
        assert K[0].rad() < arb(10) ** -30


@pytest.mark.parametrize(
    ("shift", "radius"), [(0, fmpq(1, 10)), (1, fmpq(1, 10)), (-4, fmpq(1, 10))], ids=["double", "no root", "far"]
)
def test_krawczyk_proves_no_root_where_there_is_none_or_a_double_one(shift: int, radius: fmpq) -> None:
    def function(x: Balls) -> Balls:
        return x * x + shift

    def derivative(x: Balls) -> Balls:
        return np.array([[2 * x[0]]], dtype=object)

    for centre in (fmpq(0), fmpq(1, 100)):
        assert krawczyk(function, derivative, np.array([centre], dtype=object), radius) is None


def test_refining_at_a_singular_point_is_an_error() -> None:
    with pytest.raises(ZeroDivisionError):
        refine(lambda x: x * x, lambda x: np.array([[2 * x[0]]], dtype=object), rationals([0]), steps=1)
