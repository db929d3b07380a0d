from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from loraml_theory.continual.scores import average_accuracy, backward_transfer, forgetting, forward_transfer
from tests.loraml_theory.conftest import Backend

# rows: before anything, then after tasks 1, 2, 3; columns: tasks 1, 2, 3
MATRIX = np.array([[0.10, 0.20, 0.30], [0.50, 0.25, 0.36], [0.70, 0.80, 0.40], [0.60, 0.65, 0.90]])


def scores(a: Any) -> list[Any]:
    return [
        average_accuracy(a),
        average_accuracy(a, sizes=(100, 100, 200)),
        forgetting(a),
        backward_transfer(a),
        forward_transfer(a),
    ]


def test_scores_of_a_small_matrix_by_hand() -> None:
    macro, micro, forgot, backward, forward = scores(MATRIX)
    assert float(macro) == pytest.approx(2.15 / 3)
    assert float(micro) == pytest.approx((0.60 + 0.65 + 2 * 0.90) / 4)
    assert forgot == pytest.approx([0.70 - 0.60, 0.80 - 0.65])
    assert float(backward) == pytest.approx((0.10 - 0.15) / 2)
    assert float(forward) == pytest.approx((0.05 + 0.10) / 2)


def test_the_plain_model_is_not_forgotten() -> None:
    a = np.array([[0.9, 0.0], [0.5, 0.0], [0.4, 1.0]])
    assert forgetting(a) == pytest.approx([0.1])


def test_scores_of_a_batch_are_those_of_its_elements() -> None:
    batch = np.stack([MATRIX, MATRIX[::-1].copy()])
    for whole, *each in zip(scores(batch), *(scores(a) for a in batch), strict=True):
        assert np.array_equal(whole, np.stack(each))


@pytest.mark.libraries
def test_every_library_gives_the_same(backend: Backend) -> None:
    for ours, theirs in zip(scores(MATRIX), scores(backend.put(MATRIX)), strict=True):
        assert backend.get(theirs) == pytest.approx(ours, abs=1e-15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: average_accuracy(MATRIX[1:]), "a: got shape (3, 3), expected (..., T + 1, T) with T >= 1"),
        (lambda: average_accuracy(MATRIX, sizes=(1, 2)), "sizes: got (1, 2), expected 3 positive numbers"),
        (lambda: average_accuracy(MATRIX, sizes=(1, 2, 0)), "sizes: got (1, 2, 0), expected 3 positive numbers"),
        (lambda: forgetting(MATRIX[:2, :1]), "a: got shape (2, 1), expected (..., T + 1, T) with T >= 2"),
        (lambda: backward_transfer(MATRIX[0]), "a: got shape (3,), expected"),
        (lambda: forward_transfer(MATRIX[:2, :1]), "with T >= 2"),
    ],
)
def test_what_is_no_such_matrix_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        call()
    assert message in str(caught.value)
