"""A LoRA adapter as peft saves it: what it adds to each weight, as two factors.

    W_t = base + s B A,   s = alpha / r, or alpha / sqrt(r) with rank-stabilised scaling,

r and alpha of each module, transposed where the base keeps its weight as (in, out).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite, prod, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from realdata.advisor.errors import AdviceError
from realdata.advisor.tensor_files import LARGEST, SafetensorsFile, TensorFile, TorchFile

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
PREFIX = "base_model.model."
FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<which>[AB])(?:\.default)?\.weight")
EMBEDDING = re.compile(r"(?P<module>.+)\.lora_embedding_[AB](?:\.default)?")
OTHER_FORMS = {
    "use_dora": "DoRA",
    "lora_bias": "LoRA with biases",
    "use_qalora": "QALoRA",
    "use_bdlora": "BD-LoRA",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
    "velora_config": "VeLoRA",
    "alora_invocation_tokens": "aLoRA",
    "arrow_config": "Arrow",
    "layer_replication": "layer replication",
    "target_parameters": "target_parameters",
    "trainable_token_indices": "trainable tokens",
}
KEEP_BASE = (True, False, "gaussian", "orthogonal", "eva")
"""Starts that leave the base as it is; with the others the adapter is no difference to it."""


@dataclass(frozen=True, eq=False)
class LoraAdapter:
    """One adapter.

    Parameters
    ----------
    path
        Its folder.
    base
        What it says it is an adapter of.
    modules
        Names of the adapted weights.
    embeddings
        Names of the adapted embeddings.
    saved
        Tensors that were trained in full, by the base's names, with their names in the file.
    """

    path: Path
    base: str | None
    modules: tuple[str, ...]
    embeddings: tuple[str, ...]
    saved: Mapping[str, str]
    config: Mapping[str, Any] = field(repr=False)
    file: TensorFile = field(repr=False)
    keys: Mapping[tuple[str, str], str] = field(repr=False)

    def shape(self, weight: str) -> tuple[int, ...]:
        """Return the shape of the weight that is adapted."""
        A, B = (self.file.tensors[self.keys[weight, which]].shape for which in "AB")
        out = (B[0], *A[1:])
        return out[::-1] if self.config.get("fan_in_fan_out") and len(out) == 2 else out

    def rank(self, weight: str) -> int:
        """Return the adapter's rank at a weight."""
        return self.file.tensors[self.keys[weight, "A"]].shape[0]

    def factors(self, weight: str) -> tuple[np.ndarray, np.ndarray]:
        """Return U and V in float64, ``(rows, r)`` and ``(columns, r)``, with ``W_t = base + U V^T``."""
        A, B = (_flat(self.file.read(self.keys[weight, which])) for which in "AB")
        if not (np.all(np.isfinite(A)) and np.all(np.isfinite(B))):
            raise AdviceError(f"{self.path}: {weight} holds NaN or infinity")
        scaled, other = B * self._scaling(weight), A.T
        if np.max(np.abs(scaled)) * np.max(np.abs(other)) > LARGEST:
            raise AdviceError(f"{self.path}: {weight} holds numbers beyond {LARGEST:g}")
        return (other, scaled) if self.config.get("fan_in_fan_out") and A.ndim == 2 else (scaled, other)

    def _scaling(self, weight: str) -> float:
        module, rank = weight.removesuffix(".weight"), self.rank(weight)
        alpha = self.config["lora_alpha"]
        for pattern, value in (self.config.get("alpha_pattern") or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                alpha = value
                break
        return float(alpha) / (sqrt(rank) if self.config.get("use_rslora") else rank)


def _flat(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.double().reshape(tensor.shape[0], prod(tensor.shape[1:])).numpy()
    return array


def is_adapter(path: Path) -> bool:
    """Return whether a folder holds an adapter."""
    return (path / CONFIG).is_file()


def open_adapter(path: Path) -> LoraAdapter:
    """Open an adapter's folder.

    Raises
    ------
    AdviceError
        If it is damaged, or no plain LoRA.
    """
    config = _config(path)
    present = [path / name for name in WEIGHTS if (path / name).is_file()]
    if not present:
        raise AdviceError(f"{path}: has {CONFIG} but no {WEIGHTS[0]}")
    file: TensorFile = SafetensorsFile(present[0]) if present[0].suffix == ".safetensors" else TorchFile(present[0])
    keys: dict[tuple[str, str], str] = {}
    embeddings: dict[str, None] = {}
    saved = {}
    for key in file.tensors:
        name = key.removeprefix(PREFIX)
        if found := FACTOR.fullmatch(name):
            keys[f"{found['module']}.weight", found["which"]] = key
        elif found := EMBEDDING.fullmatch(name):
            embeddings[f"{found['module']}.weight"] = None
        elif ".lora_" in name:
            raise AdviceError(f"{path}: {key!r} belongs to no plain LoRA adapter")
        else:
            saved[re.sub(r"\.(modules_to_save(\.default)?|base_layer)\.", ".", name)] = key
    modules = tuple(dict.fromkeys(weight for weight, _ in keys))
    adapter = LoraAdapter(
        path, config.get("base_model_name_or_path") or None, modules, tuple(embeddings), saved, config, file, keys
    )
    _check(adapter)
    return adapter


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads((path / CONFIG).read_text("utf-8"))
    except OSError as problem:
        raise AdviceError(f"{path / CONFIG}: cannot be read ({problem.strerror})") from None
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise AdviceError(f"{path / CONFIG}: is damaged, expected a JSON object")
    kind = config.get("peft_type")
    if kind != "LORA":
        raise AdviceError(f"{path}: is an adapter of type {kind!r}, expected 'LORA'")
    for key, form in OTHER_FORMS.items():
        if config.get(key):
            raise AdviceError(f"{path}: is {form}, expected plain LoRA ({key} is set)")
    start = config.get("init_lora_weights", True)
    if start not in KEEP_BASE:
        raise AdviceError(
            f"{path}: init_lora_weights is {start!r}, which changes the base; convert it to plain LoRA with peft"
        )
    _check_alpha(path / CONFIG, config)
    return config


def _check_alpha(path: Path, config: Mapping[str, Any]) -> None:
    """Raise unless every alpha is a finite number, and its pattern one that can be matched."""
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise AdviceError(f"{path}: is damaged, alpha_pattern is {patterns!r}")
    for name, alpha in {"lora_alpha": config.get("lora_alpha"), **patterns}.items():
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not isfinite(alpha):
            raise AdviceError(f"{path}: is damaged, the alpha of {name} is {alpha!r}, expected a finite number")
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as problem:
            raise AdviceError(f"{path}: is damaged, {pattern!r} of alpha_pattern is no pattern ({problem})") from None


def _check(adapter: LoraAdapter) -> None:
    """Raise unless every adapted weight has both factors, of the same rank."""
    for weight in adapter.modules:
        for which in "AB":
            if (weight, which) not in adapter.keys:
                raise AdviceError(f"{adapter.path}: {weight} has no lora_{which}")
        A, B = (adapter.file.tensors[adapter.keys[weight, which]].shape for which in "AB")
        if len(A) < 2 or len(B) < 2 or A[0] != B[1]:
            raise AdviceError(f"{adapter.path}: {weight} has factors of shapes {A} and {B}, expected (r, in), (out, r)")
        if 0 in (*A, *B):
            raise AdviceError(f"{adapter.path}: {weight} has empty factors, of shapes {A} and {B}")
        if any(n != 1 for n in B[2:]):
            raise AdviceError(f"{adapter.path}: {weight} has lora_B of shape {B}, expected a kernel of size one")
    if not adapter.modules and not adapter.saved:
        raise AdviceError(f"{adapter.path}: adapts no weight")
