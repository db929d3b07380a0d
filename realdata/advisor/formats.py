"""Formats other than plain weights, recognised by the names and dtypes of their tensors and refused by name.

A factor of an adapter, a packed weight and the scale of a quantisation are matrices too, but a verdict on them would be
meaningless. So a checkpoint is checked before anything in it is analysed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch

from loraml_theory.harness.errors import InputError
from realdata.advisor.tensor_files import Described

CONFIG = "adapter_config.json"
_FOLDER = f"give the adapter's folder, with its {CONFIG}, as peft saves it"
_CONVERT = f"convert it to peft's format, with {CONFIG}, or merge it into a checkpoint"
ADAPTERS = (
    (r"\.(hada_w[12]_[ab]|hada_t[12]|lokr_w[12](_[ab])?|lokr_t2)$", "an adapter of LyCORIS or LoHa or LoKr", _CONVERT),
    (r"^lora_(unet|te\d?|transformer|prior\w*)_|\.lora_(down|up|mid)\.weight$", "a LoRA in kohya's format", _CONVERT),
    (
        r"\.lora\.(down|up)\.weight$|lora_linear_layer\.(down|up)\.|_lora\d*\.(down|up)\.weight$"
        r"|^(unet|text_encoder(_\d)?|transformer|prior)\..*\.lora_[AB]\.weight$",
        "a LoRA in the format of diffusers",
        _CONVERT,
    ),
    (r"\.lora_magnitude_vector(\.|$)|\.dora_scale$", "a DoRA adapter", "merge it into a checkpoint"),
    (r"\.(ia3_l|vera_lambda_[bd]|oft_[rR]|boft_[RS]|hra_u|fourierft_spectrum|lora_E)(\.|$)", "an adapter", _CONVERT),
    (r"\.lora_(embedding_)?[AB](\.|$)", "a LoRA adapter that is not merged", _FOLDER),
    (r"\.lora_[ab](\.|$)", "a LoRA adapter in the format of torchtune or MLX", _CONVERT),
    (r"^(module\.)?base_model\.model\.", "the state of a peft model", f"merge it (merge_and_unload), or {_FOLDER}"),
)
"""Patterns of tensor names, the format with such names, and what to do with it; the first match counts."""
QUANTISED = (
    (r"\.(quant_state\.bitsandbytes__\w+|absmax|nested_absmax|quant_map|nested_quant_map)$", "bitsandbytes, 4 bits"),
    (r"\.SCB$", "bitsandbytes, 8 bits"),
    (r"\.g_idx$", "GPTQ"),
    (r"\.(qweight|qzeros)$", "AWQ or GPTQ"),
    (r"\.weight_packed$", "compressed-tensors"),
    (r"\.weight_scale(_inv|_2|s)?$|\.scale_weight$", "fp8 or int8 with scales"),
    (r"\.W_q$", "HQQ"),
    (r"\.codebooks$", "AQLM"),
    (r"\.Qidxs$", "QuIP#"),
    (r"\.q_weight$", "EXL2"),
    (r"\.trellis$", "EXL3"),
    (r"\.weight\._(data|scale)$", "Quanto"),
    (r"[.:_]qdata$", "torchao"),
)
"""Patterns of tensor names and the scheme with such names; the first match counts."""
PACKED = (torch.int8, torch.uint8, torch.int32, torch.uint32)
EIGHT = (torch.float8_e4m3fn, torch.float8_e5m2)


def check_plain(path: Path, tensors: Mapping[str, Described]) -> None:
    """Raise unless a file's tensors are plain weights.

    Parameters
    ----------
    path
        The file, for the error.
        tensors
        Its content.

    Raises
    ------
    InputError
        If they are an adapter's factors, or quantised; the text names the format and what to do.
    """
    for pattern, form, advice in ADAPTERS:
        if name := _found(pattern, tensors):
            raise InputError(f"{path}: is {form} ({name!r}), expected weights: {advice}")
    if scheme := quantisation(tensors):
        raise InputError(
            f"{path}: its weights are quantised ({scheme}), expected floating-point weights: load them with what they"
            " were quantised with, and save them dequantised"
        )


def quantisation(tensors: Mapping[str, Described]) -> str | None:
    """Return the quantisation scheme of weights and a tensor that shows it, or None if they are plain."""
    for pattern, scheme in QUANTISED:
        if name := _found(pattern, tensors):
            return f"{scheme}, {name!r}"
    for name, found in tensors.items():
        if name.endswith("_blocks") and f"{name.removesuffix('_blocks')}_scales" in tensors:
            return f"MXFP4, {name!r}"
        if found.dtype in PACKED and name.endswith(".weight") and len(found.shape) > 1:
            return f"an unknown scheme, {name!r} holds {found.dtype}"
        if found.dtype in EIGHT and any(
            f"{name.removesuffix('weight')}{end}" in tensors for end in ("scale", "scales")
        ):
            return f"fp8 with scales, {name!r}"
    return None


def _found(pattern: str, tensors: Mapping[str, Described]) -> str | None:
    search = re.compile(pattern).search
    return next((name for name in tensors if search(name)), None)
