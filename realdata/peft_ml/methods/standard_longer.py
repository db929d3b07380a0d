"""Standard retraining for more epochs, by the factor by which LoRA-ML has more parameters.

⌈E (|θ| + Σ_t |φ_t|) / |θ|⌉ epochs for E, |·| the number of trained parameters, heads of tasks included: what LoRA-ML
has beside the base in parameters, standard retraining has here in gradient steps.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.methods.standard import Standard
from realdata.peft_ml.optimisation import trainable
from realdata.peft_ml.training_setup import RetrainingSetup


def standard_longer(setup: RetrainingSetup) -> Standard:
    """Return standard retraining of a copy of the model for more epochs."""
    base = sum(parameter.numel() for parameter in trainable(setup.model))
    like = MetaPeftModel(
        setup.model, setup.names, adapter=setup.lora, head=setup.head if setup.head_per_task else None, seed=setup.seed
    )
    epochs = ceil(setup.settings.epochs * like.trained().numbers / base)
    return Standard(replace(setup, settings=replace(setup.settings, epochs=epochs)))
