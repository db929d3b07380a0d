"""Look at every weight of the tasks, and write the base along the way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loraml_theory.harness.errors import one_line
from realdata.advisor.errors import AdviceError
from realdata.advisor.layer import LayerAdvice, Settings, look_at
from realdata.advisor.merging import (
    TensorWriter,
    averaged,
    check_target,
    determined,
    merged_matrix,
    writing_base,
    written_weights,
)
from realdata.advisor.tasks import Tasks, why_not
from realdata.advisor.tensor_files import Described

CHECKED = 2**24
"""Entries of a weight that is not analysed, looked at for NaN at a time."""


@dataclass(frozen=True)
class Skipped:
    """A weight that is not analysed, and why."""

    name: str
    shape: tuple[int, ...]
    reason: str


@dataclass(frozen=True, eq=False)
class Advice:
    """Everything that was found.

    Parameters
    ----------
    tasks
        Names.
    layers
        What was found about each matrix.
    skipped
        What was not analysed.
    settings
        How.
    adapters
        Whether the tasks are adapters of one base.
    by_theory
        Names of the matrices whose LoRA-ML base is determined; the others are averaged where a base is written.
    written
        Where the base was written.
    """

    tasks: tuple[str, ...]
    layers: tuple[LayerAdvice, ...]
    skipped: tuple[Skipped, ...]
    settings: Settings
    adapters: bool
    by_theory: tuple[str, ...]
    written: Path | None


def advise(
    tasks: Tasks,
    settings: Settings,
    *,
    write_base: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Advice:
    """Look at every weight.

    Parameters
    ----------
    tasks
        See `open_tasks`.
    settings
        How.
    write_base
        Where the base goes, as a safetensors file, when everything is done.
    progress
        Told what is being looked at.

    Raises
    ------
    AdviceError
        If there is no weight to look at, or none of the rank asked for, if weights hold NaN, or if a base cannot be
        written: there is none to write, or it would replace a file of the input.
    OSError
        If the base cannot be written.
    """
    _check_rank(tasks, settings.rank)
    if write_base is not None:
        check_target(write_base, tasks)
    layers: list[LayerAdvice] = []
    skipped: list[Skipped] = []
    names = dict(tasks.described) if write_base is None else written_weights(tasks)
    with ExitStack() as stack:
        writer = None if write_base is None else stack.enter_context(writing_base(write_base, names))
        for number, (name, found) in enumerate(names.items(), start=1):
            progress(one_line(f"{number}/{len(names)} {name}"))
            _look(tasks, name, found, settings=settings, layers=layers, skipped=skipped, writer=writer)
    order = {name: i for i, name in enumerate(tasks.described)}
    layers.sort(key=lambda layer: order[layer.name])
    known = tasks.tasks[0].described()
    skipped += [
        Skipped(weight, known[weight].shape if weight in known else (), "is an embedding; its adapters do not count")
        for weight in _embeddings(tasks)
        if weight not in {each.name for each in skipped}
    ]
    by_theory = tuple(layer.name for layer in layers if determined(layer))
    return Advice(tasks.names, tuple(layers), tuple(skipped), settings, tasks.common, by_theory, write_base)


def _check_rank(tasks: Tasks, rank: int | None) -> None:
    """Raise unless there is a weight to look at, and one that is as large as the rank asked for."""
    sides = [min(found.matrix) for name, found in tasks.described.items() if why_not(tasks, name) is None]
    if not sides:
        raise AdviceError(
            "the tasks have no weight to look at, expected floating-point matrices of two rows and columns or more that"
            " are no embeddings"
        )
    if rank is not None and rank > max(sides):
        raise AdviceError(f"--rank: got {rank}, expected at most {max(sides)}, the full rank of the largest weight")


def _embeddings(tasks: Tasks) -> list[str]:
    """Return the embeddings that adapters change."""
    found = [weight for task in tasks.tasks if task.adapter is not None for weight in task.adapter.embeddings]
    return list(dict.fromkeys(found))


def _look(
    tasks: Tasks,
    name: str,
    found: Described,
    *,
    settings: Settings,
    layers: list[LayerAdvice],
    skipped: list[Skipped],
    writer: TensorWriter | None,
) -> None:
    """Analyse or skip one weight, and write it."""
    if name not in tasks.described:  # of the base alone
        if writer is not None:
            writer.write(name, averaged(tasks, name, found))
        return
    reason = why_not(tasks, name)
    if reason is None:
        layer, span = look_at(tasks, name, settings)
        layers.append(layer)
        if writer is not None:
            writer.write(name, merged_matrix(tasks, layer, span))
        return
    skipped.append(Skipped(name, found.shape, reason))
    if writer is not None:
        writer.write(name, averaged(tasks, name, found))
    elif found.floating and found.shape:
        _require_finite(tasks, name, found)


def _require_finite(tasks: Tasks, name: str, found: Described) -> None:
    """Read a weight that is not analysed, which raises where it is not finite."""
    rows, columns = found.matrix
    step = max(1, CHECKED // max(columns, 1))
    for task in tasks.tasks:
        for start in range(0, rows, step):
            task.rows(name, slice(start, start + step))


def uniform_rank(layers: tuple[LayerAdvice, ...], method: str, share: float) -> int | None:
    """Return the least rank that, used in every layer, reaches a share of the energy of all layers, noise not counted.

    Parameters
    ----------
    layers
        Those without a LoRA-ML base count with their mean.
    method
        ``sr`` or ``ml``.
    share
        Of what separates held-out tasks from the mean of the others.

    Returns
    -------
    None where no layer has a base of its own, or the ranks that are known do not suffice.
    """
    held = [(layer, layer.held_out) for layer in layers if layer.held_out is not None and not layer.unchanged]
    if not held or (method == "ml" and not any(found.ml for _, found in held)):
        return None
    length = max(found.sr.left.shape[1] for _, found in held)
    total, whole = np.zeros(length), 0.0
    for layer, found in held:
        (p, q), ranks = layer.matrix, np.arange(length)
        rows = (found.ml or found.sr if method == "ml" else found.sr).left
        noise = found.variance * np.maximum(p - ranks, 0) * np.maximum(q - ranks, 0)
        left = np.mean(rows, axis=0)
        padded = np.append(left, np.full(length - len(left), left[-1]))
        total += np.maximum(padded - noise, 0.0)
        whole += max(float(np.mean(found.sr.left[:, 0])) - found.variance * p * q, 0.0)
    enough = np.flatnonzero(total <= (1 - share) * whole + 1e-12 * whole)
    return int(enough[0]) if enough.size and whole > 0 else None
