from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from realdata.language.encoding import pair_format
from realdata.language.examples import TurnExamples
from realdata.language.features import frozen_features, head_only
from realdata.language.problem import CandidateProblem
from tests.realdata.language.test_examples import drawn_turns
from tests.realdata.language.tiny import bert_tokenizer, roberta_tokenizer, tiny_bert, tiny_roberta


def turns_of(tokenizer: Any) -> TurnExamples:
    pairs = pair_format(tokenizer, max_length=40)
    return TurnExamples(drawn_turns(0, turns=20), tokenizer, pairs=pairs, training_candidates=3)


@pytest.fixture(params=["bert", "roberta"])
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, TurnExamples]:
    if request.param == "bert":
        return tiny_bert(bert_tokenizer(), dropout=0.1), turns_of(bert_tokenizer())
    return tiny_roberta(roberta_tokenizer()), turns_of(roberta_tokenizer())


def outputs(model: nn.Module, inputs: Any) -> Tensor:
    return model(inputs) if isinstance(inputs, Tensor) else model(**inputs).logits


@pytest.mark.parametrize("seed", [None, 5])
def test_the_head_makes_of_the_features_what_the_model_makes_of_the_turns(
    case: tuple[nn.Module, TurnExamples], seed: int | None
) -> None:
    model, turns = case
    features = frozen_features(model, turns, head="classifier", rows=16)
    assert len(features) == len(turns) == 20
    head = head_only(model, head="classifier")
    indices = np.array([3, 19, 0])
    of_turns, of_features = (
        one.batch(indices, None if seed is None else np.random.default_rng(seed)) for one in (turns, features)
    )
    assert of_features.targets.tolist() == of_turns.targets.tolist()
    torch.testing.assert_close(outputs(head, of_features.inputs), outputs(model, of_turns.inputs), rtol=1e-4, atol=1e-5)


def test_training_a_head_on_features_is_training_it_in_the_model() -> None:
    model, turns = tiny_bert(bert_tokenizer()), turns_of(bert_tokenizer())
    features, head = frozen_features(model, turns, head="classifier", rows=16), head_only(model, head="classifier")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    last: Any = model.get_submodule("classifier").requires_grad_(True)
    problem = CandidateProblem("two-label")
    for trained, examples in ((model, turns), (head, features)):
        optimizer = torch.optim.SGD([p for p in trained.parameters() if p.requires_grad], lr=0.5)
        rng = np.random.default_rng(1)
        for _ in range(5):
            batch = examples.batch(rng.permutation(20)[:8], rng)
            loss = problem.losses(outputs(trained, batch.inputs), batch.targets).mean()
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
    torch.testing.assert_close(head.get_parameter("classifier.weight"), last.weight, rtol=1e-4, atol=1e-6)


def test_the_model_is_left_as_it_was() -> None:
    model, turns = tiny_bert(bert_tokenizer(), dropout=0.5).train(), turns_of(bert_tokenizer())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, second = (frozen_features(model, turns, head="classifier", rows=16).features for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert all(module.training for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_refused_heads() -> None:
    model, turns = tiny_bert(bert_tokenizer()), turns_of(bert_tokenizer())
    with pytest.raises(ValueError, match="head: the model has no module 'score'; expected the name of its last layer"):
        frozen_features(model, turns, head="score", rows=16)
    with pytest.raises(
        ValueError, match=r"head: 'bert\.pooler' does not reproduce the model's outputs from its kept input"
    ):
        frozen_features(model, turns, head="bert.pooler", rows=16)
    with pytest.raises(ValueError, match=r"head: got 'bert\.pooler'; expected a module of the model itself"):
        head_only(model, head="bert.pooler")
    with pytest.raises(ValueError, match="head: the model has no module ''"):
        head_only(model, head="")
