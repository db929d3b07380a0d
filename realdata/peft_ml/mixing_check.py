"""Whether one forward for the rows of several tasks gives what one forward per task gives, tried on a batch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from loraml_theory.harness.seeds import derived_seed
from realdata.peft_ml.data import Inputs
from realdata.peft_ml.mixed import MixingError
from realdata.peft_ml.rows import chosen_rows
from realdata.peft_ml.seeding import torch_seeded

Forward = Callable[[Inputs, Sequence[str]], Tensor]


@torch.no_grad()
def disagreement(
    model: nn.Module,
    inputs: Inputs,
    tasks: Sequence[str],
    *,
    mixed: Forward,
    task_by_task: Forward,
    adapters: Mapping[str, Mapping[str, nn.Parameter]],
) -> str | None:
    """Return why one forward for all rows is not to be used, or None if it agrees with one per task.

    With dropout off, both must give the same outputs, and outputs that tell the tasks apart, for which the adapters are
    disturbed meanwhile: fresh ones often change nothing. In training, rows of one task must not depend on those of the
    others. The model is left as it was, and so are torch's generators.

    Parameters
    ----------
    model
        With the adapters; its mode is the one that is tried.
    inputs, tasks
        A batch of two tasks or more, and the task of each row.
    mixed, task_by_task
        The two ways.
    adapters
        Every adapter's parameters.
    """
    device_type = next(model.parameters()).device.type
    with (
        torch_seeded(0, "mixed rows"),
        torch.autocast(device_type, enabled=False),
        _disturbed(adapters),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "None of the inputs have requires_grad")  # of checkpoints, which is so here
        try:
            with _kept_buffers(model):
                if model.training and (reason := _dependence(inputs, tasks, mixed)):
                    return reason
            with _evaluating(model):
                return _difference(inputs, tasks, mixed, task_by_task)
        except MixingError as error:
            return str(error)


def _difference(inputs: Inputs, tasks: Sequence[str], mixed: Forward, task_by_task: Forward) -> str | None:
    names = list(dict.fromkeys(tasks))
    next_name = dict(zip(names, names[1:] + names[:1], strict=True))
    expected = task_by_task(inputs, tasks)
    others = task_by_task(inputs, [next_name[task] for task in tasks])
    if not _same(mixed(inputs, tasks), expected):
        return "outputs differ from those of one forward per task"
    for name in names:
        of_task = torch.tensor([task == name for task in tasks], device=expected.device)
        if _same(others[of_task], expected[of_task]):
            return f"outputs are the same for the tasks {name!r} and {next_name[name]!r}"
    return None


def _dependence(inputs: Inputs, tasks: Sequence[str], mixed: Forward) -> str | None:
    """Turn the rows of all tasks but the first around, and see whether those of the first change."""
    first = torch.tensor([task == tasks[0] for task in tasks])
    places = torch.arange(len(tasks))
    places[~first] = places[~first].flip(0)
    outputs = []
    for batch in (inputs, chosen_rows(inputs, places)):
        with torch_seeded(0, "mixed rows", "dropout"):
            output = mixed(batch, tasks)
        outputs.append(output[first.to(output.device)])
    return None if _same(*outputs) else "rows of a batch depend on each other in training"


def _same(a: Tensor, b: Tensor) -> bool:
    """Say whether two outputs are equal to half of their digits, relative to the largest."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    finite = b[torch.isfinite(b)].abs()
    scale = float(finite.max()) if len(finite) else 1.0
    return torch.allclose(a, b, rtol=0.0, atol=math.sqrt(torch.finfo(b.dtype).eps) * scale, equal_nan=True)


@contextmanager
def _disturbed(adapters: Mapping[str, Mapping[str, nn.Parameter]]) -> Iterator[None]:
    """Add noise to the adapters, of a size that keeps a layer's outputs within a few times what they are."""
    kept = [(parameter, parameter.data) for adapter in adapters.values() for parameter in adapter.values()]
    try:
        for task, adapter in adapters.items():
            noise = torch.Generator().manual_seed(derived_seed(0, "mixed rows", task))
            for parameter in adapter.values():
                drawn = torch.randn(parameter.shape, generator=noise) * 0.3 / math.sqrt((1, *parameter.shape)[-1])
                parameter.data = parameter.data + drawn.to(parameter)  # .data: no graph that is pending notices
        yield
    finally:
        for parameter, data in kept:
            parameter.data = data


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _kept_buffers(model: nn.Module) -> Iterator[None]:
    kept = [(buffer, buffer.data) for buffer in model.buffers()]
    try:
        for buffer, data in kept:
            buffer.data = data.clone()  # .data, here too: a pending graph may have saved it
        yield
    finally:
        for buffer, data in kept:
            buffer.data = data
