"""The other architectures: what they compute, that adapters reach all of them, and that T is an axis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from loraml_theory.harness.settings import SettingsError
from realdata.experiments.grid import GridSettings, RetrainingKey
from realdata.experiments.records import read_records
from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.settings import RetrainingSettings
from realdata.vision.convolutional import Convolution
from realdata.vision.transformer import TransformerBlock
from tests.realdata.vision.tiny import ran, spec

MODELS = ({"architecture": "conv"}, {"architecture": "vit", "heads": 2, "depth": 2})


def retraining(**changes: Any) -> Any:
    return spec(**changes).open().retraining(RetrainingKey("lora-ml", 0, (), 1))


def test_a_convolution_is_torch_s() -> None:
    layer, images = Convolution(3, 5, dropout=0.0), torch.randn(2, 3, 7, 8)
    kernel = layer.linear.weight.view(5, 3, 3, 3)
    plain = functional.conv2d(images, kernel, layer.linear.bias, stride=2, padding=1)
    expected = functional.gelu(functional.layer_norm(plain.movedim(1, 3), (5,))).movedim(3, 1)
    torch.testing.assert_close(layer(images), expected)


def test_attention_is_torch_s() -> None:
    block, x = TransformerBlock(8, heads=2, expansion=2, dropout=0.0).eval(), torch.randn(3, 5, 8)
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        for mine, theirs in (
            (block.attention_in.weight, attention.in_proj_weight),
            (block.attention_in.bias, attention.in_proj_bias),
            (block.attention_out.weight, attention.out_proj.weight),
            (block.attention_out.bias, attention.out_proj.bias),
        ):
            theirs.copy_(mine)
        normed = block.attention_norm(x)
        attended: Tensor = x + attention(normed, normed, normed)[0]
        torch.testing.assert_close(block(x), attended + block.mlp(block.norm(attended)))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["architecture"])
def test_rows_of_several_tasks_share_a_forward(model: dict[str, Any]) -> None:
    plan = retraining(model=model)
    names = [task.name for task in plan.tasks]
    meta = MetaPeftModel(plan.model, names, adapter=RetrainingSettings(1, 1, 0.1).lora(), seed=0)
    linear = [module for module in plan.model.modules() if isinstance(module, nn.Linear)]
    assert len(meta.adapter_parameters(names[0])) == 2 * len(linear)
    images = plan.tasks[0].train.batch(np.arange(8)).inputs
    meta(images, [names[0]] * 4 + [names[1]] * 4)
    assert meta.mixed_rows.possible, meta.mixed_rows.reason


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["architecture"])
def test_an_experiment_runs(model: dict[str, Any], tmp_path: Path) -> None:
    grid = GridSettings(methods=("grouped-lora",), finetune=("lora", "last-layer"), seeds=(0,), n=(3,))
    assert ran(tmp_path, grid, model=model).failures == ()
    assert len(read_records(tmp_path)) == 2


def test_the_first_tasks_are_retrained_on_and_the_last_is_adapted_to() -> None:
    names = {T: [task.name for task in retraining(data={"retraining_tasks": T}).tasks] for T in (2, 4)}
    assert names[2] == names[4][:2]
    assert names[4] == [task.name for task in retraining().tasks]
    assert spec(data={"retraining_tasks": 2}).open().tests == spec().open().tests
    with pytest.raises(SettingsError, match=r"data.retraining_tasks: got 5, expected at most 4"):
        spec(data={"retraining_tasks": 5}).open()


def test_what_was_begun_before_these_keys_can_be_resumed() -> None:
    assert not {"architecture", "heads"} & spec().document()["model"].keys()
    assert "retraining_tasks" not in spec().document()["data"]
    changed = spec(model=MODELS[1], data={"retraining_tasks": 2}).document()
    assert (changed["model"]["architecture"], changed["model"]["heads"]) == ("vit", 2)
    assert changed["data"]["retraining_tasks"] == 2
