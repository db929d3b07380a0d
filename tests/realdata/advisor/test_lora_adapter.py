"""Adapters as stock peft saves them give the differences that peft itself merges; other forms are refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from loraml_theory.harness.errors import InputError
from realdata.advisor.lora_adapter import is_adapter, open_adapter
from realdata.advisor.tasks import open_tasks
from tests.realdata.advisor.networks import SHAPES, adapter, drawn_adapter


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.block = nn.ModuleDict({"inner": nn.Linear(24, 32)})
        self.head = nn.Linear(32, 10)
        self.table = nn.Embedding(11, 24)


def peft_saved(folder: Path, seed: int, **config: Any) -> tuple[dict[str, np.ndarray], Path]:
    """Save an adapter by peft; return what merging it adds to each weight."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    base = Net()
    model = peft.get_peft_model(copy.deepcopy(base), peft.LoraConfig(**config))
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.copy_(torch.randn(parameter.shape))
    model.save_pretrained(str(folder))
    merged = model.merge_and_unload().state_dict()
    before = base.state_dict()
    return {name: (merged[name] - W).double().flatten(1).numpy() for name, W in before.items() if W.ndim > 1}, folder


@pytest.mark.parametrize("rslora", [False, True])
def test_differences_are_those_that_peft_merges(tmp_path: Path, rslora: bool) -> None:
    added, folder = peft_saved(
        tmp_path / "a",
        1,
        r=2,
        lora_alpha=6,
        use_rslora=rslora,
        target_modules=["conv", "inner", "table"],
        modules_to_save=["head"],
        rank_pattern={"inner": 3},
        alpha_pattern={"block.inner": 5},
    )
    assert is_adapter(folder)
    found = open_adapter(folder)
    assert set(found.modules) == {"conv.weight", "block.inner.weight"}
    assert set(found.embeddings) == {"table.weight"}
    assert set(found.saved) == {"head.weight", "head.bias"}
    assert (found.rank("conv.weight"), found.rank("block.inner.weight")) == (2, 3)
    assert found.shape("conv.weight") == (8, 3, 3, 3)
    for weight in found.adapted:
        U, V = found.factors(weight)
        assert np.allclose(U @ V.T, added[weight], atol=1e-5)


def test_weights_kept_as_in_by_out_are_transposed(tmp_path: Path) -> None:
    A, B = torch.randn(2, 5), torch.randn(7, 2)
    found = open_adapter(adapter(tmp_path / "a", {"c": (A, B)}, fan_in_fan_out=True, lora_alpha=4))
    U, V = found.factors("c.weight")
    assert found.shape("c.weight") == (5, 7)
    assert np.allclose(U @ V.T, 2 * (B @ A).T.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"peft_type": "IA3"}, "is an adapter of type 'IA3', expected 'LORA'"),
        ({"use_dora": True}, "is DoRA, expected plain LoRA"),
        ({"lora_bias": True}, "is LoRA with biases"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa', which changes the base"),
        ({"lora_alpha": None}, "is damaged, the alpha of lora_alpha is None, expected a finite number"),
        ({"lora_alpha": float("nan")}, "NaN is not a JSON number"),
        ({"lora_alpha": 10**400}, "the alpha of lora_alpha is 1000"),
        ({"base_model_name_or_path": ["x"]}, "base_model_name_or_path is list, expected a name"),
        ({"lora_alpha": True}, "the alpha of lora_alpha is True, expected a finite number"),
        ({"alpha_pattern": ["one"]}, r"alpha_pattern is \['one'\]"),
        ({"alpha_pattern": {"one": "4"}}, "the alpha of one is '4', expected a finite number"),
        ({"alpha_pattern": {"(": 4}}, r"alpha_pattern: '\(' holds '\(', expected names"),
        ({"alpha_pattern": {"(a+)+b": 4}}, r"alpha_pattern: '\(a\+\)\+b' holds"),
        ({"target_parameters": ["experts"]}, "target_parameters"),
    ],
)
def test_other_forms_are_refused(tmp_path: Path, config: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text) as raised:
        open_adapter(drawn_adapter(tmp_path / "a", 0, **config))
    assert "\n" not in str(raised.value)


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    folder = drawn_adapter(tmp_path / "a", 0)
    (folder / "adapter_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="is not a safetensors file, or damaged"):
        open_adapter(folder)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"but no adapter_model\.safetensors"):
        open_adapter(folder)
    (folder / "adapter_config.json").write_text("[]")
    with pytest.raises(InputError, match="expected a JSON object"):
        open_adapter(folder)
    with pytest.raises(InputError, match="has factors of shapes"):
        open_adapter(adapter(tmp_path / "b", {"c": (torch.ones(2, 4), torch.ones(5, 3))}))
    with pytest.raises(InputError, match="does not adapt a weight"):
        open_adapter(adapter(tmp_path / "c", {}))


