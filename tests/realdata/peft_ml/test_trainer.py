from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import EvalPrediction

from loraml_theory.harness.errors import InputError
from realdata.peft_ml.bundle import BundleError, load
from realdata.peft_ml.data import Batch, Task
from realdata.peft_ml.retraining import retrain
from realdata.peft_ml.settings import RetrainingSettings
from realdata.peft_ml.trainer import BUNDLE, MetaTrainer
from tests.realdata.peft_ml.small_models import Mlp, seeded, tiny_bert, tiny_gpt2
from tests.realdata.peft_ml.toy import TwoClasses
from tests.realdata.peft_ml.trainer_runs import (
    ADAMW,
    TASKS,
    Rows,
    arguments,
    classified,
    continued,
    distance,
    held,
    meta,
    moved,
    state,
    trained,
)

ROUNDING = 1e-13  # of float64, over the few steps here


# agreement with `retrain`


@dataclass(frozen=True)
class Words:
    """The rows of one task as `retrain` takes them."""

    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, indices: NDArray[np.int64], rng: np.random.Generator | None = None) -> Batch:  # noqa: ARG002
        chosen = [self.rows[index] for index in indices]
        return Batch(
            {"input_ids": torch.stack([row["input_ids"] for row in chosen])},
            torch.tensor([row["labels"] for row in chosen]),
        )


class Classes(TwoClasses):
    """Cross-entropy, joined for named inputs; in float64, unlike what `retrain` hands to it."""

    def join(self, batches: Sequence[Batch]) -> Batch:
        words = [batch.inputs["input_ids"] for batch in batches if isinstance(batch.inputs, Mapping)]
        return Batch({"input_ids": torch.cat(words)}, torch.cat([batch.targets for batch in batches]))


@pytest.mark.parametrize(
    ("optimizer", "rate", "schedule", "tolerance"),
    [("sgd", 0.5, "constant", 1e-7), ("adamw", 1e-2, "linear", 1e-6)],
)
def test_it_ends_where_retrain_ends(
    tmp_path: Path, optimizer: Any, rate: float, schedule: Any, tolerance: float
) -> None:
    """Its losses are in float32, whatever the model's precision, so that agreement is to rounding of float32."""
    rows = classified(14)  # 42 rows, the last step of an epoch takes some a second time
    settings = RetrainingSettings(
        epochs=2, batch_size=10, learning_rate=rate, optimizer=optimizer, schedule=schedule, rank=2
    )
    own = [Words([row for row in rows if row["task"] == task]) for task in TASKS]
    tasks = [Task(name, words, words, words) for name, words in zip(TASKS, own, strict=True)]
    expected = retrain(
        tiny_bert(),
        tasks,
        Classes(),
        method="lora-ml",
        settings=settings,
        head="classifier",
        seed=3,
        say=lambda _: None,
    )
    model = meta(adapter=settings.lora(), seed=3)
    changes = {"optim": {"sgd": "sgd", "adamw": "adamw_torch"}[optimizer], "lr_scheduler_type": schedule}
    trainer = trained(tmp_path, model, rows, per_device_train_batch_size=10, learning_rate=rate, data_seed=3, **changes)
    assert trainer.state.global_step == expected.spent.gradient_steps == 10
    last = state(expected.last_base)
    assert distance(state(model.base()), last) < tolerance < 1e-2 < distance(state(tiny_bert()), last)
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert np.mean(logged[5:]) == pytest.approx(expected.curve["train_loss"][-1], abs=1e-6)


# a step is the same however it is put together


def ends(tmp_path: Path, rows: Rows | None = None, model: Any = tiny_bert, **changes: Any) -> dict[str, Tensor]:
    return state(trained(tmp_path, meta(model()), rows, **changes).model)


