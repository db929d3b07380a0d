"""Cross-entropy and accuracy."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from realdata.peft_ml.data import Batch, Problem
from realdata.vision.problem import Classification

PROBLEM: Problem = Classification()
LOGITS = torch.tensor([[0.0, 0.0], [2.0, -1.0], [2.0, -1.0], [-50.0, 50.0]])
TARGETS = torch.tensor([0, 0, 1, 1])


def test_cross_entropy_of_each_example() -> None:
    expected = [math.log(2), math.log1p(math.exp(-3)), math.log1p(math.exp(3)), 0.0]
    torch.testing.assert_close(PROBLEM.losses(LOGITS, TARGETS), torch.tensor(expected))


def test_losses_are_of_single_precision_in_mixed_precision() -> None:
    assert PROBLEM.losses(LOGITS.bfloat16(), TARGETS).dtype == torch.float32


def test_accuracy_of_each_example() -> None:
    assert PROBLEM.score_names == ("accuracy",)
    assert PROBLEM.scores(LOGITS, TARGETS).tolist() == [[1.0], [1.0], [0.0], [1.0]]


@pytest.mark.parametrize("row", [[math.nan, 0.0], [0.0, math.nan], [math.nan, math.nan], [math.inf, 0.0]])
def test_a_diverged_model_is_never_right(row: list[float]) -> None:
    for target in (0, 1):
        assert PROBLEM.scores(torch.tensor([row]), torch.tensor([target])).tolist() == [[0.0]]


def test_batches_are_joined_in_order() -> None:
    parts = [torch.arange(24.0).reshape(2, 3, 2, 2), torch.ones(1, 3, 2, 2)]
    inputs, targets = PROBLEM.join([Batch(parts[0], torch.tensor([0, 1])), Batch(parts[1], torch.tensor([1]))])
    assert isinstance(inputs, Tensor)
    torch.testing.assert_close(inputs, torch.cat(parts))
    assert targets.tolist() == [0, 1, 1]


def test_inputs_are_tensors() -> None:
    with pytest.raises(TypeError, match="inputs: got dict, expected a tensor of images"):
        PROBLEM.join([Batch({"pixels": torch.ones(1)}, torch.tensor([0]))])