def test_adapters_of_different_bases_are_refused_and_no_factor_is_no_shift(tmp_path: Path) -> None:
    words = [f"{n}={drawn_adapter(tmp_path / n, i)}" for i, n in enumerate("ab")]
    assert open_tasks(words).common
    other = drawn_adapter(tmp_path / "c", 2, base_model_name_or_path="another/base")
    with pytest.raises(InputError, match="c: its base is 'another/base', that of a is 'a/base'"):
        open_tasks([*words, f"c={other}"])
    fewer = adapter(tmp_path / "d", {"one": (torch.ones(2, 16), torch.ones(24, 2))})
    tasks = open_tasks([*words, f"d={fewer}"])
    assert set(tasks.described) == {"one.weight", "two.weight"}
    U, V = tasks.tasks[2].factors("two.weight", (20, 30))
    assert not np.any(U @ V.T)


def test_nan_in_a_factor_is_refused(tmp_path: Path) -> None:
    A = torch.ones(2, 5)
    A[0, 0] = torch.nan
    with pytest.raises(InputError, match=r"c\.weight holds NaN or infinity"):
        open_adapter(adapter(tmp_path / "a", {"c": (A, torch.ones(7, 2))})).factors("c.weight")


def test_a_signalling_nan_in_the_base_is_refused_without_a_warning(tmp_path: Path) -> None:
    """A damaged byte makes one; adding to it warns."""
    base = {name: torch.ones(rows, columns) for name, (rows, columns) in SHAPES.items()}
    base["one.weight"].view(torch.int32)[0, 0] = 0x7FA00000
    save_file(base, str(tmp_path / "base.safetensors"))
    words = [f"{n}={drawn_adapter(tmp_path / n, i)}" for i, n in enumerate("ab")]
    tasks = open_tasks(words, base=tmp_path / "base.safetensors")
    with pytest.raises(InputError, match=r"a: one\.weight holds NaN or infinity"):
        tasks.tasks[0].rows("one.weight", slice(None))


def test_empty_factors_and_numbers_beyond_all_measure_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has empty factors"):
        open_adapter(adapter(tmp_path / "a", {"c": (torch.ones(0, 5), torch.ones(7, 0))}, lora_alpha=1))
    huge = adapter(tmp_path / "b", {"c": (1e9 * torch.ones(2, 5), 1e9 * torch.ones(7, 2))})
    with pytest.raises(InputError, match=r"c\.weight holds numbers beyond 1e\+15"):
        open_adapter(huge).factors("c.weight")


def test_a_base_of_whole_numbers_is_refused(tmp_path: Path) -> None:
    words = [f"{n}={drawn_adapter(tmp_path / n, i)}" for i, n in enumerate("ab")]
    whole = {"one.weight": torch.ones(24, 16, dtype=torch.int8), "two.weight": torch.ones(20, 30)}
    save_file(whole, str(tmp_path / "base.safetensors"))
    with pytest.raises(InputError, match=r"quantised .*'one\.weight' holds torch\.int8.*, expected floating-point"):
        open_tasks(words, base=tmp_path / "base.safetensors")
    whole["one.weight"] = torch.ones(24, 16, dtype=torch.int64)
    save_file(whole, str(tmp_path / "base.safetensors"))
    with pytest.raises(InputError, match=r"'one\.weight' holds torch\.int64, expected floating-point numbers"):
        open_tasks(words, base=tmp_path / "base.safetensors")


def test_the_configuration_may_lack_what_it_does_not_need(tmp_path: Path) -> None:
    folder = drawn_adapter(tmp_path / "a", 0)
    known = json.loads((folder / "adapter_config.json").read_text())
    del known["r"], known["base_model_name_or_path"]
    (folder / "adapter_config.json").write_text(json.dumps(known))
    assert open_adapter(folder).base is None
