"""Small runs of MetaTrainer on a BERT for classification and a GPT-2, in one process or, by torchrun, in several.

Called as a program with a name of `CASES` and a file for the tensors that the run ends with.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor, nn
from transformers import TrainingArguments

from realdata.peft_ml.bundle import load
from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.sharding import shard, whole
from realdata.peft_ml.trainer import BUNDLE, MetaTrainer
from tests.realdata.peft_ml.small_models import tiny_bert, tiny_gpt2

TASKS = ("a", "b", "c")
LORA = LoraConfig(r=2, target_modules="all-linear")
Rows = Sequence[Mapping[str, Any]]


def classified(count: int = 12, *, seed: int = 0) -> Rows:
    """Draw as many rows of each task, one task after another: six words and one of two classes."""
    drawn = torch.Generator().manual_seed(seed)
    words = torch.randint(0, 20, (len(TASKS), count, 6), generator=drawn)
    labels = torch.randint(0, 2, (len(TASKS), count), generator=drawn)
    return [
        {"task": task, "input_ids": words[t, row], "labels": int(labels[t, row])}
        for t, task in enumerate(TASKS)
        for row in range(count)
    ]


def continued(count: int = 12) -> Rows:
    """Draw rows for a language model, whose loss is on the last of their words, one to all six."""
    rows = []
    for place, row in enumerate(classified(count)):
        labels = row["input_ids"].clone()
        labels[: place % 6] = -100
        rows.append({"task": row["task"], "input_ids": row["input_ids"], "labels": labels})
    return rows


def meta(model: nn.Module | None = None, tasks: Sequence[str] = TASKS, **options: Any) -> MetaPeftModel:
    """Return a model with adapters."""
    return MetaPeftModel(model or tiny_bert(), tasks, **{"adapter": LORA, "seed": 0, **options})


def arguments(folder: Path | str, **changes: Any) -> TrainingArguments:
    """Return Trainer's arguments for plain descent on the CPU, whose steps show any error of a gradient."""
    given: dict[str, Any] = {
        "per_device_train_batch_size": 12,
        "num_train_epochs": 2,
        "learning_rate": 0.5,
        "optim": "sgd",
        "max_grad_norm": 0.0,
        "lr_scheduler_type": "constant",
        "save_strategy": "no",
        "logging_steps": 1,
        "use_cpu": True,
        "report_to": [],
        "disable_tqdm": True,
        **changes,
    }
    return TrainingArguments(str(folder), **given)