@pytest.mark.parametrize(
    "changes",
    [
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3},
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 6},
        {"activation_checkpointing": True},
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3, "batches": "blocks"},
        {"dataloader_num_workers": 1},
    ],
    ids=["accumulated", "fewer rows than tasks", "checkpointed", "blocks", "workers"],
)
@pytest.mark.long
@pytest.mark.parametrize(("model", "rows"), [(tiny_bert, classified), (tiny_gpt2, continued)], ids=["bert", "gpt2"])
def test_a_step_is_that_of_one_large_batch(tmp_path: Path, model: Any, rows: Any, changes: Mapping[str, Any]) -> None:
    expected = ends(tmp_path, rows(), model)
    assert distance(ends(tmp_path, rows(), model, **changes), expected) < ROUNDING
    assert len(moved(state(meta(model())), expected)) > len(expected) / 2


def test_tokens_count_within_a_task_and_tasks_alike(tmp_path: Path) -> None:
    """One step of plain descent by hand: a task's loss is the mean over all its tokens, however rows share them."""
    rows, model, expected = continued(4), meta(tiny_gpt2()), meta(tiny_gpt2())
    trained(tmp_path, model, rows, per_device_train_batch_size=3, gradient_accumulation_steps=4, num_train_epochs=1)
    for task in TASKS:
        own = [row for row in rows if row["task"] == task]
        words, labels = (torch.stack([row[name] for row in own]) for name in ("input_ids", "labels"))
        tokens = expected({"input_ids": words}, task)[:, :-1].flatten(0, 1)
        torch.autograd.backward(nn.functional.cross_entropy(tokens.float(), labels[:, 1:].flatten()))
    with torch.no_grad():
        for parameter in expected.parameters():
            if parameter.grad is not None:
                parameter.sub_(0.5 * parameter.grad)
    assert distance(state(model), state(expected)) < 1e-7


@pytest.mark.long
def test_what_is_logged_is_the_mean_over_tasks(tmp_path: Path) -> None:
    rows, model = classified(), meta()
    expected = trained(tmp_path, meta(), rows, learning_rate=0.0, num_train_epochs=1).evaluate(rows)["eval_loss"]
    cases: tuple[Mapping[str, Any], ...] = (
        {},
        {"gradient_accumulation_steps": 3, "per_device_train_batch_size": 4, "batches": "blocks"},
    )
    for changes in cases:
        trainer = trained(tmp_path, model, rows, learning_rate=0.0, num_train_epochs=1, **changes)
        logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        assert np.mean(logged) == pytest.approx(expected, abs=1e-6)


@pytest.mark.long
def test_bf16_trains_close_to_full_precision(tmp_path: Path) -> None:
    model = tiny_bert().float()
    exact, rounded = (state(trained(tmp_path, meta(model), bf16=bf16, **ADAMW).model) for bf16 in (False, True))
    before = state(meta(model))
    assert all(parameter.dtype == torch.float32 for parameter in rounded.values())
    assert 0 < distance(exact, rounded) < distance(exact, before)
    assert moved(before, rounded) == moved(before, exact)


# losses of one's own


@pytest.mark.long
def test_a_loss_function_sees_one_task_at_a_time(tmp_path: Path) -> None:
    seen = []

    def loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor) -> Tensor:
        seen.append((len(outputs.logits), int(num_items_in_batch)))
        return nn.functional.cross_entropy(outputs.logits, labels, reduction="sum") / num_items_in_batch

    given = trained(tmp_path, options={"compute_loss_func": loss}, per_device_train_batch_size=6)
    assert set(seen) == {(2, 2)}
    assert distance(state(given.model), ends(tmp_path, per_device_train_batch_size=6)) < ROUNDING


