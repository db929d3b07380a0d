"""Adapters on their base: one set of names, and the output axis of each weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from loraml_theory.harness.errors import InputError
from realdata.advisor.lora_adapter import INSIDE
from realdata.advisor.naming import aligned
from realdata.advisor.orientation import kinds_of, turned
from realdata.advisor.task_weights import TaskWeights
from realdata.advisor.tensor_files import Described, View
from realdata.advisor.tied import is_head, tables_like
from realdata.advisor.weight_kinds import is_table


def with_one_set_of_names(tasks: Sequence[TaskWeights], base: View | None) -> tuple[list[TaskWeights], list[str]]:
    """Return the tasks with the names of the base, or of the first task, and the changes in words."""
    reference = list(tasks[0].described() if base is None else base.tensors)
    renamed, notes = [], []
    for task in tasks:
        own = task.weights is not base and task.weights is not None
        if task.adapter is not None and not own:
            names, how = aligned([*task.adapter.adapted, *task.adapter.saved], reference)
            task = replace(task, adapter=task.adapter.renamed(names))
        elif task.adapter is None and task.weights is not None:
            names, how = aligned(list(task.weights.tensors), reference)
            task = replace(task, weights=task.weights.renamed(names))
        else:
            how = ""
        renamed.append(task)
        notes += [f"{task.name}: weights are compared {how}."] if how else []
    return renamed, notes


def with_tied_heads(tasks: Sequence[TaskWeights], base: View | None) -> tuple[list[TaskWeights], View | None]:
    """Return the tasks on a base with the heads that they adapt, where it stores a head's weight as a table's."""
    full = base
    for task in tasks:
        for weight in task.adapter.modules if task.adapter is not None and task.weights is base else ():
            if full is None or weight in full.tensors or task.has_saved(weight) or not is_head(weight):
                continue
            assert task.adapter is not None
            tables = tables_like(weight, task.adapter.plain_shape(weight), full.tensors)
            full = full.with_alias(weight, tables[0]) if len(tables) == 1 else full
    return [replace(task, weights=full) if base is not None and task.weights is base else task for task in tasks], full


def untied(tasks: Sequence[TaskWeights]) -> list[str]:
    """Return notes on weights tied in the base of which adapters change only one."""
    first, notes = tasks[0], []
    changed = {weight for task in tasks if task.adapter for weight in (*task.adapter.adapted, *task.adapter.saved)}
    for weight in sorted(changed):
        base = first.weights.tensors if first.weights is not None else {}
        if not first.has_plain(weight) or not (is_head(weight) or is_table(weight, _plain(first)[weight], base)):
            continue
        before = first.weights.read(weight) if first.weights is not None and weight in base else first.plain(weight)
        notes += [
            f"{weight} is tied to {other} in the base, and adapters change it alone: a model that loads a written base"
            " must not tie them."
            for other in tables_like(weight, tuple(before.shape), base)
            if first.weights is not None and other not in changed and torch.equal(first.weights.read(other), before)
        ]
    return notes


def added_twice(tasks: Sequence[TaskWeights]) -> list[str]:
    """Return a note where peft adds the shift of an attention's output twice (0.14 to 0.21)."""
    modules = dict.fromkeys(m for task in tasks if task.adapter for m in task.adapter.modules.values() if INSIDE in m)
    if not modules:
        return []
    return [
        f"{next(iter(modules)).replace(INSIDE, '.out_proj')}: the shift is s B A as the adapter says; peft up to 0.21"
        " adds it twice to the output of nn.MultiheadAttention. Ranks do not depend on that, a written base does."
    ]


def not_in_base(tasks: Sequence[TaskWeights]) -> list[str]:
    """Return a note on adapted weights that the base lacks under the adapters' names."""
    on_base = [task for task in tasks if task.weights is not None]
    adapted = dict.fromkeys(weight for task in on_base if task.adapter for weight in task.adapter.adapted)
    lacking = [weight for weight in adapted if not any(task.has_plain(weight) for task in tasks)]
    if not lacking:
        return []
    what = lacking[0] if len(lacking) == 1 else f"{lacking[0]} and {len(lacking) - 1} more"
    return [f"{what}: not in the base under that name, so compared by adapters alone, and not in a written base."]


