"""A retraining on disk.

::

    base.safetensors     of standard retraining and Reptile: the base
    bundle/              of meta-learning: base and adapters, see `realdata.peft_ml.bundle`
    retraining.json      curve, budget and the base's hash; written last
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from loraml_theory.harness.atomic import write_whole
from loraml_theory.harness.errors import InputError
from loraml_theory.harness.input_files import MEBIBYTE, check_regular, read_bytes, read_json
from realdata.experiments.grid import RetrainingKey
from realdata.peft_ml.budget import Count

if TYPE_CHECKING:
    from torch import nn

    from realdata.peft_ml.meta_model import MetaPeftModel
    from realdata.peft_ml.retraining import RetrainedModel

FORMAT = 1
BASE, BUNDLE, LAST = "base.safetensors", "bundle", "retraining.json"

LARGEST = 4 * MEBIBYTE


class Notes(NamedTuple):
    """Seconds of a retraining, what was trained and what was frozen, and how much was trained."""

    seconds: float
    trained: str
    parameters: int | None = None  # not counted in those written before


@dataclass(frozen=True)
class Stored:
    """A retraining read from disk.

    Parameters
    ----------
    base
        The plain model at the selected epoch.
    meta_model
        The same with the adapters of the retraining tasks, of meta-learning.
    curve, selected_epoch, spent
        As in `realdata.peft_ml.retraining.RetrainedModel`.
    notes
        What goes into the provenance of records.
    """

    base: nn.Module
    meta_model: MetaPeftModel | None
    curve: Mapping[str, list[float]]
    selected_epoch: int
    spent: Count
    notes: Notes


def save(folder: Path, key: RetrainingKey, found: RetrainedModel, *, notes: Notes) -> None:
    """Write a retraining; it counts as complete once its last file is there.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    base_hash = None
    if found.meta_model is not None:
        from realdata.peft_ml.bundle import save as save_bundle

        save_bundle(found.meta_model, folder / BUNDLE, provenance={"retraining": key.id})
    else:
        base_hash = _save_base(folder / BASE, found.base)
    document = {
        "format": FORMAT,
        "key": [key.method, key.seed, list(key.quirks), key.rank],
        "base_sha256": base_hash,
        "curve": {name: list(map(float, column)) for name, column in found.curve.items()},
        "selected_epoch": found.selected_epoch,
        "spent": list(found.spent),
        "notes": notes._asdict(),
    }
    write_whole(folder / LAST, json.dumps(document))


def is_complete(folder: Path) -> bool:
    """Say whether a retraining was written to its end."""
    return (folder / LAST).exists()


def load(folder: Path, key: RetrainingKey, model: nn.Module) -> Stored:
    """Read a retraining.

    Parameters
    ----------
    folder
        Where `save` wrote it.
    key
        Which retraining it must be.
    model
        A plain model of the same architecture, whose parameters may be replaced.

    Raises
    ------
    InputError
        If a file is missing or damaged, or of another retraining.
    """
    path = folder / LAST
    document: dict[str, Any] = read_json(path, expected="the JSON of a retraining; remove its folder", limit=LARGEST)
    try:
        method, seed, quirks, rank = document["key"]
        if (document["format"], RetrainingKey(method, seed, tuple(quirks), rank)) != (FORMAT, key):
            raise InputError(f"{path}: holds another retraining than its folder says; remove the folder")
        base, meta_model = _load_model(folder, model, document["base_sha256"])
        return Stored(
            base=base,
            meta_model=meta_model,
            curve={name: list(map(float, column)) for name, column in document["curve"].items()},
            selected_epoch=int(document["selected_epoch"]),
            spent=Count(*document["spent"]),
            notes=Notes(**document["notes"]),
        )
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
        raise InputError(f"{path}: is damaged; remove its folder and run again") from None


def _save_base(path: Path, base: nn.Module) -> str:
    """Write a model's state and return the file's SHA-256."""
    from safetensors.torch import save as encoded

    # copies, since tensors that share memory cannot be written
    content = encoded({name: tensor.detach().cpu().clone() for name, tensor in base.state_dict().items()})
    write_whole(path, content)
    return hashlib.sha256(content).hexdigest()


def _load_model(folder: Path, model: nn.Module, base_hash: str | None) -> tuple[nn.Module, MetaPeftModel | None]:
    """Return the base, and the model with adapters if there is one."""
    if base_hash is None:
        from realdata.peft_ml.bundle import load as load_bundle

        meta_model = load_bundle(model, folder / BUNDLE)
        return meta_model.base(), meta_model
    from safetensors.torch import load as decoded

    expected = "the base of a retraining"
    content = read_bytes(folder / BASE, expected=expected, limit=check_regular(folder / BASE, expected=expected))
    if hashlib.sha256(content).hexdigest() != base_hash:
        raise InputError(f"{folder / BASE}: is damaged; remove the folder and run again")
    model.load_state_dict(decoded(content))
    return model, None
