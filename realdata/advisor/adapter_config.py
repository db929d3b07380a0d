"""`adapter_config.json`: peft's configuration of an adapter, and the kinds of adapters that are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite, sqrt
from pathlib import Path
from typing import Any

from loraml_theory.harness.errors import InputError
from loraml_theory.harness.input_files import json_document, read_text
from realdata.advisor.formats import CONFIG
from realdata.advisor.module_patterns import ModulePatterns

LIMIT = 2**24
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
    "megatron_config": "LoRA of Megatron's layers",
}
KEEP_BASE = (True, False, "gaussian", "orthogonal", "eva")
"""Starts that leave the base unchanged; with the others the adapter is not a difference from it."""


@dataclass(frozen=True, eq=False)
class AdapterConfig:
    """The relevant part of an adapter's configuration.

    Parameters
    ----------
    base
        Name of the base.
    fan_in_fan_out
        Whether the layer that peft wrapped last stores its weight as (in, out).
    rslora
        Whether the scaling is rank-stabilised.
    alpha, alphas
        Alpha of all modules, and of those that match a pattern.
    """

    base: str | None
    fan_in_fan_out: bool
    rslora: bool
    alpha: float
    alphas: Mapping[str, float]
    patterns: ModulePatterns = field(repr=False)

    def scaling(self, module: str, rank: int) -> float:
        """Return s of ``W_t = base + s B A`` for a module."""
        key = self.patterns.first(module)
        alpha = self.alpha if key is None else self.alphas[key]
        return alpha / (sqrt(rank) if self.rslora else rank)


def read_config(folder: Path) -> AdapterConfig:
    """Read the configuration of an adapter's folder.

    Raises
    ------
    InputError
        If it is damaged, or not of a plain LoRA.
    """
    path = folder / CONFIG
    found = _document(path)
    kind = found.get("peft_type")
    if kind != "LORA":
        raise InputError(f"{folder}: is an adapter of type {kind!r}, expected 'LORA'")
    for key, form in OTHER_FORMS.items():
        if found.get(key):
            raise InputError(f"{folder}: is {form}, expected plain LoRA ({key} is set); merge it into a checkpoint")
    start = found.get("init_lora_weights", True)
    if start not in KEEP_BASE:
        raise InputError(
            f"{folder}: init_lora_weights is {start!r}, which changes the base; convert it to plain LoRA with peft"
        )
    base = found.get("base_model_name_or_path") or None
    if base is not None and not isinstance(base, str):
        raise InputError(f"{path}: is damaged, base_model_name_or_path is {type(base).__name__}, expected a name")
    alphas = _alphas(path, found)
    return AdapterConfig(
        base,
        bool(found.get("fan_in_fan_out")),
        bool(found.get("use_rslora")),
        float(found["lora_alpha"]),
        alphas,
        _patterns(path, alphas),
    )


def _document(path: Path) -> dict[str, Any]:
    """Return the JSON object; NaN and infinity, which Python's writers allow, are refused where they matter."""
    text = read_text(path, expected="an adapter's configuration", limit=LIMIT)
    found = json_document(path, text, expected="an adapter's configuration")
    if not isinstance(found, dict):
        raise InputError(f"{path}: is damaged, expected a JSON object")
    return found


def _alphas(path: Path, config: Mapping[str, Any]) -> dict[str, float]:
    """Return the alpha of each pattern, if those and ``lora_alpha`` are finite numbers."""
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise InputError(f"{path}: is damaged, alpha_pattern is {patterns!r}, expected a JSON object")
    for name, alpha in {**patterns, "lora_alpha": config.get("lora_alpha")}.items():
        number = isinstance(alpha, int | float) and not isinstance(alpha, bool) and abs(alpha) < 1e300
        if not number or not isfinite(alpha):
            raise InputError(f"{path}: is damaged, the alpha of {name} is {alpha!r}, expected a finite number")
    return {name: float(alpha) for name, alpha in patterns.items()}


def _patterns(path: Path, alphas: Mapping[str, float]) -> ModulePatterns:
    try:
        return ModulePatterns(alphas)
    except ValueError as problem:
        raise InputError(f"{path}: alpha_pattern: {problem}") from None
