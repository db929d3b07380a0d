"""One task after another: training by a method, and the matrix of scores, each row after saving and loading.

A chain that was ended by a kill goes on after the last task that it finished::

    DIR/row-1/      the stock peft adapter after the first training, and what the method keeps beside it
    DIR/chain.json  rows, losses and what was spent so far; written after each task
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import isfinite
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.nn.utils import parametrize

from loraml_theory.harness.atomic import write_whole
from loraml_theory.harness.errors import InputError
from loraml_theory.harness.input_files import MEBIBYTE, check_regular, read_bytes, read_json
from loraml_theory.harness.seeds import derived_seed, generator
from realdata.continual import factors
from realdata.continual.deal import DealAsWritten, DealPreserving, DealReleased
from realdata.continual.factors import Layers, Pair
from realdata.continual.methods import (
    Ewc,
    Incremental,
    Joint,
    Method,
    NoTraining,
    OLora,
    OLoraExact,
    PerTask,
    Replay,
    Stage,
    State,
)
from realdata.peft_ml.optimisation import Descent, Group, Schedule, trainable
from realdata.peft_ml.seeding import torch_seeded

if TYPE_CHECKING:
    from accelerate import Accelerator

    from realdata.continual.problem import Problem, Rows
    from realdata.continual.settings import ContinualSettings, MethodName
    from realdata.text.splits import Part

METHOD_CLASSES: Mapping[MethodName, type[Method]] = {
    "sequential": Method,
    "incremental": Incremental,
    "o-lora": OLora,
    "o-lora-exact": OLoraExact,
    "deal-released": DealReleased,
    "deal-as-written": DealAsWritten,
    "deal-preserving": DealPreserving,
    "replay": Replay,
    "ewc": Ewc,
    "per-task": PerTask,
    "joint": Joint,
    "no-training": NoTraining,
}
DONE, KEPT = "chain.json", "kept.safetensors"
LARGEST = 16 * MEBIBYTE

Row = dict[str, list[float]]
"""The scores of every task after a training, by the score's name."""


class Chain(NamedTuple):
    """What tells a chain from others: method, learning rate, order of tasks, seed, and the part that is scored."""

    method: MethodName
    learning_rate: float
    order: tuple[str, ...]
    seed: int
    part: Part


@dataclass
class Found:
    """What a chain leads to.

    Parameters
    ----------
    rows
        By their number, 0 before any training; joint training has rows 0 and T alone, no training row 0.
    losses
        Mean loss of every epoch of every training, penalties included; None where it was not finite.
    steps, examples
        Gradient steps and rows of every training, repetitions counted.
    seconds
        Of the processor, for every training without its evaluation.
    """

    rows: dict[int, Row]
    losses: list[list[float | None]]
    steps: list[int]
    examples: list[int]
    seconds: list[float]


def run_chain(
    chain: Chain,
    problem: Problem,
    settings: ContinualSettings,
    folder: Path,
    *,
    accelerator: Accelerator,
    tick: Callable[[float], None] = lambda _: None,
) -> Found:
    """Train on one task after another, and score all tasks before the first and after each.

    Parameters
    ----------
    chain, problem, settings
        What is done.
    folder
        Where adapters are kept, and where a chain is gone on with.
    accelerator
        Device and precision.
    tick
        Told after every epoch how many trainings are done, parts of one included.

    Raises
    ------
    InputError
        If a file of the folder is damaged.
    ValueError
        If a method is not possible here.
    """
    method = METHOD_CLASSES[chain.method](settings, problem, seed=chain.seed)
    layers = Layers(settings.model.targets, settings.training)
    found, state = _continued(folder, chain, layers)
    state = state.to(accelerator.device)
    problem.plain.to(accelerator.device)
    if not found.rows:
        problem.plain.eval()
        found.rows[0] = problem.evaluated(problem.plain, chain.order, chain.part)
        _write(folder, chain, found)
    stages = method.stages(chain.order)
    for at in range(len(found.losses), len(stages)):
        stage = stages[at]
        state = _trained(stage, chain, method, state, layers, found, accelerator, partial(_beyond, tick, at))
        place = folder / f"row-{stage.row}"
        shutil.rmtree(place, ignore_errors=True)  # of a kill
        factors.save(place, problem.plain, layers, state.pairs)
        if state.kept:
            _save_kept(place / KEPT, state)
        with factors.loaded(place, problem.plain) as model:
            method.equip(model, state)
            model.to(accelerator.device).eval()
            found.rows[stage.row] = problem.evaluated(model.get_base_model(), chain.order, chain.part)
        _write(folder, chain, found)
    return found


