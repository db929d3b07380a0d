from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from realdata.peft_ml.settings import FineTuningSettings, MetaSettings, RetrainingSettings

NEEDED: dict[str, Any] = {"epochs": 3, "batch_size": 8, "learning_rate": 1e-3}

BAD_VALUES = [
    ("epochs", -1, "epochs must be at least 0, got -1"),
    ("epochs", 10**20, f"epochs must be at most 1000000000, got {10**20}"),
    ("batch_size", 0, "batch_size must be at least 1, got 0"),
    ("learning_rate", -0.1, "learning_rate must be at least 0 and finite, got -0.1"),
    ("learning_rate", math.nan, "learning_rate must be at least 0 and finite, got nan"),
    ("weight_decay", math.inf, "weight_decay must be at least 0 and finite, got inf"),
    ("optimizer", "lion", "optimizer must be one of adam, adamw, sgd, got 'lion'"),
    ("schedule", "step", "schedule must be one of constant, linear, cosine, got 'step'"),
    ("warmup", 1.0, "warmup must be at least 0 and below 1, got 1.0"),
    ("rank", 0, "rank must be at least 1, got 0"),
    ("alpha", -1.0, "alpha must be at least 0 and finite, got -1.0"),
    ("adapter_dropout", 1.5, "adapter_dropout must be at least 0 and below 1, got 1.5"),
    ("evaluate_every", 0, "evaluate_every must be at least 1, got 0"),
    ("evaluation_batch_size", 0, "evaluation_batch_size must be at least 1, got 0"),
]
BAD_KINDS = [
    ("epochs", 2.5, "epochs must be a whole number, got 2.5"),
    ("batch_size", True, "batch_size must be a whole number, got True"),
    ("learning_rate", "1e-3", "learning_rate must be a number, got '1e-3'"),
]


@pytest.mark.parametrize("kind", [RetrainingSettings, FineTuningSettings])
@pytest.mark.parametrize(("name", "value", "message"), BAD_VALUES)
def test_wrong_values_are_refused(
    kind: type[RetrainingSettings | FineTuningSettings], name: str, value: object, message: str
) -> None:
    with pytest.raises(ValueError, match=rf"^{message}$"):
        kind(**{**NEEDED, name: value})


@pytest.mark.parametrize(("name", "value", "message"), BAD_KINDS)
def test_wrong_kinds_are_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(TypeError, match=rf"^{message}$"):
        FineTuningSettings(**{**NEEDED, name: value})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("scheme", "both", "scheme must be one of joint, alternating, got 'both'"),
        ("inner_steps", 0, "inner_steps must be at least 1, got 0"),
        ("adapter_learning_rate", -1, "adapter_learning_rate must be at least 0 and finite, got -1"),
        ("steps_per_epoch", 0, "steps_per_epoch must be at least 1, got 0"),
    ],
)
def test_wrong_values_of_retraining_are_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}$"):
        RetrainingSettings(**{**NEEDED, name: value})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("inner_steps", 0, "inner_steps must be at least 1, got 0"),
        ("inner_optimizer", "interpolate", "inner_optimizer must be one of adam, adamw, sgd, got 'interpolate'"),
        ("outer_optimizer", "rmsprop", "outer_optimizer must be one of adam, adamw, sgd, interpolate, got 'rmsprop'"),
        ("inner_learning_rate", -1.0, "inner_learning_rate must be at least 0 and finite, got -1.0"),
        ("outer_learning_rate", math.inf, "outer_learning_rate must be at least 0 and finite, got inf"),
        ("outer_weight_decay", -1.0, "outer_weight_decay must be at least 0 and finite, got -1.0"),
        ("outer_schedule", "", "outer_schedule must be one of constant, linear, cosine, got ''"),
        ("reptile_sign", 0, "reptile_sign must be one of 1, -1, got 0"),
        ("reptile_sign", True, "reptile_sign must be one of 1, -1, got True"),
    ],
)
def test_wrong_meta_settings_are_refused(name: str, value: object, message: str) -> None:
    values: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=rf"^{message}$"):
        MetaSettings(**values)


def test_meta_must_be_settings() -> None:
    with pytest.raises(TypeError, match="meta must be MetaSettings, got dict"):
        RetrainingSettings(**NEEDED, meta={})  # type: ignore[arg-type]


def test_are_frozen() -> None:
    settings = FineTuningSettings(**NEEDED)
    with pytest.raises(FrozenInstanceError):
        settings.epochs = 4  # type: ignore[misc]


@pytest.mark.parametrize(("alpha", "factor"), [(None, 1.0), (16.0, 4.0), (1.0, 0.25)])
def test_lora_has_the_settings_of_the_adapter(alpha: float | None, factor: float) -> None:
    config = FineTuningSettings(**NEEDED, rank=4, alpha=alpha, adapter_dropout=0.1).lora()
    assert (config.r, config.lora_alpha / config.r, config.lora_dropout) == (4, factor, 0.1)
    assert config.target_modules == "all-linear"
