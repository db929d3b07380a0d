from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from loraml_theory.harness.errors import InputError
from realdata.peft_ml.budget import Count
from realdata.peft_ml.data import Task
from realdata.peft_ml.epochs import DivergedError
from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.methods import METHODS
from realdata.peft_ml.retraining import retrain
from realdata.peft_ml.settings import MetaSettings
from realdata.peft_ml.trained import UntrainedError
from realdata.peft_ml.training import Training
from realdata.peft_ml.training_setup import EpochProgress, RetrainingSetup, StepProgress
from tests.realdata.peft_ml import toy
from tests.realdata.peft_ml.runs import META, RETRAINING, retrained, same, same_retrained, tensors
from tests.realdata.peft_ml.small_models import Convolution

ALL = sorted(METHODS)
ALIKE = sorted(METHODS.keys() - {"standard-longer"})  # in what they spend
FAST: dict[str, Any] = {"epochs": 2}


@pytest.mark.parametrize("method", ALL)
def test_every_method_learns(method: str) -> None:
    """About 0.93 of points can be told apart; 0.75 of 180 is 6 standard deviations above chance."""
    found = retrained(method, changes={"epochs": 8})
    assert found.curve["validation_accuracy"][found.selected_epoch] > 0.75
    assert found.curve["train_loss"][-1] < 0.8 * math.log(2)
    assert not any(name.startswith("test_") for name in found.curve)


