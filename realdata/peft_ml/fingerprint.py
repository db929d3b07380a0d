"""Everything that a run's results follow from, as texts, so that a checkpoint is never continued by another run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from realdata.peft_ml.checkpoint import examples_digest, model_digest
from realdata.peft_ml.data import Examples, Problem, Task

if TYPE_CHECKING:
    from accelerate import Accelerator
    from peft import PeftConfig


def fingerprint(
    model: nn.Module,
    tasks: Sequence[Task],
    *,
    problem: Problem,
    accelerator: Accelerator,
    settings: object,
    adapter: PeftConfig | None,
    **named: object,
) -> dict[str, str]:
    """Return what a run follows from, by name.

    Parameters
    ----------
    model
        At the start; its structure and tensors count, not the object.
    tasks
        All of their examples count, and what else they say of themselves by ``fingerprint``, if they do: of which
        candidates are drawn in training, for one.
    problem
        Its class and the names of its scores count.
    accelerator
        Device and precision count, with torch's version, since results differ in the last bits between them.
    settings
        A dataclass; each of its fields counts.
    adapter
        Settings of peft.
    named
        Further values that are told apart by their texts.
    """
    return {
        **{name: _text(value) for name, value in named.items()},
        **_fields("", settings),
        "adapter": _text(None if adapter is None else adapter.to_dict()),
        "tasks": _text([task.name for task in tasks]),
        "model": model_digest(model),
        **{
            f"{part} examples of {task.name}": f"{len(examples)} examples, {_digest(examples)}"
            for task in tasks
            for part, examples in (("training", task.train), ("validation", task.validation), ("test", task.test))
        },
        "problem": f"{type(problem).__module__}.{type(problem).__qualname__}",
        "scores": _text(problem.score_names),
        "device": accelerator.device.type,
        "precision": str(accelerator.mixed_precision),
        "version of torch": str(torch.__version__),
    }


def _digest(examples: Examples) -> str:
    return " ".join([examples_digest(examples), *map(str, filter(None, [getattr(examples, "fingerprint", None)]))])


def _fields(prefix: str, value: Any) -> dict[str, str]:
    found = {}
    for field in fields(value):
        inner = getattr(value, field.name)
        if is_dataclass(inner):
            found.update(_fields(f"{prefix}{field.name}.", inner))
        else:
            found[f"{prefix}{field.name}"] = _text(inner)
    return found


def _text(value: Any) -> str:
    """Return a text that is the same in every process, which the order of a set is not."""
    if isinstance(value, Enum):
        return _text(value.value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_text(value[key])}" for key in sorted(value, key=str)) + "}"
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(sorted(map(_text, value))) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_text, value)) + "]"
    return str(value)
