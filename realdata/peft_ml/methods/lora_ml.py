"""LoRA-ML: meta-learning with an adapter per task, the method of arXiv 2410.22264.

    min_θ Σ_t min_φt L_t(f(θ, φ_t)),

φ_t a LoRA adapter on every linear layer, the head included; a head of its own for every task if asked. Any other
adapter of peft takes LoRA's place.
"""

from __future__ import annotations

from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.methods.per_task import PerTask
from realdata.peft_ml.training_setup import RetrainingSetup


def lora_ml(setup: RetrainingSetup) -> PerTask:
    """Return meta-learning of a copy of the model with an adapter per task."""
    model = MetaPeftModel(
        setup.model,
        setup.names,
        adapter=setup.lora,
        head=setup.head if setup.head_per_task else None,
        seed=setup.seed,
    )
    return PerTask(setup, model)
