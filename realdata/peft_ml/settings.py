"""The settings of retraining and fine-tuning, checked when they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from peft import LoraConfig

OptimizerName: TypeAlias = Literal["adam", "adamw", "sgd"]
OuterOptimizerName: TypeAlias = Literal["adam", "adamw", "sgd", "interpolate"]
ScheduleName: TypeAlias = Literal["constant", "linear", "cosine"]
MethodName: TypeAlias = Literal[
    "standard", "standard-longer", "lora-ml", "grouped-lora", "last-layer-ml", "reptile", "fomaml"
]
ADAPTED: tuple[MethodName, ...] = ("lora-ml", "grouped-lora", "standard-longer")
"""The methods whose retraining depends on the adapters: they have some, or are made like one that has."""
FineTune: TypeAlias = Literal["lora", "last-layer", "full"]
SelectOn: TypeAlias = Literal["validation", "test"]
Scheme: TypeAlias = Literal["joint", "alternating"]


_MOST = 10**9  # of any whole number: more is a slip, and would overflow somewhere


@dataclass(frozen=True)
class MetaSettings:
    """Settings of the inner loop of reptile and fomaml, and of what is done with its result.

    Parameters
    ----------
    inner_steps
        Gradient steps of an inner loop, k of Nichol et al. (2018); see `realdata.peft_ml.methods.inner_loop`.
    inner_optimizer, inner_learning_rate
        Of the inner loop, fresh in each, without schedule or weight decay.
    outer_optimizer
        What is applied to the outer gradient, kept from loop to loop. ``interpolate`` is plain descent by another
        name, for reptile only: θ ← θ + ε(θ̃ − θ) with ε the outer learning rate.
    outer_learning_rate, outer_weight_decay, outer_schedule
        Of the outer optimizer; the schedule runs over the outer steps of all epochs.
    reptile_sign
        1 is reptile as published; −1 turns the outer gradient round, so that a step moves away from the adapted
        parameters.
    """

    inner_steps: int = 20
    inner_optimizer: OptimizerName = "sgd"
    inner_learning_rate: float = 1e-2
    outer_optimizer: OuterOptimizerName = "adam"
    outer_learning_rate: float = 1e-5
    outer_weight_decay: float = 0.0
    outer_schedule: ScheduleName = "constant"
    reptile_sign: int = 1

    def __post_init__(self) -> None:
        """Check every value."""
        _whole(self, "inner_steps", least=1)
        _one_of(self, "inner_optimizer", get_args(OptimizerName))
        _real(self, "inner_learning_rate", least=0)
        _one_of(self, "outer_optimizer", get_args(OuterOptimizerName))
        _real(self, "outer_learning_rate", least=0)
        _real(self, "outer_weight_decay", least=0)
        _one_of(self, "outer_schedule", get_args(ScheduleName))
        _one_of(self, "reptile_sign", (1, -1))


@dataclass(frozen=True)
class TrainingSettings:
    """What retraining and fine-tuning both need.

    Parameters
    ----------
    epochs
        Passes over the training examples; 0 leaves the model as it is.
    batch_size
        Examples of a gradient step.
    learning_rate
        At the top of the schedule.
    weight_decay
        As the optimizer has it: added to the gradient by ``adam`` and ``sgd``, decoupled in ``adamw``.
    optimizer
        ``sgd`` is without momentum.
    schedule
        How the learning rate falls after the warm-up: not, linearly, or as half a cosine, to 0 after the last step.
    warmup
        Share of all steps over which the learning rate rises linearly.
    rank, alpha
        Of LoRA: the shift of a weight is (alpha / rank) B A. Without alpha the factor is 1.
    adapter_dropout
        Of LoRA.
    evaluate_every
        Epochs from one row of the curve to the next; the last epoch always has one.
    evaluation_batch_size
        Examples evaluated at once; it changes no result.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    optimizer: OptimizerName = "adam"
    schedule: ScheduleName = "constant"
    warmup: float = 0.0
    rank: int = 1
    alpha: float | None = None
    adapter_dropout: float = 0.0
    evaluate_every: int = 1
    evaluation_batch_size: int = 256

    def __post_init__(self) -> None:
        """Check every value."""
        _whole(self, "epochs", least=0)
        _whole(self, "batch_size", least=1)
        _real(self, "learning_rate", least=0)
        _real(self, "weight_decay", least=0)
        _one_of(self, "optimizer", get_args(OptimizerName))
        _one_of(self, "schedule", get_args(ScheduleName))
        _real(self, "warmup", least=0, below=1)
        _whole(self, "rank", least=1)
        if self.alpha is not None:
            _real(self, "alpha", least=0)
        _real(self, "adapter_dropout", least=0, below=1)
        _whole(self, "evaluate_every", least=1)
        _whole(self, "evaluation_batch_size", least=1)

    def lora(self) -> LoraConfig:
        """Return peft's settings for LoRA on every linear layer, the output layer included."""
        from peft import LoraConfig

        return LoraConfig(
            r=self.rank,
            lora_alpha=self.rank if self.alpha is None else self.alpha,  # type: ignore[arg-type]  # any number will do
            lora_dropout=self.adapter_dropout,
            target_modules="all-linear",
        )


@dataclass(frozen=True)
class RetrainingSettings(TrainingSettings):
    """Settings of retraining on several tasks, beside what `FineTuningSettings` has too.

    Parameters
    ----------
    scheme
        Of lora-ml and last-layer-ml: ``joint`` steps on θ and all φ_t at once, or ``alternating`` ones.
    inner_steps
        Steps on the φ_t before each step on θ, in the alternating scheme.
    adapter_learning_rate
        Of the φ_t; the same as θ's if not given.
    steps_per_epoch
        Gradient steps of an epoch; if not given, as many as take every training example once,
        ⌈examples of all tasks / batch_size⌉.
    meta
        Of reptile and fomaml, which use neither `learning_rate` nor what follows it.
    """

    scheme: Scheme = "joint"
    inner_steps: int = 1
    adapter_learning_rate: float | None = None
    steps_per_epoch: int | None = None
    meta: MetaSettings = field(default_factory=MetaSettings)

    def __post_init__(self) -> None:
        """Check every value."""
        super().__post_init__()
        _one_of(self, "scheme", get_args(Scheme))
        _whole(self, "inner_steps", least=1)
        if self.adapter_learning_rate is not None:
            _real(self, "adapter_learning_rate", least=0)
        if self.steps_per_epoch is not None:
            _whole(self, "steps_per_epoch", least=1)
        if not isinstance(self.meta, MetaSettings):
            raise TypeError(f"meta must be MetaSettings, got {type(self.meta).__name__}")


@dataclass(frozen=True)
class FineTuningSettings(TrainingSettings):
    """Settings of fine-tuning on one task."""


def _whole(settings: object, name: str, *, least: int) -> None:
    value: Any = getattr(settings, name)
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if int(value) < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    if int(value) > _MOST:
        raise ValueError(f"{name} must be at most {_MOST}, got {value}")


def _real(settings: object, name: str, *, least: float, below: float = math.inf) -> None:
    value: Any = getattr(settings, name)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not least <= float(value) < below:  # an infinity or a NaN is refused as well
        limit = "finite" if below == math.inf else f"below {below:g}"
        raise ValueError(f"{name} must be at least {least:g} and {limit}, got {value}")


def _one_of(settings: object, name: str, choices: tuple[Any, ...]) -> None:
    value = getattr(settings, name)
    if isinstance(value, bool) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")
