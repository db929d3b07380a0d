"""Checkpoints and adapters of small synthetic networks with planted shifts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

SHAPES = {"one.weight": (24, 16), "two.weight": (20, 30)}
State = dict[str, Tensor]


def states(
    seed: int, *, T: int = 4, k: int = 2, sigma: float = 0.02, dtype: torch.dtype = torch.float32
) -> list[State]:
    """Return the base and T tasks: shifts U V^T of rank k in two matrices, noise, and tensors that are not matrices."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    base = {name: normal(*shape) for name, shape in SHAPES.items()}
    found: list[State] = [base]
    for _ in range(T):
        state = {
            name: W + normal(W.shape[0], k) @ normal(k, W.shape[1]) + sigma * normal(*W.shape)
            for name, W in base.items()
        }
        found.append({**state, "one.bias": normal(24), "embed_tokens.weight": normal(50, 16)})
    return [{**{name: W.to(dtype) for name, W in state.items()}, "steps": torch.tensor(3)} for state in found]


def write(folder: Path, tasks: list[State]) -> list[str]:
    """Write checkpoints ``0.safetensors`` ..; return them as words of the command."""
    for t, state in enumerate(tasks):
        save_file(state, str(folder / f"{t}.safetensors"))
    return [f"t{t}={folder / f'{t}.safetensors'}" for t in range(len(tasks))]


def planted(folder: Path, seed: int = 0, **options: Any) -> list[str]:
    """Write planted tasks."""
    return write(folder, states(seed, **options)[1:])


def random(folder: Path, *, T: int = 4, seed: int = 0) -> list[str]:
    """Write independent tasks of full rank."""
    draw = torch.Generator().manual_seed(seed)
    return write(folder, [{n: torch.randn(*s, generator=draw) for n, s in SHAPES.items()} for _ in range(T)])


def adapter(folder: Path, factors: dict[str, tuple[Tensor, Tensor]], **config: Any) -> Path:
    """Write a LoRA adapter by hand: A and B of each module."""
    folder.mkdir(parents=True, exist_ok=True)
    rank = next(iter(factors.values()))[0].shape[0] if factors else 2
    known = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "base_model_name_or_path": "a/base", **config}
    (folder / "adapter_config.json").write_text(json.dumps(known), "utf-8")
    tensors = {}
    for module, (A, B) in factors.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = A.contiguous()
        tensors[f"base_model.model.{module}.lora_B.weight"] = B.contiguous()
    save_file(tensors, str(folder / "adapter_model.safetensors"))
    return folder


def drawn_adapter(folder: Path, seed: int, *, rank: int = 2, **config: Any) -> Path:
    """Write an adapter of normal factors on all matrices."""
    draw = torch.Generator().manual_seed(seed)
    factors = {
        name.removesuffix(".weight"): (
            torch.randn(rank, columns, generator=draw),
            torch.randn(rows, rank, generator=draw),
        )
        for name, (rows, columns) in SHAPES.items()
    }
    return adapter(folder, factors, **config)
