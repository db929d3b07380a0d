from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from realdata.language.buckets import evaluation_order, forward_by_length, training_order, training_orders
from tests.realdata.language.tiny import bert_tokenizer, tiny_bert

LENGTHS = st.lists(st.integers(1, 60), max_size=80).map(lambda lengths: np.array(lengths, dtype=np.int64))


def padded(lengths: np.ndarray, order: np.ndarray, batch_size: int) -> int:
    """Return the tokens of all batches, each filled up to its longest row."""
    batches = [lengths[order[start : start + batch_size]] for start in range(0, len(order), batch_size)]
    return sum(int(batch.max()) * len(batch) for batch in batches)


@given(LENGTHS)
def test_evaluation_goes_from_long_to_short(lengths: np.ndarray) -> None:
    order = evaluation_order(lengths)
    assert sorted(order) == list(range(len(lengths)))
    assert lengths[order].tolist() == sorted(lengths.tolist(), reverse=True)
    results = np.empty_like(lengths)
    results[order] = lengths[order]
    assert results.tolist() == lengths.tolist()


@given(lengths=LENGTHS, batch_size=st.integers(1, 9), pool=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_training_takes_every_example_once(lengths: np.ndarray, batch_size: int, pool: int, seed: int) -> None:
    order = training_order(np.random.default_rng(seed), lengths, batch_size=batch_size, pool=pool)
    assert sorted(order) == list(range(len(lengths)))
    assert (order == training_order(np.random.default_rng(seed), lengths, batch_size=batch_size, pool=pool)).all()


def test_training_batches_have_similar_lengths_in_a_random_order() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 64, size=400)
    orders = [training_order(rng, lengths, batch_size=8) for _ in range(2)]
    assert (orders[0] != orders[1]).any()
    excess = [padded(lengths, order, 8) / lengths.sum() - 1 for order in (*orders, rng.permutation(400))]
    assert max(excess[:2]) < 0.1
    assert excess[2] > 0.5
    firsts = [
        int(lengths[order[:8]].mean()) for order in (training_order(rng, lengths, batch_size=8) for _ in range(9))
    ]
    assert max(firsts) - min(firsts) > 15  # a sorted order would begin with the same lengths every time


def test_every_example_can_come_in_every_batch() -> None:
    rng = np.random.default_rng(1)
    lengths = np.arange(12)
    seen = np.zeros((6, 12), dtype=int)  # batch, example
    for _ in range(600):
        for number, batch in enumerate(training_order(rng, lengths, batch_size=2, pool=2).reshape(6, 2)):
            seen[number, batch] += 1
    assert abs(seen - 100).max() < 50  # standard deviation 9


def test_batches_of_several_sets_have_similar_lengths_at_the_same_step() -> None:
    rng = np.random.default_rng(2)
    lengths = [rng.integers(5, 64, size=count) for count in (64, 64, 40)]
    orders = training_orders(rng, lengths, batch_size=4, pool=100)
    assert [sorted(order) for order in orders] == [list(range(64)), list(range(64)), list(range(40))]
    means = [own[order].reshape(-1, 4).mean(axis=1) for own, order in zip(lengths, orders, strict=True)]
    assert np.corrcoef(means[0], means[1])[0, 1] > 0.95
    assert abs(np.corrcoef(means[0], np.arange(16))[0, 1]) < 0.9  # and the steps are not sorted


@pytest.mark.parametrize(("batch_size", "pool"), [(0, 1), (1, 0)])
def test_refused_sizes(batch_size: int, pool: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size, pool: got {batch_size}, {pool}; expected at least 1"):
        training_order(np.random.default_rng(0), np.ones(3, dtype=np.int64), batch_size=batch_size, pool=pool)


def drawn_inputs(lengths: list[int]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(4, 11, mask.shape, generator=generator) * mask
    return {"input_ids": ids, "token_type_ids": torch.zeros_like(ids), "attention_mask": mask}


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_outputs_and_gradients_by_length_are_those_of_one_pass(rows: int) -> None:
    model = tiny_bert(bert_tokenizer())
    inputs = drawn_inputs([30, 4, 17, 4, 29, 9, 31])
    weights = torch.linspace(-1, 1, 14).view(7, 2)
    shapes = []

    def forward(part: Mapping[str, Tensor], chosen: Tensor) -> Tensor:
        shapes.append(tuple(part["input_ids"].shape))
        assert torch.equal(part["input_ids"], inputs["input_ids"][chosen, : part["input_ids"].shape[1]])
        return model(**part).logits

    results = []
    for outputs in (model(**inputs).logits, forward_by_length(forward, inputs, rows=rows)):
        model.zero_grad()
        (outputs * weights).sum().backward()
        gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
        results.append((outputs.detach(), gradients))
    (whole, whole_gradients), (parts, part_gradients) = results
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(part_gradients, whole_gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
    expected = {1: [(1, width) for width in (31, 30, 29, 17, 9, 4, 4)], 3: [(3, 31), (3, 17), (1, 4)], 100: [(7, 31)]}
    assert shapes == expected[rows]


def test_by_length_needs_the_lengths() -> None:
    with pytest.raises(
        ValueError, match=r"rows: got 2 of inputs \['input_ids'\]; expected at least 1, and an attention"
    ):
        forward_by_length(lambda part, _: part["input_ids"], {"input_ids": torch.zeros(2, 2)}, rows=2)