def test_a_plain_module_trains_with_a_loss_function(tmp_path: Path) -> None:
    drawn = torch.Generator().manual_seed(0)
    rows = [
        {"task": task, "inputs": torch.randn(6, generator=drawn, dtype=torch.float64), "labels": i % 2}
        for task in TASKS
        for i in range(8)
    ]

    def loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs.logits, labels, reduction="sum") / num_items_in_batch

    model = meta(seeded(0, Mlp))
    trainer = trained(tmp_path, model, rows, options={"compute_loss_func": loss})
    assert len(moved(state(meta(seeded(0, Mlp))), state(model))) == len(state(model))
    assert trainer.evaluate(rows).keys() >= {"eval_a_loss", "eval_loss"}
    with pytest.raises(InputError, match=r"^model: Mlp has no loss that is known here \(loss_type None\), expected"):
        trained(tmp_path, meta(seeded(0, Mlp)), rows)


# evaluation


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    logits: Any = prediction.predictions
    return {"accuracy": float((logits.argmax(-1) == prediction.label_ids).mean())}


def test_each_task_is_evaluated_with_its_own_adapter(tmp_path: Path) -> None:
    rows = [*classified(5), *classified(3, seed=1)[:3]]  # a has eight rows, the others five
    trainer = trained(tmp_path, options={"compute_metrics": accuracy}, per_device_eval_batch_size=16)
    found = trainer.evaluate(rows)
    losses = []
    for task in TASKS:
        own = [row for row in rows if row["task"] == task]
        labels = torch.tensor([row["labels"] for row in own])
        with torch.no_grad():
            logits = trainer.model({"input_ids": torch.stack([row["input_ids"] for row in own])}, task)
        losses.append(float(nn.functional.cross_entropy(logits, labels)))
        assert found[f"eval_{task}_loss"] == pytest.approx(losses[-1], abs=1e-6)
        assert found[f"eval_{task}_accuracy"] == pytest.approx(float((logits.argmax(-1) == labels).double().mean()))
    assert found["eval_loss"] == pytest.approx(np.mean(losses), abs=1e-6)
    assert len(set(losses)) == 3
    assert trainer.evaluate({"rows": rows})["eval_rows_b_loss"] == found["eval_b_loss"]


@pytest.mark.long
def test_it_evaluates_while_training_and_keeps_the_best(tmp_path: Path) -> None:
    changes: Mapping[str, Any] = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    best: Mapping[str, Any] = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss"}
    trainer = trained(tmp_path, options={"eval_dataset": classified(seed=1)}, **changes, **best)
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(losses) == trainer.state.global_step == 6
    assert losses.index(min(losses)) < 5  # another than the last, or it would not show
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses))


# bundles


def test_it_saves_a_bundle(tmp_path: Path) -> None:
    trainer = trained(tmp_path / "runs", save_strategy="epoch")
    trainer.save_model(str(tmp_path / "saved"))
    loaded = load(tiny_bert(), tmp_path / "saved" / BUNDLE)
    assert distance(state(loaded), state(trainer.model)) == 0
    assert distance(state(load(tiny_bert(), tmp_path / "runs" / "checkpoint-6" / BUNDLE)), state(loaded)) == 0
    assert json.loads((tmp_path / "saved" / BUNDLE / "manifest.json").read_text("utf-8"))["provenance"] == {"steps": 6}
    trainer.save_model()
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [BUNDLE, "checkpoint-3", "checkpoint-6"]


@pytest.mark.long
@pytest.mark.parametrize("step", [2, 3, 4])
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(tmp_path: Path, step: int) -> None:
    model = tiny_bert(dropout=0.1)
    changes: Mapping[str, Any] = {"save_strategy": "steps", "save_steps": 1, **ADAMW, "lr_scheduler_type": "cosine"}
    whole = trained(tmp_path, meta(model, head="classifier"), **changes)
    again = trained(tmp_path, meta(model, head="classifier"), resume=str(tmp_path / f"checkpoint-{step}"), **changes)
    assert again.state.global_step == whole.state.global_step == 6
    assert distance(state(whole.model), state(again.model)) == 0


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    trained(tmp_path, save_strategy="epoch")
    checkpoint = str(tmp_path / "checkpoint-6")
    rows = [row for row in classified() if row["task"] != "c"]
    with pytest.raises(BundleError, match=r"its tasks is \('a', 'b', 'c'\), the model's is \('a', 'b'\)$"):
        trained(tmp_path, meta(tasks=("a", "b")), rows, resume=checkpoint)
    with pytest.raises(BundleError, match=r"its head is None, the model's is 'classifier'$"):
        trained(tmp_path, meta(head="classifier"), resume=checkpoint)
    with pytest.raises(BundleError, match="its base has"):
        trained(tmp_path, meta(tiny_gpt2()), continued(), resume=checkpoint)


