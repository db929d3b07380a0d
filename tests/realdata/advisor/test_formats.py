"""Adapters' factors and quantised weights are refused by the name of their format, never analysed as weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from loraml_theory.harness.errors import InputError
from realdata.advisor.formats import check_plain, quantisation
from realdata.advisor.tasks import open_tasks
from realdata.advisor.tensor_files import Described
from tests.realdata.advisor.networks import adapter, drawn_adapter

MATRIX = Described((24, 16), torch.float16)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("base_model.model.q.lora_A.weight", "a LoRA adapter that is not merged"),
        ("base_model.model.q.lora_A.default.weight", "a LoRA adapter that is not merged"),
        ("attn.lora_B", "a LoRA adapter that is not merged"),
        ("model.embed.lora_embedding_A", "a LoRA adapter that is not merged"),
        ("base_model.model.q.base_layer.weight", "the state of a peft model"),
        ("base_model.model.q.lora_magnitude_vector", "a DoRA adapter"),
        ("lora_unet_down_0_to_q.lora_down.weight", "a LoRA in kohya's format"),
        ("lora_te1_text_model_q.alpha", "a LoRA in kohya's format"),
        ("unet.down.0.to_q.lora.down.weight", "a LoRA in the format of diffusers"),
        ("unet.attn1.processor.to_q_lora.down.weight", "a LoRA in the format of diffusers"),
        ("transformer.single.0.attn.to_q.lora_A.weight", "a LoRA in the format of diffusers"),
        ("lycoris_q.lokr_w1", "an adapter of LyCORIS or LoHa or LoKr"),
        ("unet_q.hada_w1_a", "an adapter of LyCORIS or LoHa or LoKr"),
        ("layers.0.attn.q_proj.lora_a", "a LoRA adapter in the format of torchtune or MLX"),
        ("layers.0.ia3_l", "an adapter"),
    ],
)
def test_factors_are_no_weights(name: str, form: str) -> None:
    with pytest.raises(InputError, match=f"f: is {form} .*expected weights"):
        check_plain(Path("f"), {"head.weight": MATRIX, name: MATRIX})


@pytest.mark.parametrize(
    ("beside", "dtype", "scheme"),
    [
        (["g_idx", "qweight", "scales"], torch.int32, "GPTQ"),
        (["qweight", "qzeros", "scales"], torch.int32, "AWQ or GPTQ"),
        (["weight.absmax", "weight.quant_map"], torch.uint8, "bitsandbytes, 4 bits"),
        (["SCB"], torch.int8, "bitsandbytes, 8 bits"),
        (["weight_scale_inv"], torch.float8_e4m3fn, "fp8 or int8 with scales"),
        (["scale"], torch.float8_e4m3fn, "fp8 with scales"),
        (["weight_packed", "weight_scale"], torch.int32, "compressed-tensors"),
        (["W_q", "meta"], torch.uint8, "HQQ"),
        (["codes", "codebooks", "scales"], torch.float16, "AQLM"),
        (["Qidxs", "SU"], torch.int64, "QuIP#"),
        (["weight._data", "weight._scale"], torch.int8, "Quanto"),
        (["gate_blocks", "gate_scales"], torch.uint8, "MXFP4"),
        ([], torch.int8, "an unknown scheme"),
    ],
)
def test_quantised_weights_are_refused_by_their_scheme(beside: list[str], dtype: torch.dtype, scheme: str) -> None:
    tensors = {f"up.{name}": MATRIX for name in beside} | {"up.weight": Described((24, 16), dtype)}
    with pytest.raises(InputError, match=rf"f: its weights are quantised \({scheme}, "):
        check_plain(Path("f"), tensors)


@pytest.mark.parametrize(
    "name", ["ls1.scale", "logit_scale", "attn.w_lora.lora.0.weight", "q_scale.weight", "up.scales", "blocks.0.weight"]
)
def test_plain_weights_with_names_like_those_are_read(name: str) -> None:
    tensors = {"up.weight": MATRIX, name: MATRIX, "fp8.weight": Described((4, 4), torch.float8_e5m2)}
    check_plain(Path("f"), tensors)
    assert quantisation(tensors) is None


def test_quantised_layers_may_be_left_out(tmp_path: Path) -> None:
    words = []
    for t in range(2):
        state = {"up.qweight": torch.ones(4, 4, dtype=torch.int32), "head.weight": torch.randn(4, 4)}
        save_file(state, str(tmp_path / f"{t}.safetensors"))
        words.append(f"{t}={tmp_path / f'{t}.safetensors'}")
    with pytest.raises(InputError, match="quantised"):
        open_tasks(words)
    assert set(open_tasks(words, ignore=["up.*"]).described) == {"head.weight"}


def test_an_adapters_file_is_its_folder_or_nothing(tmp_path: Path) -> None:
    words = [f"{i}={drawn_adapter(tmp_path / str(i), i) / 'adapter_model.safetensors'}" for i in range(2)]
    assert open_tasks(words).common
    for i in range(2):
        (tmp_path / str(i) / "adapter_config.json").unlink()
    with pytest.raises(InputError, match=r"0/adapter_model\.safetensors: is a LoRA adapter that is not merged"):
        open_tasks(words)
    with pytest.raises(InputError, match=r"give the adapter's folder, with its adapter_config\.json"):
        open_tasks([f"{i}={tmp_path / str(i)}" for i in range(2)])


def test_a_quantised_base_is_refused_and_not_needed(tmp_path: Path) -> None:
    factors = {"one": (torch.ones(2, 16), torch.ones(24, 2))}
    words = [f"{n}={adapter(tmp_path / n, factors)}" for n in "ab"]
    save_file({"one.qweight": torch.ones(3, 16, dtype=torch.int32)}, str(tmp_path / "base.safetensors"))
    with pytest.raises(InputError, match=r"base\.safetensors: its weights are quantised"):
        open_tasks(words, base=tmp_path / "base.safetensors")
    assert set(open_tasks(words).described) == {"one.weight"}
