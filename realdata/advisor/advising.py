"""Analyse every weight of the tasks, and write the base at the same time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from loraml_theory.harness.errors import InputError, one_line
from loraml_theory.statistics.adaptation import Apart
from realdata.advisor.layer import AdviceSettings, LayerAdvice, Start, look_at
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
"""Entries of an unanalysed weight that are checked for NaN at a time."""


@dataclass(frozen=True)
class Skipped:
    """A weight that is not analysed, and why.

    Parameters
    ----------
    name, shape, reason
        The weight.
    compared
        Whether all tasks have it, so that a written base has its mean; otherwise that has the base's or none.
    """

    name: str
    shape: tuple[int, ...]
    reason: str
    compared: bool = True


@dataclass(frozen=True, eq=False)
class Advice:
    """The results.

    Parameters
    ----------
    tasks
        Names.
        layers
        The results for each matrix.
        skipped
        Unanalysed weights, those that are only averaged first, then those that cannot be compared.
        notes
        Weights that were identified under different names.
        settings
        The settings of the analysis.
    adapters
        Whether the tasks are adapters of one base.
    by_theory
        Names of the matrices whose LoRA-ML base is determined; the others are averaged where a base is written.
    written
        Where the base was written.
    unwritten
        Weights that the written base lacks.
    """

    tasks: tuple[str, ...]
    layers: tuple[LayerAdvice, ...]
    skipped: tuple[Skipped, ...]
    settings: AdviceSettings
    adapters: bool
    by_theory: tuple[str, ...]
    written: Path | None
    notes: tuple[str, ...] = ()
    unwritten: tuple[str, ...] = ()


def advise(
    tasks: Tasks,
    settings: AdviceSettings,
    *,
    write_base: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Advice:
    """Analyse every weight.

    Parameters
    ----------
    tasks
        See `open_tasks`.
    settings
        The settings of the analysis.
        write_base
        The safetensors file for the base, written at the end.
        progress
        Called with the name of the current weight.

    Raises
    ------
    InputError
        If there is no weight to analyse, or none of the requested rank, if weights hold NaN, or if a base cannot be
        written: none is determined, or it would replace a file of the input.
    OSError
        If the base cannot be written.
    """
    _check_rank(tasks, settings.rank)
    if write_base is not None:
        check_target(write_base, tasks)
    weights = dict(tasks.described) if write_base is None else written_weights(tasks)
    walk = _Walk(tasks, settings)
    with ExitStack() as stack:
        if write_base is not None:
            walk.writer = stack.enter_context(writing_base(write_base, tasks, weights))
        everything = {**weights, **{name: found for name, found in tasks.described.items() if name not in weights}}
        for number, (name, found) in enumerate(everything.items(), start=1):
            progress(one_line(f"{number}/{len(everything)} {name}"))
            walk.look(name, found, written=name in weights)
    order = {name: i for i, name in enumerate(tasks.described)}
    layers = tuple(sorted(walk.layers, key=lambda layer: order[layer.name]))
    left = tuple(Skipped(*each, compared=False) for each in tasks.left_out)
    return Advice(
        tasks.names,
        layers,
        (*walk.skipped, *left),
        settings,
        tasks.common,
        tuple(layer.name for layer in layers if determined(layer)),
        write_base,
        tasks.notes,
        () if write_base is None else tuple(name for name in _all_names(tasks) if name not in weights),
    )


def _all_names(tasks: Tasks) -> list[str]:
    return [*tasks.described, *(each.name for each in tasks.left_out)]


def _check_rank(tasks: Tasks, rank: int | None) -> None:
    """Raise unless there is a weight to analyse, and one as large as the requested rank."""
    sides = [min(found.matrix) for name, found in tasks.described.items() if why_not(tasks, name) is None]
    if not sides:
        left = tasks.left_out
        also = f"; {len(left)} cannot be compared, such as {left[0].name!r}: {left[0].reason}" if left else ""
        raise InputError(
            "the tasks have no weight to analyse, expected floating-point matrices of two rows and columns or more that"
            f" are not embeddings{also}"
        )
    if rank is not None and rank > max(sides):
        raise InputError(f"--rank: got {rank}, expected at most {max(sides)}, the full rank of the largest weight")


@dataclass(eq=False)
class _Walk:
    """The results so far, weight by weight."""

    tasks: Tasks
    settings: AdviceSettings
    layers: list[LayerAdvice] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    writer: TensorWriter | None = None
    kept: dict[str, Tensor] = field(default_factory=dict)

    def look(self, name: str, found: Described, *, written: bool) -> None:
        """Analyse or skip one weight, and write it."""
        writer = self.writer if written else None
        reason = why_not(self.tasks, name) if name in self.tasks.described else "is the base's alone"
        if reason is None:
            self._analyse(name, writer)
            return
        if name in self.tasks.described:
            self.skipped.append(Skipped(name, self.tasks.described[name].shape, reason))
        if writer is not None:
            writer.write(name, self._averaged(name, found))
        elif found.floating and found.shape:
            _require_finite(self.tasks, name, found)

    def _analyse(self, name: str, writer: TensorWriter | None) -> None:
        layer, span = look_at(self.tasks, name, self.settings)
        self.layers.append(layer)
        if writer is not None:
            merged = merged_matrix(self.tasks, layer, span)
            if name in self.tasks.tied.values():
                self.kept[name] = merged
            writer.write(name, merged)

    def _averaged(self, name: str, found: Described) -> Tensor:
        """Return the written value of an unanalysed weight; a tied one equals the other."""
        first = self.tasks.tied.get(name, name)
        return self.kept[first] if first in self.kept else averaged(self.tasks, first, found)


def _require_finite(tasks: Tasks, name: str, found: Described) -> None:
    """Read an unanalysed weight, to raise if it is not finite."""
    rows, columns = found.matrix
    if not all(task.has_plain(name) for task in tasks.tasks):
        for task in tasks.tasks:
            task.factors(name, found.matrix)
        return
    step = max(1, CHECKED // max(columns, 1))
    for task in tasks.tasks:
        for start in range(0, rows, step):
            task.rows(name, slice(start, start + step))


def uniform_rank(layers: tuple[LayerAdvice, ...], start: Start, share: float) -> int | None:
    """Return the least common rank of all layers that reaches a share of their energy, noise not counted.

    Parameters
    ----------
    layers
        Those without a known or a LoRA-ML base count with their mean.
    start
        Where held-out tasks start.
    share
        Share of the energy of held-out tasks' differences from the closest known start of each layer.

    Returns
    -------
    None where no layer has such a start, or the known ranks do not suffice.
    """
    held = [(layer, layer.held_out) for layer in layers if layer.held_out is not None and not layer.unchanged]
    if not any(getattr(found, start) for _, found in held):
        return None
    length = max(found.sr.left.shape[1] for _, found in held)
    total, whole = np.zeros(length), 0.0
    for layer, found in held:
        total += _signal_left(getattr(found, start) or found.sr, layer.matrix, length)
        whole += float(np.mean(found.closest().signal(layer.matrix)))
    enough = np.flatnonzero(total <= (1 - share) * whole + 1e-12 * float(np.max(total)))
    return int(enough[0]) if enough.size and whole > 0 else None


def _signal_left(apart: Apart, shape: tuple[int, int], length: int) -> np.ndarray:
    """Return the energy without noise that ranks 0, 1, .. leave, the mean over tasks, ``(length,)``."""
    ranks, left = np.arange(length), np.mean(apart.left, axis=0)
    padded = np.append(left, np.full(length - len(left), left[-1]))
    noise = apart.variance * np.maximum(shape[0] - ranks, 0) * np.maximum(shape[1] - ranks, 0)
    signal: np.ndarray = np.maximum(padded - noise, 0.0)
    return signal
