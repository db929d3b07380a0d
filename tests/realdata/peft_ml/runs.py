"""Small runs of retraining and fine-tuning, and how two of them are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from realdata.peft_ml.data import Task
from realdata.peft_ml.fine_tuning import FineTuned, fine_tune
from realdata.peft_ml.retraining import RetrainedModel, retrain
from realdata.peft_ml.settings import FineTuningSettings, MetaSettings, RetrainingSettings
from tests.realdata.peft_ml import toy

META = MetaSettings(inner_steps=3, inner_learning_rate=0.1, outer_learning_rate=1e-2, outer_schedule="linear")
RETRAINING = RetrainingSettings(
    epochs=4,
    batch_size=16,
    learning_rate=1e-2,
    weight_decay=1e-4,
    schedule="cosine",
    warmup=0.1,
    adapter_dropout=0.1,
    meta=META,
)
FINE_TUNING = FineTuningSettings(
    epochs=4, batch_size=24, learning_rate=2e-2, optimizer="adamw", weight_decay=1e-2, schedule="linear", warmup=0.1
)
FINETUNES = ("lora", "last-layer", "full")


def retrained(
    method: str, tasks: Sequence[Task] | None = None, *, changes: Mapping[str, Any] = {}, **options: Any
) -> RetrainedModel:
    """Retrain a small model, with BatchNorm and dropout, on three tasks."""
    given: dict[str, Any] = {
        "settings": replace(RETRAINING, **changes),
        "head": toy.HEAD,
        "seed": 0,
        "say": lambda _: None,
        **options,
    }
    model = given.pop("model", None) or toy.perceptron(normed=True)
    return retrain(model, toy.tasks() if tasks is None else tasks, toy.TwoClasses(), method=method, **given)


def fine_tuned(
    finetune: Any, task: Task | None = None, *, changes: Mapping[str, Any] = {}, **options: Any
) -> FineTuned:
    """Fine-tune a small model, with BatchNorm and dropout, on a task."""
    given: dict[str, Any] = {
        "settings": replace(FINE_TUNING, **changes),
        "head": toy.HEAD,
        "seed": 0,
        "say": lambda _: None,
        **options,
    }
    base = given.pop("base", None) or toy.perceptron(normed=True)
    return fine_tune(base, task or toy.task("z"), toy.TwoClasses(), finetune=finetune, **given)


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of all tensors of a model."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: nn.Module | Mapping[str, Tensor], other: nn.Module | Mapping[str, Tensor]) -> bool:
    """Say whether two models, or their tensors, are the same bit for bit."""
    first, second = (tensors(each) if isinstance(each, nn.Module) else each for each in (one, other))
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def same_retrained(one: RetrainedModel, other: RetrainedModel) -> bool:
    """Say whether two results of retraining are the same bit for bit."""
    metas = (one.meta_model, other.meta_model)
    return (
        (one.curve, one.selected_epoch, one.spent) == (other.curve, other.selected_epoch, other.spent)
        and same(one.base, other.base)
        and same(one.last_base, other.last_base)
        and (metas == (None, None) or (metas[0] is not None and metas[1] is not None and same(metas[0], metas[1])))
    )


def same_fine_tuned(one: FineTuned, other: FineTuned) -> bool:
    """Say whether two results of fine-tuning are the same bit for bit."""
    fields = ("curve", "before", "last", "best", "best_epoch", "correct", "spent")
    return all(getattr(one, name) == getattr(other, name) for name in fields) and same(one.model, other.model)
