"""Everything that a run's results follow from, as texts, so that a checkpoint is never continued by another run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from realdata.peft_ml.checkpoint import examples_digest, model_digest
from realdata.peft_ml.data import Examples

if TYPE_CHECKING:
    from peft import PeftConfig

    from realdata.peft_ml.training_setup import TrainingSetup

_COUNTED = ("phase", "seed", "rows_at_once", "select_on")


def fingerprint(setup: TrainingSetup, model: nn.Module, *, adapter: PeftConfig | None) -> dict[str, str]:
    """Return what a run follows from, by name.

    Parameters
    ----------
    setup
        Each field of its settings counts; of its tasks all examples, and what else they say of themselves by
        ``fingerprint``, if they do: of which candidates are drawn in training, for one; of its problem the class and
        the names of the scores; of its accelerator device and precision, with torch's version, since results differ in
        the last bits between them.
    model
        At the start; its structure and tensors count, not the object.
    adapter
        Settings of peft.
    """
    named = {**setup.own_marks, **{name: getattr(setup, name) for name in _COUNTED}}
    return {
        **{name: _text(value) for name, value in named.items()},
        **_fields("", setup.settings),
        "adapter": _text(None if adapter is None else adapter.to_dict()),
        "tasks": _text(setup.names),
        "model": model_digest(model),
        **{
            f"{part} examples of {task.name}": f"{len(examples)} examples, {_digest(examples)}"
            for task in setup.tasks
            for part, examples in (("training", task.train), ("validation", task.validation), ("test", task.test))
        },
        "problem": f"{type(setup.problem).__module__}.{type(setup.problem).__qualname__}",
        "scores": _text(setup.problem.score_names),
        "device": setup.accelerator.device.type,
        "precision": str(setup.accelerator.mixed_precision),
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
