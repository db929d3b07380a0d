"""Retraining methods under one signature and one budget.

A method makes a `Training` of a `RetrainingSetup`. To add one, write a module beside these and name it here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from realdata.peft_ml.methods.fomaml import Fomaml
from realdata.peft_ml.methods.grouped_lora import grouped_lora
from realdata.peft_ml.methods.last_layer_ml import last_layer_ml
from realdata.peft_ml.methods.lora_ml import lora_ml
from realdata.peft_ml.methods.reptile import Reptile
from realdata.peft_ml.methods.standard import Standard
from realdata.peft_ml.methods.standard_longer import standard_longer
from realdata.peft_ml.training import Training
from realdata.peft_ml.training_setup import RetrainingSetup

METHODS: Mapping[str, Callable[[RetrainingSetup], Training]] = {
    "standard": Standard,
    "standard-longer": standard_longer,
    "lora-ml": lora_ml,
    "grouped-lora": grouped_lora,
    "last-layer-ml": last_layer_ml,
    "reptile": Reptile,
    "fomaml": Fomaml,
}
