from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from realdata.peft_ml.budget import Count
from realdata.peft_ml.epochs import DivergedError
from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.trained import UntrainedError
from tests.realdata.peft_ml import toy
from tests.realdata.peft_ml.runs import FINETUNES, fine_tuned, retrained, same, same_fine_tuned, tensors
from tests.realdata.peft_ml.small_models import Convolution


def accuracy(model: Any, task: Any) -> float:
    inputs = (task.test.x, task.name) if isinstance(model, MetaPeftModel) else (task.test.x,)
    with torch.no_grad():
        return float((model.eval()(*inputs).argmax(1) == task.test.y).double().mean())


@pytest.mark.parametrize("finetune", FINETUNES)
def test_every_kind_learns(finetune: str) -> None:
    """0.75 of 200 is 7 standard deviations above chance."""
    found = fine_tuned(finetune, toy.task("z", other=200), changes={"epochs": 12})
    assert found.last["accuracy"] > 0.75
    assert found.curve["train_loss"][-1] < found.curve["train_loss"][0]


@pytest.mark.parametrize("finetune", FINETUNES)
@pytest.mark.parametrize(("size", "steps"), [(64, 3), (10, 1), (48, 2)])
def test_the_budget_is_every_example_once_an_epoch(finetune: str, size: int, steps: int) -> None:
    found = fine_tuned(finetune, toy.task("z", train=size))
    assert found.spent == Count(4 * steps, 4 * size)


def test_fresh_lora_starts_at_the_base_itself() -> None:
    base = retrained("standard").base
    task = toy.task("z")
    found = fine_tuned("lora", task, base=base)
    assert found.before == {"accuracy": accuracy(base, task)}
    assert found.curve["test_accuracy"][0] == found.before["accuracy"]


@pytest.mark.parametrize("finetune", FINETUNES)
def test_trains_what_it_says_and_nothing_else(finetune: str) -> None:
    base = toy.perceptron()
    before = tensors(base)
    found = fine_tuned(finetune, base=base)
    assert same(base, before)
    if finetune == "full":
        assert type(found.model) is toy.Perceptron
        assert not any(torch.equal(value, before[name]) for name, value in tensors(found.model).items())
        return
    assert isinstance(found.model, MetaPeftModel)
    assert same(found.model.base(), before)
    names = found.model.adapter_parameters("z")
    assert any("body" in name for name in names) == (finetune == "lora")
    assert any("head" in name for name in names)
    assert all("lora" in name for name in names) == (finetune == "lora")


def test_the_last_layer_is_drawn_anew_from_seed_and_task() -> None:
    base = toy.perceptron()

    def head(name: str, seed: int) -> dict[str, torch.Tensor]:
        model = fine_tuned("last-layer", toy.task(name), base=base, seed=seed, changes={"epochs": 0}).model
        assert isinstance(model, MetaPeftModel)
        return tensors(model.head_of(name))

    assert same(head("y", 0), head("y", 0))
    assert not same(head("y", 0), head("z", 0))
    assert not same(head("y", 0), head("y", 1))
    assert not same(head("y", 0), tensors(base.head))


@pytest.mark.parametrize("finetune", FINETUNES)
def test_results_follow_from_the_curve_and_the_model(finetune: str) -> None:
    task = toy.task("z")
    found = fine_tuned(finetune, task, changes={"epochs": 6})
    assert found.curve["epoch"] == [0, 1, 2, 3, 4, 5, 6]
    validation, test = found.curve["validation_accuracy"], found.curve["test_accuracy"]
    assert found.best_epoch == 1 + validation[1:].index(max(validation[1:]))
    assert found.before == {"accuracy": test[0]}
    assert found.last == {"accuracy": test[-1]}
    assert found.best == {"accuracy": test[found.best_epoch]}
    assert found.last == {"accuracy": accuracy(found.model, task)}
    assert len(found.correct) == len(task.test)
    assert found.correct.count("1") / len(task.test) == pytest.approx(found.last["accuracy"])


def test_correct_is_in_the_order_of_the_test_set() -> None:
    task = toy.task("z")
    found = fine_tuned("full", task, changes={"evaluation_batch_size": 7})
    with torch.no_grad():
        right = found.model.eval()(task.test.x).argmax(1) == task.test.y  # type: ignore[attr-defined]
    assert found.correct == "".join(str(int(one)) for one in right)


def test_can_select_on_test() -> None:
    found = fine_tuned("full", select_on="test", changes={"epochs": 6})
    test = found.curve["test_accuracy"]
    assert found.best_epoch == 1 + test[1:].index(max(test[1:]))
    assert found.best["accuracy"] == max(test[1:])


def test_the_start_is_selected_only_without_epochs() -> None:
    """Fine-tuning on wrong labels is worse from epoch to epoch than its start."""
    task, base = toy.task("z"), retrained("standard").base
    wrong = replace(task, train=toy.Points(task.train.x, 1 - task.train.y))  # type: ignore[attr-defined]
    found = fine_tuned("full", wrong, base=base, changes={"learning_rate": 0.1})
    assert found.best["accuracy"] < found.before["accuracy"]
    assert found.best_epoch >= 1
    without = fine_tuned("full", wrong, base=base, changes={"epochs": 0})
    assert (without.best_epoch, without.spent) == (0, Count(0, 0))
    assert without.before == without.last == without.best == found.before


@pytest.mark.parametrize("finetune", FINETUNES)
def test_results_depend_on_the_seed_alone(finetune: str) -> None:
    first = fine_tuned(finetune)
    torch.manual_seed(5)
    np.random.seed(5)
    fine_tuned("lora", toy.task("y"))
    assert same_fine_tuned(fine_tuned(finetune), first)
    assert not same_fine_tuned(fine_tuned(finetune, seed=1), first)


