"""Standard retraining: one model for all tasks, as if they were one.

    min_θ Σ_t L_t(θ),

all of θ shared, the head too; L_t is the mean loss of task t. Each gradient step is on a batch of equal shares of all
tasks. It is the baseline SR of arXiv 2410.22264.
"""

from __future__ import annotations

from realdata.peft_ml.methods.all_tasks import AllTasks
from realdata.peft_ml.optimisation import Group, trainable, trained_copy
from realdata.peft_ml.training_setup import RetrainingSetup


class Standard(AllTasks):
    """Standard retraining of a copy of the model."""

    def __init__(self, setup: RetrainingSetup) -> None:
        """Copy the model to its device."""
        model = trained_copy(setup.model, setup.accelerator.device)
        super().__init__(setup, model, Group(trainable(model), setup.settings.learning_rate), called="base")
