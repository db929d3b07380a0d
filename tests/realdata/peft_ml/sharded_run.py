"""A model divided between two processes by fully_shard, and its gradients; started by torchrun.

Called as a program with a folder for the bundle and the gradients.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from loraml_theory.harness.errors import InputError
from realdata.peft_ml.bundle import save
from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.sharding import whole
from tests.realdata.peft_ml.trainer_runs import classified, meta

Batch = Mapping[str, Any]


def batch(rows: slice = slice(None)) -> Batch:
    """Return some of twelve rows, four of each task, the tasks in turn."""
    found = sorted(classified(4), key=lambda row: row["task"])
    chosen = [found[place] for place in torch.arange(12).view(3, 4).T.flatten().tolist()][rows]
    words, labels = torch.stack([row["input_ids"] for row in chosen]), [row["labels"] for row in chosen]
    return {"input_ids": words, "labels": torch.tensor(labels), "task": [row["task"] for row in chosen]}


def divided() -> MetaPeftModel:
    """Return a model that this process and its fellow share, tried before that."""
    model, mesh = meta(), init_device_mesh("cpu", (dist.get_world_size(),))
    model.train()(**batch())
    for module in list(model.modules()):
        if type(module).__name__ == "BertLayer":
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def refused(model: MetaPeftModel, given: Batch) -> str:
    """Return why a batch is refused."""
    try:
        model(**given)
    except InputError as error:
        return str(error)
    return "it is not"


def gradients(model: MetaPeftModel) -> dict[str, Tensor]:
    """Return all gradients."""
    return {name: whole(p.grad) for name, p in model.named_parameters() if p.grad is not None}


def main(folder: Path) -> None:
    """Take the gradient of all rows, half of them here, and write it and the model."""
    dist.init_process_group("gloo")
    model, rank = divided(), dist.get_rank()
    lacking = refused(model, {**batch(slice(0, 2))})
    untried = refused(model.eval(), batch())
    loss = model.train()(**batch(slice(6 * rank, 6 * rank + 6)), num_items_in_batch=torch.tensor([4, 4, 4])).loss
    (2 * loss).backward()  # fully_shard takes the mean over the processes
    found = {"gradients": gradients(model), "lacking": lacking, "untried": untried}
    save(model, folder / "bundle")
    if rank == 0:
        torch.save(found, folder / "found")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
