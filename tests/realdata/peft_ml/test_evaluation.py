from __future__ import annotations

import pytest
import torch
from torch import nn

from realdata.peft_ml.evaluation import Evaluation, by_example, evaluating
from realdata.peft_ml.optimisation import usable_accelerator
from tests.realdata.peft_ml import toy


def evaluation(batch_size: int) -> Evaluation:
    return Evaluation(toy.TwoClasses(), usable_accelerator(None), batch_size)


@pytest.mark.parametrize("batch_size", [1, 7, 60, 100])
def test_scores_and_losses_do_not_depend_on_the_batch_size(batch_size: int) -> None:
    model, examples = toy.perceptron(), toy.task("a").test
    assert isinstance(examples, toy.Points)
    with evaluating(model):
        outputs = model(examples.x)
        scores = evaluation(batch_size).scores(model, examples)
        loss = evaluation(batch_size).loss(model, examples)
    assert scores.dtype == torch.float64
    assert torch.equal(scores[:, 0], (outputs.argmax(1) == examples.y).double())
    assert loss == pytest.approx(nn.functional.cross_entropy(outputs, examples.y).item())
    assert evaluation(batch_size).means(model.eval(), examples) == {"accuracy": scores.mean().item()}


def test_evaluates_without_dropout_gradients_or_augmentation() -> None:
    model, task = toy.perceptron(dropout=0.5), toy.task("a", noise=5.0)
    with evaluating(model):
        first = evaluation(16).scores(model, task.train)
        assert torch.equal(evaluation(16).scores(model, task.train), first)
        assert not model(torch.ones(1, toy.DIMENSION)).requires_grad
    assert model.training


def test_each_modules_mode_comes_back() -> None:
    model = toy.perceptron(normed=True)
    model.norm.eval()

    def fail() -> None:
        with evaluating(model):
            assert not any(module.training for module in model.modules())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [name for name, module in model.named_modules() if not module.training] == ["norm"]


def test_correct_answers_are_a_text_and_other_scores_numbers() -> None:
    assert by_example(torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64)) == "1001"
    assert by_example(torch.tensor([1.0, 0.5])) == (1.0, 0.5)
