"""The checker at its edges: each step of the proof alone refuses a forgery, and without it the forgery is accepted."""

from __future__ import annotations

import ast
import inspect
from fractions import Fraction
from functools import cache

import pytest

from loraml_theory.certified import check
from loraml_theory.certified.check import Content, InvalidError
from loraml_theory.certified.forgeries import Forgery, forgeries, value_at_centre
from tests.loraml_theory.certified import points

OF_K = {1: "d3-k1-T3", 2: "d6-k2-T3"}
IMPLIED = {
    "curvature: the lower bound is not positive",  # no Hessian of positive slack exceeds one that is not
    "gauge_rows: task {t} names a row twice",  # below, and of k >= 3 alone
    "point: task {t}, row {row}, the pivot may be 0",  # below; the step of the Hessian implies it
}


@cache
def made(k: int) -> list[Forgery]:
    return list(forgeries(points.document(OF_K[k])))


CASES = [(k, i) for k in OF_K for i in range(6 + k)]


def test_every_step_has_a_forgery() -> None:
    """The steps are the texts of `_require` in the checker."""
    tree = ast.parse(inspect.getsource(check))
    calls = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_require"
    ]
    texts = {ast.unparse(call.args[1]).removeprefix("f").strip("'\"") for call in calls}
    forged = {text for text in texts if any(same(forgery.step, text) for forgery in made(2))}
    assert len(texts) == 10
    assert texts - forged == IMPLIED


def same(step: str, text: str) -> bool:
    return text.replace("{t}", "0").startswith(step) or ("row {row} is" in text and "is not 0" in step)


@pytest.mark.parametrize(("k", "at"), CASES)
def test_a_step_alone_refuses_its_forgery(k: int, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(made(k)) == 6 + k
    step, document = made(k)[at]
    with pytest.raises(InvalidError) as caught:
        check.verify(document)
    assert str(caught.value).startswith(step)

    def without(holds: bool, failing: str) -> None:
        if not holds and not failing.startswith(step):
            raise InvalidError(failing)

    monkeypatch.setattr(check, "_require", without)
    check.verify(document)


@pytest.mark.parametrize("k", OF_K)
def test_the_value_at_the_centre_is_the_checker_s(k: int) -> None:
    document = points.document(OF_K[k])
    assert value_at_centre(document) == check._Scaled(check._read(document)).value()


@pytest.mark.parametrize(("pivot", "refused"), [("1/2", True), ("1", True), ("-1", True), ("101/100", False)])
def test_a_pivot_within_the_radius_of_zero_is_refused(pivot: str, refused: bool) -> None:
    """Any other step is content with it: the step of the Hessian would only refuse a radius of some size."""
    factor = [[Fraction(pivot), Fraction(0)], [Fraction(3), Fraction(2)]]
    content = Content(
        U_star=[factor, factor],
        U=[factor, factor],
        rows=[[0], [0]],
        radius=Fraction(1),
        curvature=Fraction(1),
        lower=Fraction(1),
        upper=Fraction(1),
    )
    if not refused:
        check._check_gauge(content)
        return
    with pytest.raises(InvalidError, match="task 0, row 0, the pivot may be 0"):
        check._check_gauge(content)


@pytest.mark.parametrize("lower", ["0", "-1e-3", "-1"])
def test_a_curvature_that_is_not_positive_is_refused_by_its_own_step(lower: str) -> None:
    document = {**points.document("d3-k1-T3"), "curvature": {"lower": lower}}
    with pytest.raises(InvalidError, match="curvature: the lower bound is not positive"):
        check.verify(document)
