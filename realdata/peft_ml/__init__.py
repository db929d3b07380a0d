"""Meta-learning with parameter-efficient adapters (PEFT-ML, the paper's eq. 5) for torch and transformers models.

What a user may rely on is what this module names; it is imported when it is first asked for, so that the package by
itself loads no torch.
"""

from typing import TYPE_CHECKING

from loraml_theory.lazy_names import lazy

if TYPE_CHECKING:
    from realdata.peft_ml.bundle import load, save
    from realdata.peft_ml.data import Batch, Examples, Problem, Task
    from realdata.peft_ml.epochs import DivergedError
    from realdata.peft_ml.fine_tuning import FineTuned, fine_tune
    from realdata.peft_ml.meta_model import MetaPeftModel
    from realdata.peft_ml.retraining import RetrainedModel, retrain
    from realdata.peft_ml.settings import FineTuningSettings, MetaSettings, RetrainingSettings
    from realdata.peft_ml.sharding import shard
    from realdata.peft_ml.trained import UntrainedError
    from realdata.peft_ml.trainer import MetaTrainer
    from realdata.peft_ml.training_setup import EpochProgress, StepProgress

__getattr__, __dir__ = lazy(
    __name__,
    {
        "bundle": "load save",
        "data": "Batch Examples Problem Task",
        "epochs": "DivergedError",
        "fine_tuning": "FineTuned fine_tune",
        "meta_model": "MetaPeftModel",
        "retraining": "RetrainedModel retrain",
        "settings": "FineTuningSettings MetaSettings RetrainingSettings",
        "sharding": "shard",
        "trained": "UntrainedError",
        "trainer": "MetaTrainer",
        "training_setup": "EpochProgress StepProgress",
    },
)

__all__ = [
    "Batch",
    "DivergedError",
    "EpochProgress",
    "Examples",
    "FineTuned",
    "FineTuningSettings",
    "MetaPeftModel",
    "MetaSettings",
    "MetaTrainer",
    "Problem",
    "RetrainedModel",
    "RetrainingSettings",
    "StepProgress",
    "Task",
    "UntrainedError",
    "fine_tune",
    "load",
    "retrain",
    "save",
    "shard",
]
