"""The given tasks: each a checkpoint, an adapter on a base, or a part of a bundle, as far as they agree."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from loraml_theory.harness.errors import InputError, one_line
from realdata.advisor.checkpoints import is_folder, open_checkpoint
from realdata.advisor.comparison import LeftOut, check_not_empty, compared, ignoring
from realdata.advisor.formats import check_plain
from realdata.advisor.lora_adapter import WEIGHTS, is_adapter, open_adapter
from realdata.advisor.naming import unwrapped
from realdata.advisor.one_base import (
    added_twice,
    check_named_bases,
    not_in_base,
    oriented,
    untied,
    with_one_set_of_names,
    with_tied_heads,
)
from realdata.advisor.task_weights import TaskWeights
from realdata.advisor.tensor_files import Described, Stored, View
from realdata.advisor.tied import tied
from realdata.advisor.weight_kinds import is_table, no_map, unfused
from realdata.peft_ml.manifest import BASE, MANIFEST, Manifest, adapter_folder, check_files, read_manifest

Ignored = Callable[[str], str | None]


@dataclass(frozen=True, eq=False)
class Tasks:
    """All tasks, matched to one another.

    Parameters
    ----------
    tasks
        At least two, in the order given.
    base
        The checkpoint of --base.
    described
        Shapes and dtypes of the compared weights, which all tasks have.
    common
        Whether all tasks are adapters of one base: their differences are those of the adapters.
    left_out
        Weights that are not compared.
    tied
        Weights that are tied to another in every task, with the other.
    same_saved
        Weights for which all adapters have saved the same tensor: the base's.
    notes
        Weights that were identified under different names.
    """

    tasks: tuple[TaskWeights, ...]
    base: View | None
    described: Mapping[str, Described]
    common: bool
    left_out: tuple[LeftOut, ...] = ()
    tied: Mapping[str, str] = field(default_factory=dict)
    same_saved: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks' names."""
        return tuple(task.name for task in self.tasks)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are read."""
        read = [self.base, *(task.weights for task in self.tasks)]
        files = [file for part in read if part is not None for file in part.files]
        adapters = [file for task in self.tasks if task.adapter is not None for file in task.adapter.file.files]
        return tuple(dict.fromkeys([*files, *adapters]))

    @property
    def under(self) -> View | None:
        """The base of all adapters, if known."""
        return self.tasks[0].weights if self.common else None

    @property
    def beneath(self) -> View | None:
        """The source of a written base for other weights: the adapters' base, or the one given."""
        return self.base if self.under is None else self.under

    def whole(self, weight: str) -> Stored | None:
        """Return the name of the tensor of which a weight is one matrix; None if it is a tensor itself."""
        views = [view for view in (self.beneath, self.tasks[0].weights) if view is not None and weight in view.stored]
        part = views[0].stored[weight].part if views else None
        return None if part is None else Stored(weight.removesuffix(f"[{part}]"), part)

    def by_factors(self, weight: str) -> bool:
        """Return whether the tasks differ in a weight by their adapters alone."""
        saved = any(task.has_saved(weight) for task in self.tasks) and weight not in self.same_saved
        return self.common and not saved and any(task.has_factors(weight) for task in self.tasks)

    def base_rows(self, weight: str) -> Callable[[slice], np.ndarray] | None:
        """Return what reads rows of the base that the tasks were fine-tuned from; None if it is not known there."""
        view = self.beneath
        if view is None or weight not in view.tensors or view.tensors[weight].shape != self.described[weight].shape:
            return None
        base = TaskWeights("--base", view, None)
        return lambda rows: base.rows(weight, rows)

    def adapter_rank(self, weight: str) -> int | None:
        """Return the largest rank of the tasks' adapters at a weight."""
        if not self.by_factors(weight):
            return None
        adapters = [task.adapter for task in self.tasks if task.adapter is not None and task.has_factors(weight)]
        return max(adapter.rank(weight) for adapter in adapters)


def open_tasks(words: Sequence[str], *, base: Path | None = None, ignore: Sequence[str] = ()) -> Tasks:
    """Open the files of ``NAME=PATH`` words, and match them.

    Parameters
    ----------
    words
        A checkpoint, an adapter or a bundle each; a bundle gives the tasks ``NAME/TASK``.
    base
        A checkpoint of the base.
    ignore
        Patterns of names to omit.

    Raises
    ------
    InputError
        If a word is malformed, a name occurs twice, there are fewer than two tasks, a file is damaged or has an
        unsupported format, or the tasks have nothing to compare.
    """
    ignored = ignoring(ignore)
    given = None if base is None else _weights(base, ignored)
    tasks: list[TaskWeights] = []
    seen: dict[tuple[int, int], str] = {}
    for word in words:
        name, path = _split(word)
        folder = is_folder(path)
        if not folder and path.name in WEIGHTS and is_adapter(path.parent):
            folder, path = True, path.parent
        where = os.stat(path)
        if (where.st_dev, where.st_ino) in seen:
            raise InputError(
                f"{name}: is {path}, the same file as {seen[where.st_dev, where.st_ino]}; expected another checkpoint"
            )
        seen[where.st_dev, where.st_ino] = name
        tasks += _opened(name, path, given, folder=folder, ignored=ignored)
    _check_names([task.name for task in tasks])
    return _fitted(tasks, given, ignore)