# data


@pytest.mark.long
def test_it_takes_a_dataset_of_hugging_face(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{**row, "input_ids": row["input_ids"].tolist(), "comment": "not for the model"} for row in classified()]
    found = state(trained(tmp_path, rows=datasets.Dataset.from_list(rows)).model)
    assert distance(found, ends(tmp_path)) == 0


def renamed(rows: Rows, **names: str) -> Rows:
    return [{names.get(name, name): value for name, value in row.items()} for row in rows]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (renamed(classified(), task="topic"), "got the columns topic, input_ids, labels, expected one named task"),
        ([{**classified()[0], "task": "d"}], "row 0 has the task 'd', expected one of a, b, c"),
        ([row for row in classified() if row["task"] != "b"], "got no rows of b, expected rows of every task"),
        ([], "got no rows of a, b, c, expected rows of every task"),
    ],
)
def test_rows_without_their_task_are_refused(tmp_path: Path, rows: Rows, message: str) -> None:
    with pytest.raises(InputError, match=f"^train_dataset: {re.escape(message)}$"):
        trained(tmp_path, rows=rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"per_device_train_batch_size": 2}, "per_device_train_batch_size: got steps of 2 rows, expected at least 3"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor: got 0.1, expected 0"),
        ({"train_sampling_strategy": "sequential"}, "train_sampling_strategy: got 'sequential', expected 'random'"),
        ({"ddp_find_unused_parameters": False}, "ddp_find_unused_parameters: got False, expected True"),
        ({"fsdp": True}, "fsdp or deepspeed: got one, expected neither"),
        ({"batches": "turns"}, "batches: got 'turns', expected one of mixed, blocks"),
    ],
)
def test_arguments_that_would_train_something_else_are_refused(
    tmp_path: Path, changes: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        trained(tmp_path, **changes)


def test_fsdp_by_the_settings_of_accelerate_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``accelerate launch`` sets it; on a CPU accelerate itself takes no notice of that."""
    make = MetaTrainer.create_accelerator_and_postprocess

    def made_with_fsdp(trainer: MetaTrainer) -> None:
        make(trainer)
        trainer.is_fsdp_enabled = True

    monkeypatch.setattr(MetaTrainer, "create_accelerator_and_postprocess", made_with_fsdp)
    with pytest.raises(InputError, match=r"^fsdp or deepspeed: got one, expected neither"):
        trained(tmp_path)


def test_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^model: got BertForSequenceClassification, expected a MetaPeftModel$"):
        MetaTrainer(tiny_bert(), arguments(tmp_path))  # type: ignore[arg-type]


# memory


def test_the_base_is_held_once_whatever_the_number_of_tasks(tmp_path: Path) -> None:
    alone, rows = [row for row in classified() if row["task"] == "a"], classified()
    one = trained(tmp_path, meta(tasks=("a",)), alone, num_train_epochs=1, optim="adamw_torch")
    three = trained(tmp_path, meta(), rows, num_train_epochs=1, optim="adamw_torch")
    adapter = three.model.adapter_parameters("a").values()
    each = sum(3 * p.numel() * p.element_size() + 4 for p in adapter)  # two moments; AdamW also counts steps
    assert held(three) == held(one) + 2 * each