def trained(
    folder: Path | str,
    model: MetaPeftModel | None = None,
    rows: Any = None,
    *,
    batches: Any = "mixed",
    options: Mapping[str, Any] = {},
    resume: Any = None,
    **changes: Any,
) -> MetaTrainer:
    """Train a small model; by default all of a BERT on three tasks."""
    trainer = MetaTrainer(
        model or meta(),
        arguments(folder, **changes),
        batches=batches,
        train_dataset=classified() if rows is None else rows,
        **options,
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def state(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of all parameters."""
    return {name: whole(parameter.detach()).clone() for name, parameter in model.named_parameters()}


def moved(start: Mapping[str, Tensor], end: Mapping[str, Tensor]) -> list[str]:
    """Return the names of what has changed."""
    return [name for name in start if not torch.equal(start[name], end[name])]


def distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Return the largest difference between two states."""
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


# AdamW moves by its past, and by weight decay, what has a gradient of zeros, and leaves alone what has none.
ADAMW: Mapping[str, Any] = {"optim": "adamw_torch", "learning_rate": 1e-2, "weight_decay": 0.1}

# Of two processes; one takes as many rows by twice the accumulation.
CASES: Mapping[str, Mapping[str, Any]] = {
    "mixed": {"per_device_train_batch_size": 6},
    "fewer rows than tasks": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3},
    "blocks": {"batches": "blocks", "per_device_train_batch_size": 4, **ADAMW},
    "accumulated blocks": {"batches": "blocks", "per_device_train_batch_size": 4, "gradient_accumulation_steps": 3},
    "checkpointed": {"per_device_train_batch_size": 6, "activation_checkpointing": True},
    "clipped": {"per_device_train_batch_size": 6, "max_grad_norm": 0.1},
    "labels of tokens": {"per_device_train_batch_size": 6, "gradient_accumulation_steps": 2},
    "heads": {"per_device_train_batch_size": 2, **ADAMW},
}
SHARDED = ("mixed", "checkpointed", "labels of tokens", "clipped")
"""Cases in which every batch has rows of every task, as a model needs that is divided among the processes."""


def run(case: str, folder: str, *, processes: int, sharded: bool = False, **more: Any) -> dict[str, Tensor]:
    """Train as a case says, with steps of as many rows whatever the number of processes; add the losses logged."""
    changes = {**CASES[case], "per_device_eval_batch_size": 12 // processes, **more}
    changes["gradient_accumulation_steps"] = changes.get("gradient_accumulation_steps", 1) * 2 // processes
    rows = continued() if case == "labels of tokens" else classified()
    model = start(case)
    if sharded:
        divided(model, rows)
    trainer = trained(folder, model, rows, **changes)
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    logged.append(trainer.evaluate(rows)["eval_loss"])
    if sharded:
        trainer.save_model(f"{folder}/sharded")
        torch.distributed.barrier()  # the first process has written it
        plain = {"labels of tokens": tiny_gpt2}.get(case, tiny_bert)()
        assert distance(state(load(plain, f"{folder}/sharded/{BUNDLE}")), state(trainer.model)) == 0
    return {**state(trainer.model), "logged": torch.tensor(logged, dtype=torch.float64)}


def divided(model: MetaPeftModel, rows: Rows) -> None:
    """Divide a model between this process and its fellows."""
    from accelerate import PartialState
    from torch.distributed.device_mesh import init_device_mesh

    processes = PartialState(cpu=True).num_processes  # starts their group, as TrainingArguments do
    layers = next(type(module) for module in model.modules() if type(module).__name__ in ("BertLayer", "GPT2Block"))
    few = [next(row for row in rows if row["task"] == task) for task in TASKS]
    some = {"input_ids": torch.stack([row["input_ids"] for row in few]), "task": [row["task"] for row in few]}
    shard(model, some, layers=layers, mesh=init_device_mesh("cpu", (processes,)))


def start(case: str) -> MetaPeftModel:
    """Return the model that a case begins with."""
    if case == "labels of tokens":
        return meta(tiny_gpt2())
    return meta(head="classifier" if case == "heads" else None)


def resumed(folder: str) -> dict[str, Tensor]:
    """Return where a run of two processes ends that goes on within its second epoch."""
    saving: Mapping[str, Any] = {"save_strategy": "steps", "save_steps": 1}
    run("mixed", folder, processes=2, **saving)
    return run("mixed", folder, processes=2, **saving, resume=f"{folder}/checkpoint-4")


def main(file: Path) -> None:
    """Run every case in this process and its fellows, and let the first write where each of them ends."""
    import torch.distributed as dist

    ends = {case: run(case, str(file.parent / "runs"), processes=2) for case in CASES}
    for case in SHARDED:
        ends[f"sharded, {case}"] = run(case, str(file.parent / "runs"), processes=2, sharded=True)
    ends["resumed"] = resumed(str(file.parent / "resumed"))
    if dist.get_rank() == 0:
        torch.save(ends, file)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))


def held(trainer: MetaTrainer) -> int:
    """Return the bytes of distinct memory of the parameters and of what the optimizer keeps of them."""
    optimizer: Any = trainer.optimizer
    tensors = [*trainer.model.parameters(), *trainer.model.buffers()]
    tensors += [tensor for kept in optimizer.state.values() for tensor in kept.values()]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())
