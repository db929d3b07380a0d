"""Last-layer meta-learning: a body shared by all tasks and a head per task.

    min_θ Σ_t min_φt L_t(f(θ, φ_t)),

θ the body and φ_t the task's own last layer. It is a special case of the same objective, a baseline of arXiv 2410.22264
with the architecture of R. Caruana, Multitask Learning, Machine Learning 28 (1997).
"""

from __future__ import annotations

from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.methods.per_task import PerTask
from realdata.peft_ml.training_setup import RetrainingSetup


def last_layer_ml(setup: RetrainingSetup) -> PerTask:
    """Return meta-learning of a copy of the model with a head per task."""
    return PerTask(setup, MetaPeftModel(setup.model, setup.names, adapter=None, head=setup.head, seed=setup.seed))
