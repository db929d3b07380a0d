"""Retraining methods under one signature and one budget.

A method is a function of a `Setup` that returns a `Method`. To add one, write a module beside these and name it here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from realdata.peft_ml.methods.fomaml import fomaml
from realdata.peft_ml.methods.last_layer_ml import last_layer_ml
from realdata.peft_ml.methods.lora_ml import lora_ml
from realdata.peft_ml.methods.method import Method, Setup
from realdata.peft_ml.methods.reptile import reptile
from realdata.peft_ml.methods.standard import standard

METHODS: Mapping[str, Callable[[Setup], Method]] = {
    "standard": standard,
    "lora-ml": lora_ml,
    "last-layer-ml": last_layer_ml,
    "reptile": reptile,
    "fomaml": fomaml,
}

__all__ = ["METHODS", "Method", "Setup"]
