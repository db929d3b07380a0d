"""A LoRA adapter as peft saves it: the two factors of its shift of each weight.

    W_t = base + s B A,   s = alpha / r, or alpha / sqrt(r) with rank-stabilised scaling,

r and alpha of each module, transposed where the base stores its weight as (in, out), as tables of embeddings do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

import numpy as np
from torch import Tensor

from loraml_theory.harness.errors import InputError
from realdata.advisor.adapter_config import AdapterConfig, read_config
from realdata.advisor.checkpoints import is_there, open_tensors
from realdata.advisor.formats import CONFIG
from realdata.advisor.naming import unwrapped
from realdata.advisor.tensor_files import LARGEST, Described, TensorFile

WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
PREFIX = "base_model.model."
FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<which>[AB])(?:\.default)?\.weight")
EMBEDDING = re.compile(r"(?P<module>.+)\.lora_embedding_(?P<which>[AB])(?:\.default)?")
INSIDE = ".base_layer.out_proj"
"""Where peft puts the output of nn.MultiheadAttention: inside the layer that it wraps."""
_WRAPPED = re.compile(r"\.(modules_to_save(\.default)?|base_layer)(?=\.)")


@dataclass(frozen=True, eq=False)
class LoraAdapter:
    """One adapter.

    Parameters
    ----------
    path
        Its folder.
    config
        Its configuration.
    modules
        Weights that are adapted as linear maps, with the names of their modules in the configuration.
    embeddings
        The same of tables that are adapted.
    saved
        Tensors that were trained in full, or saved with the factors, by the base's names, with their names in the file.
    turned
        Weights that the base stores as (in, out).
    """

    path: Path
    config: AdapterConfig = field(repr=False)
    modules: Mapping[str, str]
    embeddings: Mapping[str, str]
    saved: Mapping[str, str]
    file: TensorFile = field(repr=False)
    keys: Mapping[tuple[str, str], str] = field(repr=False)
    turned: frozenset[str]

    @property
    def base(self) -> str | None:
        """Name of its base in the configuration."""
        return self.config.base

    @property
    def adapted(self) -> dict[str, str]:
        """All weights that have factors, and their modules."""
        return {**self.modules, **self.embeddings}

    def shape(self, weight: str) -> tuple[int, ...]:
        """Return the shape of the adapted weight."""
        plain = self.plain_shape(weight)
        return plain[::-1] if weight in self.turned else plain

    def plain_shape(self, weight: str) -> tuple[int, ...]:
        """Return that shape as (out, in), followed by a kernel's axes."""
        A, B = (self._factor(weight, which).shape for which in "AB")
        return (B[0], *A[1:])

    def dtype(self, weight: str) -> Described:
        """Return shape of the adapted weight, and dtype of its factors."""
        return Described(self.shape(weight), self._factor(weight, "B").dtype)

    def rank(self, weight: str) -> int:
        """Return the adapter's rank at a weight."""
        return self._factor(weight, "A").shape[0]

    def factors(self, weight: str) -> tuple[np.ndarray, np.ndarray]:
        """Return U and V in float64, ``(rows, r)`` and ``(columns, r)``, with ``W_t = base + U V^T``."""
        A, B = (_flat(self.file.read(self.keys[self.adapted[weight], which])) for which in "AB")
        if not (np.all(np.isfinite(A)) and np.all(np.isfinite(B))):
            raise InputError(f"{self.path}: {weight} holds NaN or infinity")
        target = self.adapted[weight].partition(".base_layer.")[
            0
        ]  # an inner module takes its scaling from the outer one
        scaled, other = B * self.config.scaling(target, self.rank(weight)), A.T
        if np.max(np.abs(scaled)) * np.max(np.abs(other)) > LARGEST:
            raise InputError(f"{self.path}: {weight} holds numbers beyond {LARGEST:g}")
        return (other, scaled) if weight in self.turned else (scaled, other)

    def renamed(self, names: Mapping[str, str]) -> LoraAdapter:
        """Return the same adapter with weights under other names."""
        modules, embeddings, saved = (
            {names.get(weight, weight): kept for weight, kept in mapping.items()}
            for mapping in (self.modules, self.embeddings, self.saved)
        )
        turned = frozenset(names.get(weight, weight) for weight in self.turned)
        return replace(self, modules=modules, embeddings=embeddings, saved=saved, turned=turned)

    def with_turned(self, weights: frozenset[str]) -> LoraAdapter:
        """Return the same adapter on a base that stores these weights as (in, out)."""
        return replace(self, turned=weights | frozenset(self.embeddings))

    def _factor(self, weight: str, which: str) -> Described:
        return self.file.tensors[self.keys[self.adapted[weight], which]]


