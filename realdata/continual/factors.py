"""Pairs of LoRA factors of a model's layers: drawn, joined, attached to a model, and stock peft adapters on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from loraml_theory.harness.errors import InputError, reason
from loraml_theory.harness.input_files import check_regular, read_json
from realdata.peft_ml.seeding import torch_seeded
from realdata.peft_ml.task_adapters import expected_warnings_ignored

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel

    from realdata.peft_ml.settings import FineTuningSettings

ADAPTER = "default"


class Pair(NamedTuple):
    """The factors of one layer: ``A`` of lora_A, ``(r, inputs)``, and ``B`` of lora_B, ``(outputs, r)``.

    The shift of the layer's weight is ``(alpha / rank) B A``.
    """

    A: Tensor
    B: Tensor


Pairs: TypeAlias = Mapping[str, Pair]
"""The pair of every adapted layer by its name in the plain model."""


class Layers(NamedTuple):
    """Which layers are adapted, and how: their names as peft has them, and rank, alpha and dropout."""

    targets: tuple[str, ...]
    settings: FineTuningSettings

    def config(self, pairs: int = 1) -> LoraConfig:
        """Return peft's settings of so many pairs side by side, whose shift is the sum of theirs.

        Rank and alpha grow alike, so that ``alpha / rank`` stays.
        """
        from peft import LoraConfig

        rank = self.settings.rank
        alpha: Any = rank if self.settings.alpha is None else self.settings.alpha
        return LoraConfig(
            r=pairs * rank,
            lora_alpha=pairs * alpha,
            lora_dropout=self.settings.adapter_dropout,
            target_modules=list(self.targets),
        )

    @property
    def scale(self) -> float:
        """``alpha / rank``."""
        return 1.0 if self.settings.alpha is None else self.settings.alpha / self.settings.rank


def joined(pairs: Sequence[Pairs]) -> Pairs:
    """Return pairs side by side: ``A`` one above the other, ``B`` one beside the other, so that ``B A`` is the sum."""
    return {
        name: Pair(torch.cat([one[name].A for one in pairs]), torch.cat([one[name].B for one in pairs], dim=1))
        for name in pairs[0]
    }


def divided(pairs: Pairs, *, rank: int) -> list[Pairs]:
    """Return the pairs of this rank that stand side by side in others, in their order."""
    count = next(iter(pairs.values())).A.shape[0] // rank
    return [
        {
            name: Pair(A[at * rank : (at + 1) * rank], B[:, at * rank : (at + 1) * rank])
            for name, (A, B) in pairs.items()
        }
        for at in range(count)
    ]


@contextmanager
def attached(plain: nn.Module, layers: Layers, *, seed: int, pairs: int = 1) -> Iterator[PeftModel]:
    """Yield a model with a fresh adapter, lora_A by Kaiming and lora_B zero; the plain model is restored at the end."""
    from peft import get_peft_model

    with torch_seeded(seed, "adapter"), expected_warnings_ignored():
        model: Any = get_peft_model(plain, layers.config(pairs))
    try:
        yield model
    finally:
        model.unload()


def modules(model: nn.Module) -> dict[str, Any]:
    """Return peft's layers of a model with an adapter by their names in the plain model."""
    wrapped: Any = model
    plain = wrapped.get_base_model() if hasattr(wrapped, "get_base_model") else wrapped
    return {name: module for name, module in plain.named_modules() if ADAPTER in getattr(module, "lora_A", ())}


def factors(model: nn.Module) -> Pairs:
    """Return copies of the factors as the forward uses them, filters included."""
    return {
        name: Pair(module.lora_A[ADAPTER].weight.detach().clone(), module.lora_B[ADAPTER].weight.detach().clone())
        for name, module in modules(model).items()
    }


def put(model: nn.Module, pairs: Pairs) -> None:
    """Give an adapter these factors."""
    with torch.no_grad():
        for name, module in modules(model).items():
            module.lora_A[ADAPTER].weight.copy_(pairs[name].A)
            module.lora_B[ADAPTER].weight.copy_(pairs[name].B)


@contextmanager
def merged(model: nn.Module, frozen: Sequence[Pairs], *, scale: float) -> Iterator[None]:
    """Add the shifts of frozen pairs to the weights of the adapted layers, and put the very weights back at the end."""
    kept: list[tuple[Any, Tensor]] = []
    for name, module in modules(model).items() if frozen else ():
        layer = module.get_base_layer()
        kept.append((layer, layer.weight))
        with torch.no_grad():
            shift = sum(scale * one[name].B @ one[name].A for one in frozen)
            layer.weight = nn.Parameter(layer.weight + shift, requires_grad=False)
    try:
        yield
    finally:
        for layer, weight in kept:
            layer.weight = weight


def save(folder: Path, plain: nn.Module, layers: Layers, pairs: Sequence[Pairs]) -> None:
    """Write pairs side by side as one stock peft adapter.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    with attached(plain, layers, seed=0, pairs=len(pairs)) as model:
        put(model, joined(pairs))
        model.save_pretrained(str(folder), save_embedding_layers=False)


@contextmanager
def loaded(folder: Path, plain: nn.Module) -> Iterator[PeftModel]:
    """Yield the plain model with an adapter as stock peft loads it; it is as before afterwards.

    Raises
    ------
    InputError
        If the folder holds no adapter of this model.
    """
    from peft import PeftModel

    read_json(folder / "adapter_config.json", expected="the settings of an adapter; run again")  # else peft asks a hub
    check_regular(folder / "adapter_model.safetensors", expected="the weights of an adapter; run again")
    try:
        with expected_warnings_ignored():
            model: Any = PeftModel.from_pretrained(plain, str(folder))
    except Exception as error:  # of safetensors, of JSON, of torch for another size
        raise InputError(
            f"{folder}: holds no adapter of this model ({reason(error)}); remove it and run again"
        ) from None
    try:
        yield model
    finally:
        model.unload()