def _trained(
    stage: Stage,
    chain: Chain,
    method: Method,
    state: State,
    layers: Layers,
    found: Found,
    accelerator: Accelerator,
    tick: Callable[[float], None],
) -> State:
    """Train on the rows of a stage, write down what it took, and return the state after it."""
    problem, settings = method.problem, layers.settings
    rows = method.rows(stage, chain.order)
    began = process_time()
    seed = derived_seed(chain.seed, "stage", stage.row)
    frozen = state.pairs if method.accumulates else []
    with factors.attached(problem.plain, layers, seed=seed) as model:
        if state.pairs and not (method.accumulates or method.fresh):
            factors.put(model, state.pairs[-1])
        with factors.merged(model, frozen, scale=layers.scale), torch_seeded(seed, "training"):
            method.prepare(model, state)
            model.to(accelerator.device).train()
            batches = list(_batches(rows, settings.batch_size, epochs=settings.epochs, seed=seed))
            descent = Descent(
                [Group(trainable(model), chain.learning_rate)],
                optimizer=settings.optimizer,
                weight_decay=settings.weight_decay,
                schedule=Schedule(settings.schedule, sum(map(len, batches)), settings.warmup),
                accelerator=accelerator,
            )
            losses: list[float | None] = []
            step = 0
            for epoch in batches:
                total = 0.0
                for batch in epoch:
                    loss = _step(model, batch, method, state, accelerator)
                    descent.step(step)
                    step += 1
                    total += loss
                losses.append(total / len(epoch) if isfinite(total) else None)
                tick(step / sum(map(len, batches)))
            after = method.ended(model, state, stage)
    found.losses.append(losses)
    found.steps.append(step)
    found.examples.append(settings.epochs * sum(map(len, rows.values())))
    found.seconds.append(process_time() - began)
    return after


def _beyond(tick: Callable[[float], None], at: int, share: float) -> None:
    tick(at + share)


def _step(model: Any, batch: Rows, method: Method, state: State, accelerator: Accelerator) -> float:
    """Take the gradient of a batch and return the loss; filters act once in it, however often a weight is used."""
    with parametrize.cached():
        with accelerator.autocast():
            loss = method.problem.loss(model.get_base_model(), batch)
        extra = method.penalty(model, state)
        whole = loss if extra is None else loss + extra
        accelerator.backward(whole)
    return float(whole.detach())


def _batches(rows: Rows, size: int, *, epochs: int, seed: int) -> Iterator[list[Rows]]:
    """Yield the batches of every epoch, in an order of rows that the seed draws, the rows of each by task."""
    flat = [(task, int(row)) for task, own in rows.items() for row in own]
    for epoch in range(epochs):
        order = generator(seed, "batches", epoch).permutation(len(flat))
        yield [_by_task([flat[at] for at in order[first : first + size]]) for first in range(0, len(flat), size)]


def _by_task(chosen: Sequence[tuple[str, int]]) -> Rows:
    found: dict[str, list[int]] = {}
    for task, row in chosen:
        found.setdefault(task, []).append(row)
    return {task: np.array(own) for task, own in found.items()}


def _document(chain: Chain) -> dict[str, Any]:
    return {**chain._asdict(), "order": list(chain.order)}


def _write(folder: Path, chain: Chain, found: Found) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    document = {"chain": _document(chain), **asdict(found), "rows": {str(at): row for at, row in found.rows.items()}}
    write_whole(folder / DONE, json.dumps(document))


def _continued(folder: Path, chain: Chain, layers: Layers) -> tuple[Found, State]:
    """Return what a folder has of a chain, and the state after its last training."""
    if not (folder / DONE).exists():
        return Found({}, [], [], [], []), State()
    damaged = InputError(f"{folder}: is damaged, or of another chain; remove it and run again")
    document = read_json(folder / DONE, expected="the JSON of a chain; remove its folder", limit=LARGEST)
    try:
        if document["chain"] != _document(chain):
            raise damaged
        rows = {int(at): row for at, row in document["rows"].items()}
        lists = (document[name] for name in ("losses", "steps", "examples", "seconds"))
        found = Found(rows, *(list(values) for values in lists))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise damaged from None
    if not found.losses:
        return found, State()
    return found, _read_state(folder / f"row-{max(rows)}", layers)


def _save_kept(path: Path, state: State) -> None:
    from safetensors.torch import save

    write_whole(path, save({name: value.cpu().contiguous() for name, value in state.kept.items()}))


def _read_state(place: Path, layers: Layers) -> State:
    """Return the state that `run_chain` wrote: pairs from the adapter, and what the method keeps."""
    tensors = _tensors(place / "adapter_model.safetensors")
    found: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        name, _, factor = key.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".lora_")
        found.setdefault(name, {})[factor] = value
    whole = {name: Pair(own["A"], own["B"]) for name, own in found.items()}
    kept = _tensors(place / KEPT) if (place / KEPT).exists() else {}
    return State(factors.divided(whole, rank=layers.settings.rank), kept)


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load

    expected = "an adapter's safetensors"
    content = read_bytes(path, expected=expected, limit=check_regular(path, expected=expected))
    try:
        return load(content)
    except Exception as error:  # of safetensors
        raise InputError(f"{path}: is damaged; remove its folder and run again") from error
