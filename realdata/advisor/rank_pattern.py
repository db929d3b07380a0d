"""The advised ranks as arguments of peft's `LoraConfig`: a rank for every module, of one scaling."""

from __future__ import annotations

from typing import Any

from loraml_theory.harness.errors import InputError
from realdata.advisor.advising import Advice
from realdata.advisor.layer import LayerAdvice, Start
from realdata.advisor.verdict import Overall

WEIGHT = ".weight"


def lora_arguments(advice: Advice, found: Overall) -> dict[str, Any]:
    """Return ``r``, ``lora_alpha``, ``target_modules``, ``rank_pattern`` and ``alpha_pattern`` for `LoraConfig`.

    The ranks are those for the share of the energy from the start that the first sentence of the advice names. The
    alpha of a module is its rank, so that peft scales the products of all modules by 1. Modules that need no adapter
    are not targets. Longer names come first, since peft takes the first that a module's name ends with.

    Raises
    ------
    InputError
        If no module needs an adapter of a known rank.
    """
    ranks = _ranks(advice, found)
    if not ranks:
        raise InputError("--rank-pattern: no module needs an adapter of a known rank, expected tasks with one")
    r = found.advised[1] or max(ranks.values())
    pattern = {name: rank for name, rank in ranks.items() if rank != r}
    return {
        "r": r,
        "lora_alpha": r,
        "target_modules": list(ranks),
        "rank_pattern": pattern,
        "alpha_pattern": dict(pattern),
    }


def _ranks(advice: Advice, found: Overall) -> dict[str, int]:
    """Return the ranks above 0 of the modules, those with the longest names first."""
    start, everywhere = found.advised
    known = {
        layer.name.removesuffix(WEIGHT): _rank(layer, start) or everywhere
        for layer in advice.layers
        if layer.name.endswith(WEIGHT) and _rank(layer, start) != 0
    }
    return {name: rank for name, rank in sorted(known.items(), key=lambda each: -len(each[0])) if rank}


def _rank(layer: LayerAdvice, start: Start) -> int | None:
    """Return a layer's rank for the share; from a LoRA-ML base that was not tried, theory's."""
    found = layer.ranks_for_share[start]
    return layer.predicted_ml if start == "ml" and found is None and not layer.unchanged else found
