"""Retraining and fine-tuning of a transformers model, on examples of several rows of named inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from loraml_theory.harness.seeds import generator
from realdata.peft_ml.budget import Count
from realdata.peft_ml.data import Batch, Task
from realdata.peft_ml.fine_tuning import fine_tune
from realdata.peft_ml.methods import METHODS
from realdata.peft_ml.retraining import retrain
from realdata.peft_ml.seeding import torch_seeded
from realdata.peft_ml.settings import FineTuningSettings, MetaSettings, RetrainingSettings

CANDIDATES, LENGTH, WORDS = 3, 4, 12
META = MetaSettings(inner_steps=4, inner_optimizer="adamw", inner_learning_rate=1e-2, outer_learning_rate=3e-2)
RETRAINING = RetrainingSettings(epochs=6, batch_size=8, learning_rate=1e-2, optimizer="adamw", rank=2, meta=META)


@dataclass(frozen=True)
class Turns:
    """Candidates, ``(turns, candidates, length)``, and which of each turn is the true one."""

    words: Tensor
    true: Tensor

    def __len__(self) -> int:
        return len(self.true)

    def batch(self, indices: NDArray[np.int64], _rng: np.random.Generator | None = None) -> Batch:
        words = self.words[torch.from_numpy(indices)].reshape(-1, LENGTH)
        return Batch(
            {"input_ids": words, "attention_mask": torch.ones_like(words)}, self.true[torch.from_numpy(indices)]
        )


class Choice:
    """Cross-entropy over the candidates of a turn, and whether the likeliest is the true one."""

    score_names: tuple[str, ...] = ("accuracy",)

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs[:, 1].reshape(-1, CANDIDATES), targets, reduction="none")

    def scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs[:, 1].reshape(-1, CANDIDATES).argmax(1) == targets).float()[:, None]

    def join(self, batches: Sequence[Batch]) -> Batch:
        inputs: list[Any] = [batch.inputs for batch in batches]
        joined = {name: torch.cat([one[name] for one in inputs]) for name in inputs[0]}
        return Batch(joined, torch.cat([batch.targets for batch in batches]))


def turns(number: int, *purpose: str) -> Turns:
    """Draw turns whose true candidate begins with word 5, which no other candidate does."""
    rng = generator(0, *purpose)
    words = rng.integers(6, WORDS, (number, CANDIDATES, LENGTH))
    true = rng.integers(0, CANDIDATES, number)
    words[np.arange(number), true, 0] = 5
    return Turns(torch.from_numpy(words), torch.from_numpy(true))


def task(name: str, train: int = 32) -> Task:
    return Task(name, turns(train, name, "train"), turns(40, name, "validation"), turns(40, name, "test"))


def roberta() -> nn.Module:
    from transformers import RobertaConfig, RobertaForSequenceClassification

    config = RobertaConfig(
        vocab_size=WORDS,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=LENGTH + 2,
    )
    with torch_seeded(0, "roberta"):
        return RobertaForSequenceClassification(config)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_retrains_a_transformers_model(method: str) -> None:
    """Chance is a third; 0.7 of 120 is 8 standard deviations above it."""
    found = retrain(
        roberta(),
        [task("a"), task("b", train=20), task("c")],
        Choice(),
        method=method,
        settings=RETRAINING,
        head="classifier",
        seed=0,
        head_per_task=method == "lora-ml",
        say=lambda _: None,
    )
    assert found.curve["validation_accuracy"][found.selected_epoch] > 0.7
    assert found.spent == (Count(66, 528) if method != "standard-longer" else Count(110, 880))


@pytest.mark.parametrize("finetune", ["lora", "last-layer", "full"])
def test_every_kind_fine_tunes_a_transformers_model(finetune: Any) -> None:
    base = roberta()
    found = fine_tune(
        base,
        task("z"),
        Choice(),
        finetune=finetune,
        settings=FineTuningSettings(epochs=12, batch_size=8, learning_rate=2e-2, rank=4, alpha=8),
        head="classifier",
        seed=0,
        fresh_head=finetune == "lora",
        say=lambda _: None,
    )
    assert found.curve["train_loss"][-1] < 0.9 * found.curve["train_loss"][0]
    assert len(found.correct) == 40
    assert found.spent == Count(48, 384)