def _flat(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.double().reshape(tensor.shape[0], prod(tensor.shape[1:])).numpy()
    return array


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds an adapter."""
    return is_there(folder / CONFIG)


def open_adapter(folder: Path, file: Path | None = None) -> LoraAdapter:
    """Open an adapter's folder.

    Parameters
    ----------
    folder
        The folder of its configuration.
        file
        The file of its tensors, if not named as by peft.

    Raises
    ------
    InputError
        If it is damaged, or not a plain LoRA.
    """
    config = read_config(folder)
    present = [folder / name for name in WEIGHTS if is_there(folder / name)] if file is None else [file]
    if not present:
        raise InputError(f"{folder}: has {CONFIG} but no {WEIGHTS[0]}")
    adapter = _sorted(folder, config, open_tensors(present[0]))
    _check(adapter)
    turned = [weight for weight in adapter.modules if config.fan_in_fan_out and len(adapter.plain_shape(weight)) == 2]
    return adapter.with_turned(frozenset(turned))


def _sorted(folder: Path, config: AdapterConfig, file: TensorFile) -> LoraAdapter:
    """Classify the tensors of an adapter."""
    keys: dict[tuple[str, str], str] = {}
    modules: dict[str, str] = {}
    embeddings: dict[str, str] = {}
    saved: dict[str, str] = {}
    for plain, key in unwrapped(folder, file.tensors).items():
        name = plain.removeprefix("module.").removeprefix(PREFIX)
        linear, table = FACTOR.fullmatch(name), EMBEDDING.fullmatch(name)
        if found := linear or table:
            weight = f"{_WRAPPED.sub('', found['module'])}.weight"
            if (modules if linear else embeddings).setdefault(weight, found["module"]) != found["module"]:
                raise InputError(f"{folder}: has factors for {weight!r} twice, expected one pair")
            keys[found["module"], found["which"]] = key
        elif ".lora_" in name:
            raise InputError(f"{folder}: {key!r} does not belong to a plain LoRA adapter")
        else:
            saved[_WRAPPED.sub("", name)] = key
    return LoraAdapter(folder, config, _attention(modules), embeddings, saved, file, keys, frozenset())


def _attention(modules: Mapping[str, str]) -> dict[str, str]:
    """Assign the factors of nn.MultiheadAttention, which has an inner output, to its ``in_proj_weight``."""
    outer = {module.removesuffix(INSIDE) for module in modules.values() if module.endswith(INSIDE)}
    return {
        f"{weight.removesuffix('weight')}in_proj_weight" if module in outer else weight: module
        for weight, module in modules.items()
    }


def _check(adapter: LoraAdapter) -> None:
    """Raise unless every adapted weight has both factors, of the same rank."""
    for weight, module in adapter.adapted.items():
        for which in "AB":
            if (module, which) not in adapter.keys:
                raise InputError(f"{adapter.path}: {weight} has no lora_{which}")
        A, B = (adapter.file.tensors[adapter.keys[module, which]].shape for which in "AB")
        if len(A) < 2 or len(B) < 2 or A[0] != B[1]:
            raise InputError(f"{adapter.path}: {weight} has factors of shapes {A} and {B}, expected (r, in), (out, r)")
        if 0 in (*A, *B):
            raise InputError(f"{adapter.path}: {weight} has empty factors, of shapes {A} and {B}")
        if any(n != 1 for n in B[2:]):
            raise InputError(f"{adapter.path}: {weight} has lora_B of shape {B}, expected a kernel of size one")
    if not adapter.adapted and not adapter.saved:
        raise InputError(f"{adapter.path}: does not adapt a weight")