@pytest.mark.parametrize("sizes", [(64, 64, 64), (64, 10, 33)])
def test_budgets_are_equal(sizes: tuple[int, ...]) -> None:
    tasks = [toy.task(name, train=size) for name, size in zip("abc", sizes, strict=True)]
    steps = 2 * -(-sum(sizes) // 16)
    assert {method: retrained(method, tasks, changes=FAST).spent for method in ALIKE} == {
        method: Count(steps, 16 * steps) for method in ALIKE
    }


def test_steps_per_epoch_can_be_given() -> None:
    spent = {method: retrained(method, changes={**FAST, "steps_per_epoch": 5}).spent for method in ALIKE}
    assert set(spent.values()) == {Count(10, 160)}


@pytest.mark.parametrize("method", ALIKE)
def test_a_batch_may_be_larger_than_all_tasks(method: str) -> None:
    tasks = [toy.task(name, train=8) for name in "abc"]
    changes = {"epochs": 1, "batch_size": 50, "steps_per_epoch": 2, "meta": replace(META, inner_steps=1)}
    assert retrained(method, tasks, changes=changes).spent == Count(2, 100)


@pytest.mark.parametrize("method", ALL)
def test_results_depend_on_the_seed_alone(method: str) -> None:
    first = retrained(method, changes=FAST)
    torch.manual_seed(5)
    np.random.seed(5)
    retrained("lora-ml", changes={"epochs": 1})
    random = torch.get_rng_state()
    assert same_retrained(retrained(method, changes=FAST), first)
    assert torch.equal(torch.get_rng_state(), random)
    assert not same_retrained(retrained(method, changes=FAST, seed=1), first)


def test_the_model_given_is_left_as_it_was() -> None:
    model = toy.perceptron(normed=True)
    model.body.weight.requires_grad_(False)
    before = tensors(model)
    found = {method: retrained(method, changes=FAST, model=model) for method in ALL}
    assert same(model, before)
    assert not model.body.weight.requires_grad
    assert all(torch.equal(tensors(one.base)["body.weight"], before["body.weight"]) for one in found.values())
    assert not any(torch.equal(tensors(one.base)["norm.bias"], before["norm.bias"]) for one in found.values())


@pytest.mark.parametrize("method", ALL)
def test_the_base_is_a_plain_model_of_the_selected_epoch(method: str) -> None:
    found = retrained(method, changes={"epochs": 5, "learning_rate": 0.2})
    assert type(found.base) is type(found.last_base) is toy.Perceptron
    scores = found.curve["validation_accuracy"]
    assert found.selected_epoch == 1 + scores[1:].index(max(scores[1:]))
    upto = retrained(method, changes={"epochs": 5, "learning_rate": 0.2, "evaluate_every": 5})
    assert same(upto.last_base, found.last_base)  # evaluation changes nothing
    assert same(found.base, found.last_base) == (found.selected_epoch == found.curve["epoch"][-1])
    assert (found.meta_model is None) == (method in ("standard", "standard-longer", "reptile", "fomaml"))


def test_selects_the_first_epoch_with_the_best_validation_score() -> None:
    """With labels of validation that cannot be predicted, the best epoch is anywhere, and has to be found."""
    tasks: list[Task] = []
    for task in toy.tasks():
        rng = np.random.default_rng(len(tasks))
        labels = torch.from_numpy(rng.integers(0, 2, len(task.validation)))
        tasks.append(replace(task, validation=toy.Points(task.validation.x, labels)))  # type: ignore[attr-defined]
    found = retrained("standard", tasks, changes={"epochs": 6})
    scores = found.curve["validation_accuracy"][1:]
    assert found.selected_epoch == 1 + int(np.argmax(scores))
    assert found.selected_epoch < 6
    outputs = [found.base.eval()(task.validation.x).argmax(1) == task.validation.y for task in tasks]  # type: ignore[attr-defined]
    assert torch.stack(outputs).float().mean().item() == pytest.approx(max(scores))


def test_can_select_on_test() -> None:
    found = retrained("lora-ml", select_on="test")
    scores = found.curve["test_accuracy"][1:]
    assert found.selected_epoch == 1 + scores.index(max(scores))
    assert list(found.curve) == ["epoch", "train_loss", "validation_accuracy", "test_accuracy"]


def test_evaluates_as_often_as_asked_and_at_the_end() -> None:
    seldom = retrained("lora-ml", changes={"epochs": 5, "evaluate_every": 2})
    always = retrained("lora-ml", changes={"epochs": 5})
    assert seldom.curve["epoch"] == [0, 2, 4, 5]
    assert all(column == [always.curve[name][row] for row in (0, 2, 4, 5)] for name, column in seldom.curve.items())


@pytest.mark.parametrize("method", ALL)
def test_no_epoch_gives_the_start(method: str) -> None:
    found = retrained(method, changes={"epochs": 0})
    assert (found.selected_epoch, found.spent, found.curve["epoch"]) == (0, Count(0, 0), [0])
    assert same(found.base, toy.perceptron(normed=True))


def test_scores_are_those_of_the_model_each_task_uses() -> None:
    tasks = toy.tasks()
    found = retrained("lora-ml", tasks)
    assert isinstance(found.meta_model, MetaPeftModel)
    meta_model = found.meta_model.eval()
    correct = [
        (meta_model(task.validation.x, task.name).argmax(1) == task.validation.y).double().mean()  # type: ignore[attr-defined]
        for task in tasks
    ]
    expected = found.curve["validation_accuracy"][found.selected_epoch]
    assert torch.stack(correct).mean().item() == pytest.approx(expected, abs=1e-12)


def test_takes_other_adapters_and_heads_of_their_own() -> None:
    from peft import IA3Config

    config = IA3Config(target_modules=["body"], feedforward_modules=[])
    found = retrained("lora-ml", adapter=config, changes={"learning_rate": 5e-2})
    assert found.meta_model is not None
    assert all("ia3" in name for name in found.meta_model.adapter_parameters("a"))
    assert found.curve["validation_accuracy"][-1] > 0.75
    heads = retrained("lora-ml", head_per_task=True, changes=FAST).meta_model
    assert heads is not None
    assert not same(heads.head_of("a"), heads.head_of("b"))


def test_alternating_retraining_learns_and_is_checked_after_a_round() -> None:
    changes = {"scheme": "alternating", "inner_steps": 20, "epochs": 6, "learning_rate": 3e-2}
    found = retrained("lora-ml", changes=changes)  # the first step on the base is in the second epoch
    assert found.curve["validation_accuracy"][-1] > 0.75


def test_a_run_that_ends_before_its_first_step_on_the_base_is_an_error() -> None:
    changes = {"scheme": "alternating", "inner_steps": 1000}
    with pytest.raises(UntrainedError, match=r"not trained after a pass over all tasks: base \(no gradient reaches it"):
        retrained("lora-ml", changes=changes)


@pytest.mark.parametrize("method", ALL)
def test_training_that_changes_nothing_is_an_error(method: str) -> None:
    changes = {"learning_rate": 0.0, "weight_decay": 0.0, "meta": MetaSettings(inner_steps=3, outer_learning_rate=0.0)}
    with pytest.raises(UntrainedError, match="no step moves it"):
        retrained(method, changes=changes)


@pytest.mark.parametrize("method", ALL)
def test_training_that_diverges_is_an_error(method: str) -> None:
    tasks = [replace(task, train=replace(task.train, x=task.train.x * 1e38)) for task in toy.tasks()]  # type: ignore[type-var, attr-defined]
    with pytest.raises(DivergedError, match=rf"^{method} diverged in epoch 1 of [48]: its training loss is (nan|inf)"):
        retrained(method, tasks, model=toy.perceptron())


def test_says_first_what_is_trained() -> None:
    said: list[str] = []
    seen: list[int] = []
    tasks = [
        replace(task, train=replace(task.train, seen=lambda _: seen.append(len(said))))  # type: ignore[type-var]
        for task in toy.tasks()
    ]
    retrained("last-layer-ml", tasks, changes=FAST, say=said.append)
    (table,) = said
    assert "trained  copied head of each of 3 tasks" in table
    assert "frozen   the base's own head" in table
    assert set(seen) == {1}


def test_prints_what_is_trained_if_not_told_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    retrained("standard", changes=FAST, say=print)
    retrain(
        toy.perceptron(),
        toy.tasks(),
        toy.TwoClasses(),
        method="standard",
        settings=replace(RETRAINING, epochs=0),
        head=toy.HEAD,
        seed=0,
    )
    assert capsys.readouterr().out.count("trained  model") == 2


def test_reports_progress() -> None:
    seen: list[EpochProgress] = []
    found = retrained("standard", changes={"epochs": 3, "evaluate_every": 2}, progress=seen.append)
    assert [(one.epoch, one.epochs) for one in seen] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert [one.row["epoch"] for one in seen] == [0, 0, 2, 3]
    assert seen[-1].row == {name: column[-1] for name, column in found.curve.items()}


def test_reports_steps_within_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realdata.peft_ml.optimisation.REPORT_SECONDS", -1.0)
    seen: list[StepProgress] = []
    found = retrained("standard", changes={"epochs": 2}, on_step=seen.append)
    steps = seen[0].steps
    assert [(one.epoch, one.step) for one in seen] == [(e, s) for e in range(2) for s in range(1, steps)]
    assert steps * 2 == found.spent.gradient_steps
    assert all(0 < one.loss < 10 for one in seen)


EMPTY = toy.Points(torch.zeros(0, toy.DIMENSION), torch.zeros(0, dtype=torch.int64))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": []}, "tasks must be at least one, got none"),
        ({"tasks": [toy.task("a"), toy.task("a")]}, "tasks must have different names, got a, a"),
        ({"tasks": [replace(toy.task("a"), train=EMPTY)]}, "task a must have examples to train on, got none"),
        ({"tasks": [replace(toy.task("a"), validation=EMPTY)]}, "task a must have examples to select on, got none"),
        (
            {"tasks": [replace(toy.task("a"), test=EMPTY)], "select_on": "test"},
            "task a must have examples to test on, got none",
        ),
        ({"select_on": "train"}, "select_on must be validation or test, got 'train'"),
        ({"head": "neck", "head_per_task": True}, "head: got 'neck', expected a module of Perceptron"),
        ({"model": Convolution(), "head": "only"}, "'all-linear' matches nothing"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        retrained("lora-ml", **options)
    assert "\n" not in str(caught.value)


def test_an_unknown_method_is_refused() -> None:
    known = "standard, standard-longer, lora-ml, grouped-lora, last-layer-ml, reptile, fomaml"
    with pytest.raises(ValueError, match=f"^method must be one of {known}, got 'maml'$"):
        retrained("maml")


def test_settings_of_fine_tuning_are_refused() -> None:
    from tests.realdata.peft_ml.runs import FINE_TUNING

    with pytest.raises(TypeError, match="settings must be RetrainingSettings, got FineTuningSettings"):
        retrained("standard", settings=FINE_TUNING)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("model", "head", "message"),
    [
        (toy.perceptron(), "neck", "head: got 'neck', expected a module of Perceptron: body, norm, dropout, head"),
        (toy.perceptron(), "dropout", "head: 'dropout' has no parameters, expected the last layer with some"),
        (torch.nn.Flatten(), "head", "head: got 'head', expected a module of Flatten: it has none"),
    ],
)
def test_a_wrong_head_is_refused_by_every_method(method: str, model: torch.nn.Module, head: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        retrained(method, model=model, head=head)


def test_an_empty_test_set_matters_only_where_it_is_used() -> None:
    tasks = [Task(task.name, task.train, task.validation, EMPTY) for task in toy.tasks()]
    assert retrained("standard", tasks, changes=FAST).spent == Count(24, 384)


@pytest.mark.parametrize("method", ALL)
def test_every_epoch_has_its_own_dropout(method: str) -> None:
    epoch, seeds = 0, dict[int, set[int]]()

    def advance(now: EpochProgress) -> None:
        nonlocal epoch
        epoch = now.epoch + 1

    def note(_: object) -> None:
        seeds.setdefault(epoch, set()).add(torch.initial_seed())

    tasks = [replace(task, train=replace(task.train, seen=note)) for task in toy.tasks()]  # type: ignore[type-var]
    torch.manual_seed(0)
    retrained(method, tasks, changes={"epochs": 3, "evaluate_every": 4}, progress=advance)
    own = [seeds[number] - seeds[0] for number in (1, 2)]  # what is seeded as before the first step is evaluation
    assert [len(each) for each in own] == [1, 1]
    assert own[0] != own[1]


def test_a_method_that_spends_too_much_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(setup: RetrainingSetup) -> Training:
        method = METHODS["standard"](setup)
        once = method.train
        monkeypatch.setattr(method, "train", lambda epoch: once(epoch) + once(epoch))
        return method

    monkeypatch.setitem(METHODS, "greedy", greedy)
    with pytest.raises(RuntimeError, match=r"^greedy spent Count\(gradient_steps=24, .*its budget is Count\(.*=12,"):
        retrained("greedy")


@pytest.mark.parametrize("method", ALL)
def test_a_model_without_values_is_one_line_before_anything_is_trained(method: str) -> None:
    for model in (toy.perceptron().to("meta"), torch.nn.LazyLinear(2)):
        with pytest.raises(ValueError, match="has no values, expected a model that is loaded"):
            retrained(method, model=model)
    with pytest.raises(TypeError, match="model: got str, expected a torch module"):
        retrained(method, model="gpt2")
