"""The methods that have lora-ml's capacity without its idea: groups by chance, and more steps."""

from __future__ import annotations

from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from realdata.peft_ml.data import Examples
from realdata.peft_ml.methods.grouped_lora import groups
from tests.realdata.peft_ml import toy
from tests.realdata.peft_ml.runs import RETRAINING, retrained


def rows(examples: Examples, indices: NDArray[np.int64] | None = None) -> Tensor:
    inputs = examples.batch(np.arange(len(examples)) if indices is None else indices).inputs
    assert isinstance(inputs, Tensor)
    return inputs


def test_groups_have_every_example_once_and_a_share_of_every_task() -> None:
    tasks = [toy.task(name, train=train) for name, train in (("a", 10), ("b", 20), ("c", 15))]
    dealt = groups(tasks, toy.TwoClasses(), seed=0)
    assert [len(group.train) for group in dealt] == [15, 15, 15]
    found, everything = (torch.cat([rows(one.train) for one in several]) for several in (dealt, tasks))
    assert sorted(found.tolist()) == sorted(everything.tolist())
    for group in dealt:
        for task in tasks:
            same = (rows(group.train)[:, None] == rows(task.train)).all(dim=2).any(dim=1)
            assert abs(int(same.sum()) - len(task.train) / 3) < 1


def test_a_batch_of_a_group_is_in_the_order_asked_for() -> None:
    examples = groups(toy.tasks(), toy.TwoClasses(), seed=0)[1].train
    order = np.random.default_rng(0).permutation(len(examples))[:11]
    assert torch.equal(rows(examples, order), rows(examples)[order])
    targets = examples.batch(np.arange(len(examples))).targets
    assert torch.equal(examples.batch(order).targets, targets[order])


def test_grouped_lora_has_the_parameters_and_the_budget_of_lora_ml_and_another_base() -> None:
    grouped, tasks = retrained("grouped-lora"), retrained("lora-ml")
    assert grouped.parameters == tasks.parameters
    assert grouped.spent == tasks.spent
    weights = [found.base.get_parameter("body.weight") for found in (grouped, tasks)]
    assert not torch.equal(*weights)


def test_standard_longer_takes_steps_for_the_parameters_it_lacks() -> None:
    longer, standard, tasks = (retrained(method) for method in ("standard-longer", "standard", "lora-ml"))
    assert longer.parameters == standard.parameters < tasks.parameters
    expected = ceil(RETRAINING.epochs * tasks.parameters / standard.parameters)
    assert longer.spent.gradient_steps * RETRAINING.epochs == expected * standard.spent.gradient_steps
