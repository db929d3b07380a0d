"""Bundles of small models of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import IA3Config, LoHaConfig, LoraConfig, VeraConfig
from torch import nn

from realdata.peft_ml.bundle import save
from realdata.peft_ml.meta_model import MetaPeftModel
from tests.realdata.peft_ml.small_models import Mlp, disturb, seeded, tiny_bert, tiny_gpt2

LORA = LoraConfig(r=2, lora_alpha=4, target_modules="all-linear")
IA3 = IA3Config(target_modules="all-linear", feedforward_modules=[])
TASKS = ("cat-deer", "v1.0/é", "cat")


def normed() -> nn.Module:
    return seeded(0, Mlp, norm=nn.BatchNorm1d(8)).eval()


class Shared(Mlp):
    """Has one layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.again = self.body


KINDS: dict[str, tuple[Callable[[], nn.Module], Any, str | None]] = {
    "lora": (lambda: seeded(0, Mlp), LORA, None),
    "lora with heads": (lambda: seeded(0, Mlp), LORA, "head"),
    "last layer": (lambda: seeded(0, Mlp), None, "head"),
    "ia3 with heads": (lambda: seeded(0, Mlp), IA3, "head"),
    "dora": (lambda: seeded(0, Mlp), LoraConfig(r=2, use_dora=True, target_modules=["body"]), None),
    "vera": (lambda: seeded(0, Mlp), VeraConfig(r=2, target_modules=["body"]), None),
    "loha": (lambda: seeded(0, Mlp), LoHaConfig(r=2, target_modules=["body"]), "head"),
    "shared layer": (lambda: seeded(0, Shared), LoraConfig(r=2, target_modules=["head"]), None),
    "batch norm": (normed, LORA, None),
    "bert": (tiny_bert, LORA, None),
    "bert, last layer": (tiny_bert, None, "classifier"),
    "tied bert": (lambda: tiny_bert(masked=True), LORA, None),
    "tied gpt2": (tiny_gpt2, LORA, None),
}


def made(
    kind: str = "lora with heads", *, tasks: tuple[str, ...] = TASKS
) -> tuple[MetaPeftModel, Callable[[], nn.Module]]:
    """Return a model that has moved from its start, and what makes the model that it started from."""
    make, adapter, head = KINDS[kind]
    meta = MetaPeftModel(make(), tasks, adapter=adapter, head=head, seed=5)
    disturb(meta)
    with torch.no_grad():
        for parameter in meta.base_parameters().values():
            parameter.add_(0.1)
        for buffer in meta.buffers():
            if buffer.dtype.is_floating_point:
                buffer.add_(0.1)
    return meta, make


def saved(folder: Path, kind: str = "lora with heads", **options: Any) -> tuple[MetaPeftModel, Callable[[], nn.Module]]:
    meta, make = made(kind)
    save(meta, folder, **options)
    return meta, make


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
