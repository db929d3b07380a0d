"""The tasks that were given: each a checkpoint, an adapter on a base, or a part of a bundle, with the same weights."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from loraml_theory.harness.errors import one_line
from realdata.advisor.errors import AdviceError
from realdata.advisor.lora_adapter import LoraAdapter, is_adapter, open_adapter
from realdata.advisor.tensor_files import LARGEST, Described, TensorFile, as_matrix, open_checkpoint
from realdata.peft_ml.manifest import BASE, MANIFEST, BundleError, Manifest, adapter_folder, check_files, read_manifest

EMBEDDING = re.compile(r"(?<![a-z])(\w*embed(ding)?s?\w*|wte|wpe|shared|relative_attention_bias)")


@dataclass(frozen=True, eq=False)
class TaskWeights:
    """One task's weights.

    Parameters
    ----------
    name
        What the user calls it.
    weights
        The checkpoint, or the base that the adapter is on; None if that is not known.
    adapter
        What is added to it.
    """

    name: str
    weights: TensorFile | None
    adapter: LoraAdapter | None

    def described(self) -> Mapping[str, Described]:
        """Return shapes and dtypes of all weights that are known, with the adapter's."""
        found = dict(self.weights.tensors) if self.weights is not None else {}
        if self.adapter is not None:
            for weight in self.adapter.modules:
                dtype = self.adapter.file.tensors[self.adapter.keys[weight, "B"]].dtype
                found.setdefault(weight, Described(self.adapter.shape(weight), dtype))
            for weight, key in self.adapter.saved.items():
                found[weight] = self.adapter.file.tensors[key]
        return found

    def rows(self, weight: str, rows: slice) -> np.ndarray:
        """Return rows of a weight as a matrix, adapter included.

        Raises
        ------
        AdviceError
            If they hold NaN or infinity.
        """
        array = as_matrix(self._plain(weight, rows))
        if self.adapter is not None and weight in self.adapter.modules:
            U, V = self.adapter.factors(weight)
            array = array + U[rows] @ V.T
        if not np.all(np.isfinite(array)):
            raise AdviceError(f"{self.name}: {weight} holds NaN or infinity, expected finite numbers")
        if array.size and np.max(np.abs(array)) > LARGEST:
            raise AdviceError(f"{self.name}: {weight} holds numbers beyond {LARGEST:g}")
        return array

    def _plain(self, weight: str, rows: slice) -> Tensor:
        """Return rows of the checkpoint's tensor, or of what the adapter has in its place."""
        if self.adapter is not None and weight in self.adapter.saved:
            return self.adapter.file.read(self.adapter.saved[weight], rows)
        if self.weights is None:
            raise AdviceError(f"{self.name}: {weight} is an adapter's, and its base was not given")
        return self.weights.read(weight, rows)


@dataclass(frozen=True, eq=False)
class Tasks:
    """All tasks, which fit one another.

    Parameters
    ----------
    tasks
        At least two, in the order given.
    base
        What --base names.
    described
        Shapes and dtypes of the weights that tasks may differ in.
    common
        Whether all tasks are adapters of one and the same base: their differences are those of the adapters.
    """

    tasks: tuple[TaskWeights, ...]
    base: TensorFile | None
    described: Mapping[str, Described]
    common: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks' names."""
        return tuple(task.name for task in self.tasks)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are read."""
        read = [self.base, *(task.weights for task in self.tasks)]
        read += [task.adapter.file for task in self.tasks if task.adapter is not None]
        return tuple(dict.fromkeys(file for part in read if part is not None for file in part.files))

    @property
    def under(self) -> TensorFile | None:
        """The base that all adapters are on, if it is known."""
        return self.tasks[0].weights if self.common else None

    def by_factors(self, weight: str) -> bool:
        """Return whether the tasks differ in a weight by their adapters alone."""
        return self.common and all(task.adapter is not None and weight in task.adapter.modules for task in self.tasks)

    def adapter_rank(self, weight: str) -> int | None:
        """Return the largest rank of the tasks' adapters at a weight."""
        if not self.by_factors(weight):
            return None
        return max(task.adapter.rank(weight) for task in self.tasks if task.adapter is not None)


def open_tasks(words: Sequence[str], *, base: Path | None = None) -> Tasks:
    """Open what ``NAME=PATH`` words name, and see that it fits together.

    Parameters
    ----------
    words
        A checkpoint, an adapter's folder or a bundle each; a bundle gives the tasks ``NAME/TASK``.
    base
        A checkpoint of the base.

    Raises
    ------
    AdviceError
        If a word is malformed, a name comes twice, there are fewer than two tasks, or they do not fit.
    """
    given = None if base is None else open_checkpoint(base)
    tasks: list[TaskWeights] = []
    paths: dict[Path, str] = {}
    for word in words:
        name, path = _split(word)
        if path.resolve() in paths:
            raise AdviceError(f"{name}: is {path}, as {paths[path.resolve()]} is; expected a checkpoint of its own")
        paths[path.resolve()] = name
        tasks += _opened(name, path, given)
    names = [task.name for task in tasks]
    for name in names:
        if names.count(name) > 1:
            raise AdviceError(f"{name}: comes {names.count(name)} times, expected a different name for every task")
    if len(tasks) < 2:
        got = "a single task" if tasks else "no task"
        raise AdviceError(f"got {got}, expected NAME=PATH for at least two (three determine a base)")
    return _fitted(tuple(tasks), given)