@pytest.mark.parametrize("finetune", FINETUNES)
def test_rare_evaluation_changes_nothing_else(finetune: str) -> None:
    often, seldom = (fine_tuned(finetune, changes={"evaluate_every": every}) for every in (1, 3))
    assert seldom.curve["epoch"] == [0, 3, 4]
    assert (seldom.last, seldom.correct) == (often.last, often.correct)
    assert same(seldom.model, often.model)


def test_starts_from_the_first_retraining_tasks_adapter_if_asked() -> None:
    found = retrained("lora-ml")
    assert found.meta_model is not None
    theirs = found.meta_model.adapter_parameters("a")
    start = fine_tuned("lora", base=found.base, start_from=found.meta_model, changes={"epochs": 0})
    assert isinstance(start.model, MetaPeftModel)
    mine = start.model.adapter_parameters("z")
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    inputs = toy.task("z").test.batch(np.arange(9)).inputs
    torch.testing.assert_close(start.model.eval()(inputs, "z"), found.meta_model.eval()(inputs, "a"))
    assert not same_fine_tuned(start, fine_tuned("lora", base=found.base, changes={"epochs": 0}))


def test_starts_from_the_first_retraining_tasks_head_if_asked() -> None:
    found = retrained("last-layer-ml")
    assert found.meta_model is not None
    start = fine_tuned("last-layer", base=found.base, start_from=found.meta_model, changes={"epochs": 0}).model
    assert isinstance(start, MetaPeftModel)
    assert same(start.head_of("z"), found.meta_model.head_of("a"))


@pytest.mark.parametrize("finetune", ["last-layer", "full"])
def test_a_start_of_another_kind_is_refused(finetune: str) -> None:
    meta_model = retrained("lora-ml", changes={"epochs": 0}).meta_model
    with pytest.raises(ValueError, match="start_from must have an adapter or head of the same kind and shape"):
        fine_tuned(finetune, start_from=meta_model)


def test_a_start_of_another_rank_is_refused() -> None:
    meta_model = retrained("lora-ml", changes={"epochs": 0, "rank": 2}).meta_model
    with pytest.raises(ValueError, match=r"got 4 tensors such as .* \(2, 6\), expected 4 tensors such as .* \(1, 6\)"):
        fine_tuned("lora", start_from=meta_model)


def test_lora_with_a_fresh_head_and_other_adapters() -> None:
    from peft import IA3Config

    base = toy.perceptron()
    fresh = fine_tuned("lora", base=base, fresh_head=True).model
    assert isinstance(fresh, MetaPeftModel)
    assert not same(fresh.head_of("z"), base.head)
    other = fine_tuned("lora", base=base, adapter=IA3Config(target_modules=["body"], feedforward_modules=[])).model
    assert isinstance(other, MetaPeftModel)
    assert all("ia3" in name for name in other.adapter_parameters("z"))


def test_the_rank_is_honoured() -> None:
    model = fine_tuned("lora", changes={"rank": 3, "epochs": 0}).model
    assert isinstance(model, MetaPeftModel)
    assert {min(value.shape) for value in model.adapter_parameters("z").values()} == {2, 3}  # the head has 2 outputs


def test_what_is_frozen_stays_in_training_mode() -> None:
    """Running statistics go on, so the base inside the tuned model has others."""
    base = toy.perceptron(normed=True)
    found = fine_tuned("last-layer", base=base).model
    assert isinstance(found, MetaPeftModel)
    assert not torch.equal(tensors(found.base())["norm.running_mean"], tensors(base)["norm.running_mean"])


@pytest.mark.parametrize("finetune", FINETUNES)
def test_training_that_changes_nothing_is_an_error(finetune: str) -> None:
    with pytest.raises(UntrainedError, match="no step moves it"):
        fine_tuned(finetune, changes={"learning_rate": 0.0})


def test_training_that_diverges_is_an_error() -> None:
    task = toy.task("z")
    far = replace(task, train=replace(task.train, x=task.train.x * 1e38))  # type: ignore[type-var, attr-defined]
    with pytest.raises(DivergedError, match=r"^fine-tuning \(full\) diverged in epoch 1 of 4"):
        fine_tuned("full", far, base=toy.perceptron())


EMPTY = toy.Points(torch.zeros(0, toy.DIMENSION), torch.zeros(0, dtype=torch.int64))


@pytest.mark.parametrize(
    ("finetune", "options", "message"),
    [
        ("adapter", {}, "finetune must be one of lora, last-layer, full, got 'adapter'"),
        ("full", {"fresh_head": True}, "adapter and fresh_head are for lora, got them with full"),
        ("lora", {"select_on": "train"}, "select_on must be validation or test, got 'train'"),
        ("lora", {"task": replace(toy.task("z"), train=EMPTY)}, "task z must have examples to train on, got none"),
        ("lora", {"task": replace(toy.task("z"), test=EMPTY)}, "task z must have examples to test on, got none"),
        ("last-layer", {"head": "neck"}, "head: got 'neck', expected a module of Perceptron"),
        ("full", {"head": "neck"}, "head: got 'neck', expected a module of Perceptron"),
        ("lora", {"head": "neck"}, "head: got 'neck', expected a module of Perceptron"),
        ("lora", {"base": Convolution(), "head": "only"}, "'all-linear' matches nothing"),
    ],
)
def test_wrong_arguments_are_refused(finetune: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        fine_tuned(finetune, **options)
    assert "\n" not in str(caught.value)


def test_settings_of_retraining_are_refused() -> None:
    from tests.realdata.peft_ml.runs import RETRAINING

    with pytest.raises(TypeError, match="settings must be FineTuningSettings, got RetrainingSettings"):
        fine_tuned("full", settings=RETRAINING)
