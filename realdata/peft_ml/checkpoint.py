"""The state of a run at the end of an epoch: written whole or not at all, read only by the run that wrote it.

A file is one line that names the format, the SHA-256 of the rest, and the rest as torch saves it. The digest is there
because torch's archives do not notice a changed byte.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from collections.abc import Mapping
from os.path import lexists
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from loraml_theory.harness.atomic import replacing
from loraml_theory.harness.errors import InputError
from loraml_theory.harness.input_files import check_regular, read_bytes
from realdata.peft_ml.data import Examples
from realdata.peft_ml.digests import tensor_digest, tensors_digest

_HEADER = b"loraml checkpoint 2\n"
_DIGEST = hashlib.sha256().digest_size
_SHOWN = 60
_EXAMPLES_AT_ONCE = 256


class Checkpoint:
    """The file in which one run keeps its state.

    Parameters
    ----------
    path
        The file; its folder is made when the first state is written.
    fingerprint
        Everything that the run's results follow from, as texts by name. A file with another fingerprint is refused.
    """

    def __init__(self, path: Path, *, fingerprint: Mapping[str, str]) -> None:
        """Read and write nothing yet."""
        self._path = path
        self._fingerprint = dict(fingerprint)

    def write(self, state: Mapping[str, Any]) -> None:
        """Write a state of tensors, numbers, texts, lists and dictionaries.

        Raises
        ------
        OSError
            If it cannot be written, as on a full disk; the state written before stays.
        """
        payload = io.BytesIO()  # torch's own writer hides a full disk behind another error
        torch.save({"fingerprint": self._fingerprint, "state": dict(state)}, payload)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self._path) as file:
            file.write(_HEADER)
            file.write(hashlib.sha256(payload.getbuffer()).digest())
            file.write(payload.getbuffer())

    def read(self, device: torch.device) -> dict[str, Any] | None:
        """Return the state, its tensors on a device, or None if there is no file.

        Raises
        ------
        InputError
            If the file is no checkpoint, is damaged, or was written by another run.
        """
        if not lexists(self._path):
            return None
        expected = "a checkpoint: remove it to begin the run again"
        data = read_bytes(self._path, expected=expected, limit=check_regular(self._path, expected=expected))
        payload = data[len(_HEADER) + _DIGEST :]
        digest = data[len(_HEADER) : len(_HEADER) + _DIGEST]
        damaged = InputError(f"{self._path} is damaged or not a checkpoint: remove it to begin the run again")
        if not data.startswith(_HEADER) or hashlib.sha256(payload).digest() != digest:
            raise damaged
        try:
            stored = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
        except pickle.UnpicklingError as error:  # something else than tensors and plain values
            raise damaged from error
        self._check(stored["fingerprint"])
        return stored["state"]

    def _check(self, stored: Mapping[str, str]) -> None:
        for name in {**stored, **self._fingerprint}:
            then, now = stored.get(name, "nothing"), self._fingerprint.get(name, "nothing")
            if then != now:
                raise InputError(
                    f"{self._path} is of another run: its {name} is {_short(then)}, expected {_short(now)}; "
                    "remove it or choose another file"
                )


def model_digest(model: nn.Module) -> str:
    """Return the SHA-256 of a model's structure as printed and of all its parameters and buffers."""
    structure = re.sub(r" at 0x[0-9a-f]+", "", repr(model))  # functions print with their address
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return hashlib.sha256(f"{structure}\0{tensors_digest(tensors)}".encode()).hexdigest()


def examples_digest(examples: Examples) -> str:
    """Return the SHA-256 of all examples as they are."""
    digest = hashlib.sha256()
    for start in range(0, len(examples), _EXAMPLES_AT_ONCE):
        end = min(start + _EXAMPLES_AT_ONCE, len(examples))
        inputs, targets = examples.batch(np.arange(start, end, dtype=np.int64))
        digest.update(tensors_digest({"inputs": inputs} if isinstance(inputs, Tensor) else inputs).encode())
        digest.update(tensor_digest(targets).encode())
    return digest.hexdigest()


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of what training can change in a model: parameters that require a gradient, and all buffers."""
    return {name: tensor.detach().clone() for name, tensor in _changing(model).items()}


def restore(model: nn.Module, kept: Mapping[str, Tensor]) -> None:
    """Put a snapshot back in place."""
    changing = _changing(model)
    if changing.keys() != kept.keys():
        raise InputError(f"the state kept does not fit the model: {min(changing.keys() ^ kept.keys())}")
    with torch.no_grad():
        for name, tensor in changing.items():
            tensor.copy_(kept[name])


def _changing(model: nn.Module) -> dict[str, Tensor]:
    parameters = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    return {**parameters, **dict(model.named_buffers())}
