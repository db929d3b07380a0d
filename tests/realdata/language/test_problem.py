from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from realdata.language.problem import CandidateProblem, chance_level
from realdata.language.settings import Head
from realdata.peft_ml.data import Batch

HEADS: tuple[Head, ...] = get_args(Head)


def outputs_of(head: Head, scores: Tensor) -> Tensor:
    """Return outputs ``(turns * candidates, labels)`` whose candidate scores are `scores`, ``(turns, candidates)``."""
    flat = scores.reshape(-1, 1)
    if head == "one-score":
        return flat
    first = torch.linspace(-9, 9, len(flat), dtype=flat.dtype).round()[:, None]  # a logit alone says nothing
    return torch.cat([first, first + flat], dim=1)


def test_loss_of_two_labels_is_the_mean_over_pairs() -> None:
    logits = torch.tensor([[1.0, 2.0], [0.5, -1.0], [0.0, 3.0], [2.0, 2.0]])
    losses = CandidateProblem("two-label").losses(logits, torch.tensor([1, 0]))
    log_shares = torch.log_softmax(logits, dim=1)
    expected = [-(log_shares[0, 0] + log_shares[1, 1]) / 2, -(log_shares[2, 1] + log_shares[3, 0]) / 2]
    torch.testing.assert_close(losses, torch.stack(expected))


def test_loss_of_one_score_is_that_of_the_softmax_over_candidates() -> None:
    scores = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    losses = CandidateProblem("one-score").losses(scores.view(-1, 1), torch.tensor([1, 2]))
    expected = torch.tensor([np.log(1 + np.exp(-1.0) + np.exp(-2.0)), np.log(3.0)], dtype=torch.float32)
    torch.testing.assert_close(losses, expected)


@pytest.mark.parametrize("head", HEADS)
@given(seed=st.integers(0, 2**32), turns=st.integers(1, 5), candidates=st.integers(2, 20), levels=st.integers(1, 30))
def test_scores_are_those_of_a_sorted_list(head: Head, seed: int, turns: int, candidates: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(levels, size=(turns, candidates)).astype(float)
    targets = rng.integers(candidates, size=turns)
    found = CandidateProblem(head).scores(outputs_of(head, torch.tensor(scores)), torch.tensor(targets))
    for row, target, (accuracy, reciprocal_rank) in zip(scores, targets, found.tolist(), strict=True):
        ranked = sorted(range(candidates), key=lambda place: (-row[place], place))
        assert reciprocal_rank == pytest.approx(1 / (ranked.index(target) + 1))
        assert accuracy == (ranked[0] == target)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("value", [0.0, -3.5, torch.nan, torch.inf, -torch.inf])
def test_a_constant_model_is_at_chance_level(head: Head, value: float) -> None:
    targets = torch.arange(20)  # every place once, as the places are drawn uniformly
    outputs = torch.full((400, 1 if head == "one-score" else 2), value)
    means = CandidateProblem(head).scores(outputs, targets).mean(dim=0)
    assert means.tolist() == pytest.approx(chance_level(20))


@pytest.mark.parametrize("head", HEADS)
def test_what_is_not_a_number_is_never_preferred(head: Head) -> None:
    problem = CandidateProblem(head)
    scores = torch.tensor([[torch.nan, 0.0, 1.0], [torch.nan, 0.0, -1.0]])
    assert problem.ranks(outputs_of(head, scores), torch.tensor([0, 1])).tolist() == [3, 1]


def test_chance_level_is_the_mean_over_ranks() -> None:
    assert chance_level(1) == (1, 1)
    assert chance_level(4) == pytest.approx((1 / 4, (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("shape", [(4, 3), (5, 0), (4,)])
def test_refused_outputs(head: Head, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"outputs: got shape .* for 2 turns; expected"):
        CandidateProblem(head).losses(torch.zeros(shape), torch.zeros(2, dtype=torch.int64))


def batch(rows: int, width: int, targets: list[int]) -> Batch:
    ids = torch.arange(1, rows * width + 1).view(rows, width)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.ones_like(ids)}
    return Batch(inputs, torch.tensor(targets))


def test_joined_rows_are_filled_up() -> None:
    joined = CandidateProblem("two-label", padding=(7, 3)).join([batch(2, 2, [0]), batch(4, 3, [1, 0])])
    assert isinstance(joined.inputs, dict)
    assert joined.targets.tolist() == [0, 1, 0]
    assert joined.inputs["input_ids"].tolist()[:3] == [[1, 2, 7], [3, 4, 7], [1, 2, 3]]
    assert joined.inputs["token_type_ids"].tolist()[:3] == [[1, 1, 3], [1, 1, 3], [1, 1, 1]]
    assert joined.inputs["attention_mask"].tolist()[:3] == [[1, 1, 0], [1, 1, 0], [1, 1, 1]]


def test_features_are_joined() -> None:
    parts = [Batch(torch.full((2 * turns, 3), float(turns)), torch.zeros(turns)) for turns in (1, 2)]
    joined = CandidateProblem("one-score").join(parts)
    assert isinstance(joined.inputs, Tensor)
    assert joined.inputs[:, 0].tolist() == [1, 1, 2, 2, 2, 2]


def test_turns_with_different_numbers_of_candidates_are_not_joined() -> None:
    with pytest.raises(
        ValueError, match=r"batches: got \(rows, turns\) \[\(2, 1\), \(3, 1\)\]; expected one number of"
    ):
        CandidateProblem("two-label").join([batch(2, 2, [0]), batch(3, 2, [0])])