def _split(word: str) -> tuple[str, Path]:
    name, equals, path = word.partition("=")
    if not (name.strip() and name.isprintable() and equals and path.strip()):
        raise AdviceError(f"{word!r}: expected NAME=PATH")
    return name.strip(), Path(path)


def _opened(name: str, path: Path, base: TensorFile | None) -> list[TaskWeights]:
    if path.is_dir() and is_adapter(path):
        return [TaskWeights(name, base, open_adapter(path))]
    if (path / MANIFEST).is_file() and (path / "adapters").is_dir():
        manifest = _bundled(path)
        own = open_checkpoint(path / BASE)
        return [
            TaskWeights(f"{name}/{one_line(task)}", own, open_adapter(path / adapter_folder(task)))
            for task in manifest.tasks
        ]
    return [TaskWeights(name, open_checkpoint(path), None)]


def _bundled(path: Path) -> Manifest:
    """Return the manifest of one of this project's bundles, whose files have the hashes that it says."""
    try:
        manifest = read_manifest(path)
        check_files(manifest, path)
    except BundleError as problem:
        raise AdviceError(str(problem)) from None
    return manifest


def _fitted(tasks: tuple[TaskWeights, ...], base: TensorFile | None) -> Tasks:
    """Return the tasks, if they have the same weights in the same shapes."""
    first = tasks[0]
    common = all(task.adapter is not None and task.weights is first.weights for task in tasks)
    unknown = [task for task in tasks if task.weights is None]
    if unknown and not common:
        raise AdviceError(f"{unknown[0].name}: is an adapter and others are checkpoints, expected its base as --base")
    if common:
        _check_adapters(tasks)
    elif base is not None:
        _check_same("--base", base.tensors, first.name, first.described())
    described = first.described()
    for task in tasks[1:]:
        _check_same(task.name, task.described(), first.name, described)
    if common:
        changed = {name for t in tasks if t.adapter is not None for name in (*t.adapter.modules, *t.adapter.saved)}
        described = {name: found for name, found in described.items() if name in changed}
    return Tasks(tasks, base, described, common)


def _check_adapters(tasks: Sequence[TaskWeights]) -> None:
    """Raise unless adapters say that they are of one base and adapt the same weights, which the base has."""
    named = [(task, task.adapter) for task in tasks if task.adapter is not None]
    first, adapter = named[0]
    for task, other in named:
        if adapter.base and other.base and adapter.base != other.base:
            raise AdviceError(f"{task.name}: its base is {other.base!r}, that of {first.name} is {adapter.base!r}")
        for ours, theirs in ((adapter.modules, other.modules), (tuple(adapter.saved), tuple(other.saved))):
            if strange := sorted(set(ours) ^ set(theirs)):
                has, lacks = (first, task) if strange[0] in ours else (task, first)
                raise AdviceError(f"{lacks.name}: does not adapt {strange[0]!r}, which {has.name} does")
    if first.weights is not None:
        for weight in adapter.modules:
            found = first.weights.tensors.get(weight)
            if found is not None and not found.floating:
                raise AdviceError(
                    f"{first.weights.path}: {weight!r} holds {found.dtype}, expected floating-point numbers"
                )
            if found is None or found.shape != adapter.shape(weight):
                got = "nothing" if found is None else f"the shape {found.shape}"
                raise AdviceError(
                    f"{first.weights.path}: has {got} for {weight!r}, expected {adapter.shape(weight)} as {first.name}"
                    " adapts it: it is not the adapters' base"
                )


def _check_same(name: str, ours: Mapping[str, Described], first: str, theirs: Mapping[str, Described]) -> None:
    if strange := sorted({*ours} ^ {*theirs}):
        lacks, has = (first, name) if strange[0] in ours else (name, first)
        raise AdviceError(f"{lacks}: has no tensor {strange[0]!r}, which {has} has; expected one architecture")
    for weight, found in ours.items():
        if found.shape != theirs[weight].shape:
            raise AdviceError(
                f"{name}: {weight!r} has the shape {found.shape}, that of {first} is {theirs[weight].shape}"
            )
        if found.floating != theirs[weight].floating:
            raise AdviceError(f"{name}: {weight!r} holds {found.dtype}, that of {first} {theirs[weight].dtype}")


def why_not(tasks: Tasks, weight: str) -> str | None:
    """Return why a weight is not analysed, None if it is."""
    found = tasks.described[weight]
    if not found.floating:
        return "holds no floating-point numbers"
    if len(found.shape) < 2:
        return "is no matrix"
    if min(found.matrix) < 2:
        return "has a single row or column"
    parts = weight.split(".")
    last = parts[-2] if parts[-1] == "weight" and len(parts) > 1 else parts[-1]
    if len(found.shape) == 2 and EMBEDDING.search(last) and not _is_map(tasks, weight):
        return "is an embedding by its name and has no bias: a table and no linear map"
    return None


def _is_map(tasks: Tasks, weight: str) -> bool:
    """Return whether a weight is a linear map whatever its name: tables have no bias, and other factors in peft."""
    adapters = [task.adapter for task in tasks.tasks if task.adapter is not None]
    return f"{weight.removesuffix('weight')}bias" in tasks.described or any(weight in each.modules for each in adapters)
