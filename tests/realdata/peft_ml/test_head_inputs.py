"""What a head is given is kept while the rest is frozen, and only where that changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from realdata.peft_ml import head_inputs
from realdata.peft_ml.data import Batch
from realdata.peft_ml.evaluation import Evaluation
from realdata.peft_ml.head_inputs import FrozenBody
from realdata.peft_ml.optimisation import usable_accelerator
from realdata.vision.problem import Classification


class Counted(nn.Module):
    """A body that counts how often it is called, and a head; the outputs are the head's times a factor."""

    def __init__(self, *, factor: float = 1.0, buffer: bool = False) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 2)
        self.factor, self.calls = factor, 0
        if buffer:
            self.register_buffer("running", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        scores: Tensor = self.head(self.body(x)) * self.factor
        return scores


class Rows:
    """Rows of normal numbers; the label of a row is whether its first number is positive."""

    def __init__(self, rows: int) -> None:
        self.x = torch.randn(rows, 3, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, indices: NDArray[np.int64], rng: np.random.Generator | None = None) -> Batch:  # noqa: ARG002
        return Batch(self.x[indices], (self.x[indices, 0] > 0).long())


def evaluated_twice(model: Counted) -> tuple[Tensor, Tensor, int]:
    """Evaluate, change the head, evaluate again; return both scores, the second as they should be, and body calls."""
    evaluation = Evaluation(Classification(), usable_accelerator(None), batch_size=8)
    body, examples = FrozenBody(model, model.head, evaluation), Rows(20)
    with torch.no_grad():
        body.scores(model, examples)
        model.head.weight.neg_()
        before = model.calls
        again = body.scores(model, examples)
        calls = model.calls - before
        return again, evaluation.scores(model, examples), calls


def test_the_body_is_computed_once() -> None:
    again, expected, calls = evaluated_twice(Counted())
    assert calls == 0
    assert torch.equal(again, expected)


@pytest.mark.parametrize("model", [Counted(factor=-2.0), Counted(buffer=True)], ids=["not the head's", "buffers"])
def test_where_that_is_not_the_same_everything_is_computed_each_time(model: Counted) -> None:
    again, expected, calls = evaluated_twice(model)
    assert calls == 3
    assert torch.equal(again, expected)


def test_no_more_is_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_inputs, "MOST_NUMBERS", 79)  # 20 rows of 4
    again, expected, calls = evaluated_twice(Counted())
    assert calls == 3
    assert torch.equal(again, expected)


class Candidates(Rows):
    """Rows in pairs, of which the first is the right one."""

    def __len__(self) -> int:
        return len(self.x) // 2

    def batch(self, indices: NDArray[np.int64], rng: np.random.Generator | None = None) -> Batch:  # noqa: ARG002
        rows = np.stack([2 * indices, 2 * indices + 1], axis=1).ravel()
        return Batch(self.x[rows], torch.zeros(len(indices), dtype=torch.long))


class Choice(Classification):
    """The judge of pairs, by the first of a row's two scores."""

    def scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().scores(outputs[:, 0].view(len(targets), 2), targets)


def test_several_rows_of_the_head_for_an_example_are_computed_each_time() -> None:
    model, examples = Counted(), Candidates(20)
    evaluation = Evaluation(Choice(), usable_accelerator(None), batch_size=8)
    body = FrozenBody(model, model.head, evaluation)
    with torch.no_grad():
        body.scores(model, examples)
        model.head.weight.neg_()
        assert torch.equal(body.scores(model, examples), evaluation.scores(model, examples))
