"""`advice.json`: the results as JSON, described by the schema in this folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np

from loraml_theory.harness.json_schema import validator
from realdata.advisor.advising import Advice
from realdata.advisor.layer import SHOWN, STARTS, LayerAdvice
from realdata.advisor.verdict import overall
from realdata.advisor.words import cannot_tell, findings, layer_sentence

SCHEMA = "loraml-theory/advice/1"


def document(advice: Advice, provenance: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the document of all results.

    Parameters
    ----------
    advice
        The results.
    provenance
        Any JSON object, such as one with the command.
    """
    found = overall(advice)
    return {
        "schema": SCHEMA,
        "tasks": list(advice.tasks),
        "kind": "adapters of one base" if advice.adapters else "weights",
        "settings": {
            "rank": advice.settings.rank,
            "share": advice.settings.share,
            "null_draws": advice.settings.draws,
            "seed": advice.settings.seed,
        },
        "layers": [_layer(layer, advice) for layer in advice.layers],
        "skipped": [
            {"name": s.name, "shape": list(s.shape), "reason": s.reason, "compared": s.compared} for s in advice.skipped
        ],
        "notes": list(advice.notes),
        "overall": {
            **found._asdict(),
            "k_ci": None if found.k_ci is None else list(found.k_ci),
            "aligned_p": _rounded(found.aligned_p),
            "groups": [[advice.tasks[t] for t in group] for group in found.groups],
            "findings": findings(advice, found),
            "cannot_tell": cannot_tell(advice, found),
        },
        "written": None if advice.written is None else str(advice.written),
        "unwritten": list(advice.unwritten),
        "provenance": dict(provenance or {}),
    }


def _layer(layer: LayerAdvice, advice: Advice) -> dict[str, Any]:
    found, null = layer.shift_rank, layer.null or (None, None, None)
    low, high = found.low, found.high
    return {
        "name": layer.name,
        "shape": list(layer.shape),
        "k": found.k,
        "k_ci": None if low is None else [low, high],
        "k_censored": found.censored,
        "gap": _rounded(found.gap),
        "noise_sigma": _rounded(layer.noise.sigma),
        "noise_edge": _rounded(layer.noise.edge(layer.matrix, variance=2.0)),
        "adapter_rank": layer.by_adapters,
        "energy": _rounded(layer.energy),
        "null_p": null[0],
        "null_rank": layer.null_rank,
        "null_share_left": _rounded(null[1]),
        "null_share_left_by_chance": _rounded(null[2]),
        "independent": layer.independent,
        "independence": _rounded(layer.clearness),
        "fit_rank": layer.fit_rank,
        "fit_status": None if layer.fit is None else layer.fit.status.name.lower(),
        "share_left": _rounded(layer.share_left),
        "rank_base": layer.rank_base,
        "rank_sr": layer.rank_sr,
        "rank_ml": layer.rank_ml,
        "rank_ml_from": layer.rank_ml_from,
        **{f"rank_{start}_share": layer.ranks_for_share[start] for start in STARTS},
        "predicted": {
            "rank_sr": layer.predicted_sr,
            "rank_ml": layer.predicted_ml,
            "degrees_sr": layer.degrees("sr"),
            "degrees_ml": layer.degrees("ml"),
        },
        "left": {start: _curve(layer.left(start)) for start in STARTS},
        "singular_values": [
            {
                "tasks": [advice.tasks[t], advice.tasks[s]],
                "values": [_rounded(float(v)) for v in values[:SHOWN]],
                "rank": rank.rank,
                "edge": _rounded(rank.edge),
            }
            for (t, s), values, rank in zip(
                layer.differences.pairs, layer.differences.values, layer.differences.ranks, strict=True
            )
        ],
        "base": "LoRA-ML" if layer.name in advice.by_theory else "mean",
        "finding": layer_sentence(layer),
    }


def _curve(left: np.ndarray | None) -> list[float | None] | None:
    return None if left is None else [_rounded(float(v)) for v in left[: SHOWN + 1]]


def _rounded(value: float | None) -> float | None:
    """Round to six digits; non-finite numbers become null."""
    return None if value is None or not isfinite(value) else float(f"{value:.6g}")


def dumps(found: Mapping[str, Any]) -> str:
    """Return the JSON text, checked against the schema."""
    validator("realdata.advisor", "advice").validate(found)
    return json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