def _split(word: str) -> tuple[str, Path]:
    name, equals, path = word.partition("=")
    if not (name.strip() and name.isprintable() and equals and path.strip()):
        raise InputError(f"{word!r}: expected NAME=PATH")
    return name.strip(), Path(path)


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{name}: occurs {names.count(name)} times, expected a different name for every task")
    if len(names) < 2:
        got = "a single task" if names else "no task"
        raise InputError(f"got {got}, expected NAME=PATH for at least two (three determine a base)")


def _weights(path: Path, ignored: Ignored) -> View:
    """Open a checkpoint of plain weights, its experts one by one."""
    file = open_checkpoint(path)
    names = unwrapped(path, file.tensors)
    plain = {name: file.tensors[stored] for name, stored in names.items()}
    check_plain(path, {name: found for name, found in plain.items() if ignored(name) is None})
    return View(file, {name: Stored(names[tensor], part) for name, (tensor, part) in unfused(plain).items()})


def _opened(name: str, path: Path, base: View | None, *, folder: bool, ignored: Ignored) -> list[TaskWeights]:
    if folder and is_adapter(path):
        return [TaskWeights(name, base, open_adapter(path))]
    if folder and (path / MANIFEST).is_file() and (path / "adapters").is_dir():
        manifest = _bundled(path)
        own = _weights(path / BASE, ignored)
        return [
            TaskWeights(f"{name}/{one_line(task)}", own, open_adapter(path / adapter_folder(task)))
            for task in manifest.tasks
        ]
    return [TaskWeights(name, _weights(path, ignored), None)]


def _bundled(path: Path) -> Manifest:
    """Return the manifest of one of this project's bundles after a check of its files' hashes."""
    manifest = read_manifest(path)
    check_files(manifest, path)
    return manifest


def _fitted(opened: Sequence[TaskWeights], base: View | None, ignore: Sequence[str]) -> Tasks:
    """Return the tasks with their comparable weights."""
    first = opened[0]
    common = all(task.adapter is not None and task.weights is first.weights for task in opened)
    unknown = [task for task in opened if task.weights is None]
    if unknown and not common:
        raise InputError(f"{unknown[0].name}: is an adapter and others are checkpoints, expected its base as --base")
    notes = check_named_bases(opened, first.weights) if common else []
    named, renamed = with_one_set_of_names(opened, base)
    on_base, base = with_tied_heads(named, base)
    tasks, excluded = oriented(on_base)
    found = compared(tasks, common=common, ignored=ignoring(ignore), excluded=excluded)
    _check_ignored(ignore, [*found.described, *(each.name for each in found.left_out)], base)
    check_not_empty(found)
    fitted = Tasks(tuple(tasks), base, found.described, common, found.left_out, same_saved=_same_saved(tasks, common))
    if common:
        notes += [*renamed, *untied(tasks), *added_twice(tasks), *not_in_base(tasks)]
    return _with_tied(fitted, notes if common else renamed)


def _check_ignored(ignore: Sequence[str], names: Sequence[str], base: View | None) -> None:
    """Raise unless every pattern matches a weight."""
    known = [*names, *(() if base is None else base.tensors)]
    for pattern in ignore:
        if not any(map(ignoring([pattern]), known)):
            raise InputError(
                f"--ignore: {pattern!r} does not match a weight, expected a pattern such as '*.classifier.*'"
            )


def _same_saved(tasks: Sequence[TaskWeights], common: bool) -> frozenset[str]:
    """Return the weights for which all adapters have saved the same tensor."""
    adapter = tasks[0].adapter
    names = [name for name in adapter.saved if any(t.has_factors(name) for t in tasks)] if common and adapter else []
    return frozenset(
        name
        for name in names
        if all(t.has_saved(name) and torch.equal(t.plain(name), tasks[0].plain(name)) for t in tasks[1:])
    )


def _with_tied(tasks: Tasks, notes: Sequence[str]) -> Tasks:
    """Return the tasks with the weights that are tied in all of them."""
    names = [
        name
        for name, found in tasks.described.items()
        if found.floating and len(found.shape) > 1 and min(found.matrix) > 1
        if all(task.has_plain(name) for task in tasks.tasks)
    ]
    same = tied(
        tasks.described, names, tasks=len(tasks.tasks), read=lambda t, name, rows: tasks.tasks[t].rows(name, rows)
    )
    return Tasks(
        tasks.tasks, tasks.base, tasks.described, tasks.common, tasks.left_out, same, tasks.same_saved, tuple(notes)
    )


def why_not(tasks: Tasks, weight: str) -> str | None:
    """Return why a weight is not analysed, or None."""
    found = tasks.described[weight]
    adapters = [task.adapter for task in tasks.tasks if task.adapter is not None]
    if weight in tasks.tied:
        return f"is tied to {tasks.tied[weight]}: the same numbers in every task"
    if any(weight in adapter.embeddings for adapter in adapters):
        return "is an embedding that adapters change: a table, not a linear map"
    as_map = any(weight in adapter.modules for adapter in adapters)  # peft has other factors for tables
    if reason := no_map(weight, found, tasks.described) if not as_map or min(found.matrix) < 2 else None:
        return reason
    if not as_map and is_table(weight, found, tasks.described):
        return "is an embedding by its name and has no bias: a table, not a linear map"
    return None
