"""A gradient for rows of eight tasks on one base: in one mixed batch, as MetaTrainer makes them, against a pass a task.

    python benchmarks/many_tasks.py [--repeats 15] [--threads 2] [--tasks 8] [--rank 8]

The model is a BERT of four layers and width 256 on sentences of 32 words, with LoRA on every linear layer. Both sides
take the gradient for the same rows and labels by ``meta(**batch).loss.backward()``, once for all rows or once for each
task, and are compared first. Then the state of training, which is parameters, gradients and what AdamW keeps, is
counted for one task and for all, in bytes of distinct memory after a step.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from peft import LoraConfig
from problems import timed
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification

from realdata.peft_ml import MetaPeftModel

WORDS, LENGTH = 8000, 32
Batch = Mapping[str, Any]


def model_of(tasks: int, rank: int) -> MetaPeftModel:
    """Draw a model without dropout, with an adapter for each task that is not at its start."""
    torch.manual_seed(0)
    sizes = {"vocab_size": WORDS, "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    plain = BertForSequenceClassification(BertConfig(**sizes, intermediate_size=1024, **still))
    names = [f"task-{t}" for t in range(tasks)]
    meta = MetaPeftModel(plain, names, adapter=LoraConfig(r=rank, target_modules="all-linear"), seed=0)
    for adapter in meta.all_adapter_parameters().values():
        for parameter in adapter.values():
            torch.nn.init.normal_(parameter, std=0.02)
    return meta.train()


def batches_of(meta: MetaPeftModel, rows: int) -> list[Batch]:
    """Draw a batch of as many rows for each task."""
    return [
        {
            "input_ids": torch.randint(0, WORDS, (rows, LENGTH)),
            "labels": torch.randint(0, 2, (rows,)),
            "task": [task] * rows,
        }
        for task in meta.tasks
    ]


def joined(batches: list[Batch]) -> Batch:
    """Return the rows of all batches in one."""
    tensors = {name: torch.cat([batch[name] for batch in batches]) for name in ("input_ids", "labels")}
    return {**tensors, "task": [task for batch in batches for task in batch["task"]]}


def gradients(meta: MetaPeftModel, batches: list[Batch]) -> Tensor:
    """Take the gradient of Σ_t of the tasks' losses, a pass for each batch, and return all of it."""
    passes(meta, batches)
    return torch.cat([p.grad.flatten() for p in meta.parameters() if p.grad is not None])


def passes(meta: MetaPeftModel, batches: list[Batch]) -> None:
    """Take the gradient."""
    meta.zero_grad(set_to_none=True)
    for batch in batches:
        meta(**batch).loss.backward()


def measure(meta: MetaPeftModel, rows: int, *, repeats: int) -> None:
    """Print one line of the table."""
    per_task = batches_of(meta, rows)
    sides = {"mixed": [joined(per_task)], "a pass a task": per_task}
    ours, expected = (gradients(meta, batches) for batches in sides.values())
    assert meta.mixed_rows.possible, meta.mixed_rows.reason
    difference = float((ours - expected).abs().max() / expected.abs().max())
    taken = {name: np.empty(repeats) for name in sides}
    for repeat in range(repeats):
        for name, batches in sides.items():
            taken[name][repeat], _ = timed(lambda batches=batches: passes(meta, batches))
    rates = "".join(f"{len(per_task) * rows / np.median(seconds):15.0f}" for seconds in taken.values())
    quartiles = "{:.2f} ({:.2f} to {:.2f})".format(
        *np.percentile(taken["a pass a task"] / taken["mixed"], [50, 25, 75])
    )
    print(f"{rows:11} {rates}   {quartiles:20} {difference:.0e}", flush=True)


def state_bytes(tasks: int, rank: int) -> int:
    """Return the bytes of distinct memory of parameters, gradients and AdamW's state after a step on all tasks."""
    meta = model_of(tasks, rank)
    optimizer = torch.optim.AdamW(meta.parameters())
    passes(meta, [joined(batches_of(meta, 1))])
    optimizer.step()
    tensors = [*meta.parameters(), *meta.buffers(), *(p.grad for p in meta.parameters() if p.grad is not None)]
    tensors += [value for kept in optimizer.state.values() for value in kept.values() if isinstance(value, Tensor)]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def main() -> None:
    """Print a table and the bytes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--rank", type=int, default=8)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    print(f"{asked.tasks} tasks, rank {asked.rank}, {asked.threads} threads; rows a second, medians of {asked.repeats}")
    print(f"{'rows a task':>11} {'mixed':>15}{'a pass a task':>15}   ratio                difference")
    meta = model_of(asked.tasks, asked.rank)
    for rows in (1, 2, 8):
        measure(meta, rows, repeats=asked.repeats)
    one, all_of_them = (state_bytes(tasks, asked.rank) for tasks in (1, asked.tasks))
    factors = meta.adapter_parameters(meta.tasks[0]).values()
    adapter = sum(4 * p.numel() * p.element_size() + 4 for p in factors)  # gradient, two moments, a count of steps
    more = all_of_them - one - (asked.tasks - 1) * adapter
    print(f"state of training: {one:,} bytes for one task, {all_of_them:,} for {asked.tasks}: {more:,} more than")
    print(f"that of one and {asked.tasks - 1} adapters of {adapter:,} each")


if __name__ == "__main__":
    main()