def oriented(tasks: Sequence[TaskWeights]) -> tuple[list[TaskWeights], dict[str, str]]:
    """Return the tasks with each adapted weight as in the base, and the weights where that is unknown, with reasons.

    Raises
    ------
    InputError
        If the shapes of the base's weights do not fit the adapters.
    """
    adapters = [task.adapter for task in tasks if task.adapter is not None]
    by_flag = len({adapter.config.fan_in_fan_out for adapter in adapters}) == 1
    excluded: dict[str, str] = {}
    found = []
    for task in tasks:
        if task.adapter is None:
            found.append(task)
            continue
        plain = _plain(task)
        kinds = kinds_of(plain, adapters)
        kept = {w: turned(task.adapter, w, plain, kinds) and (by_flag or w in plain) for w in task.adapter.modules}
        excluded |= {
            weight: "is square, so it is unknown whether the base keeps it as (in, out) or (out, in)"
            for weight, which in kept.items()
            if which is None
        }
        adapter = task.adapter.with_turned(frozenset(weight for weight, which in kept.items() if which))
        found.append(replace(task, adapter=adapter))
        excluded |= _misfits(found[-1], plain)
    return found, excluded


def _plain(task: TaskWeights) -> dict[str, Described]:
    """Return the base of a task's factors."""
    found = dict(task.weights.tensors) if task.weights is not None else {}
    if task.adapter is not None:
        found |= {weight: task.adapter.file.tensors[key] for weight, key in task.adapter.saved.items()}
    return found


def _misfits(task: TaskWeights, plain: Mapping[str, Described]) -> dict[str, str]:
    """Return the weights with different numbers of rows in the base and in an adapter: an enlarged vocabulary."""
    adapter, found = task.adapter, {}
    assert adapter is not None
    for weight in adapter.adapted:
        each, shape = plain.get(weight), adapter.shape(weight)
        if each is None or (each.shape == shape and each.floating):
            continue
        path = adapter.path if task.weights is None else task.weights.path
        if not each.floating:
            raise InputError(f"{path}: {weight!r} holds {each.dtype}, expected floating-point numbers")
        vocabulary = _is_vocabulary(weight, each, plain)
        if not vocabulary or each.shape[1:] != shape[1:]:
            raise InputError(
                f"{path}: has the shape {each.shape} for {weight!r}, expected {shape} as {task.name} adapts it: it is"
                " not the adapters' base"
            )
        found[weight] = f"has {each.shape[0]} rows in the base, and adapters are of {shape[0]}"
    return found


def _is_vocabulary(weight: str, found: Described, plain: Mapping[str, Described]) -> bool:
    return is_table(weight, found, plain) or is_head(weight)


def check_named_bases(tasks: Sequence[TaskWeights], base: View | None) -> list[str]:
    """Return notes on the names of the adapters' bases.

    Raises
    ------
    InputError
        If they differ, and the base itself was not given.
    """
    named = {task.name: task.adapter.base for task in tasks if task.adapter is not None and task.adapter.base}
    if not named:
        return []
    (first, name), *others = named.items()
    other = next(((task, n) for task, n in others if _model(n) != _model(name)), None)
    if other is None:
        return []
    if base is None:
        raise InputError(
            f"{other[0]}: its base is {other[1]!r}, that of {first} is {name!r}; if that is one model under two names,"
            " name its checkpoint with --base"
        )
    return [
        f"The adapters name different bases, such as {name!r} and {other[1]!r}: only their shapes "
        f"show that all are of {base.path.name}."
    ]


def _model(name: str) -> tuple[str, ...]:
    """Return the distinguishing parts of a model's name on the hub or of its folder.

    Examples
    --------
    >>> _model("org/Model/"), _model("/data/models--org--Model/snapshots/0a1b")
    (('org', 'model'), ('org', 'model'))
    """
    parts = [part for part in name.replace("\\", "/").casefold().split("/") if part not in ("", ".")]
    cached = next((part for part in parts if part.startswith("models--")), None)
    return tuple(cached.split("--")[1:]) if cached else tuple(parts)
