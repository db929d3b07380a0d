"""The advised ranks, as peft applies them to a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

from loraml_theory.harness.errors import InputError
from realdata.advisor.advising import advise
from realdata.advisor.layer import AdviceSettings
from realdata.advisor.rank_pattern import lora_arguments
from realdata.advisor.tasks import open_tasks
from realdata.advisor.verdict import overall
from tests.paper_checks.conftest import Loraml
from tests.realdata.advisor.networks import adapter, write

PLANTED = {"first": 1, "block.first": 2, "block.second": 3}
SIDE = 24


class Block(torch.nn.Module):
    """Linear maps, one of a name that another ends with."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (torch.nn.Linear(SIDE, SIDE) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.second(self.first(x)))


class Model(torch.nn.Module):
    """A block between two maps, of which no task changes the second."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.same = (torch.nn.Linear(SIDE, SIDE) for _ in range(2))
        self.block = Block()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.same(self.block(self.first(x))))


def turned(draw: torch.Generator, rank: int) -> torch.Tensor:
    """Return a shift of equal singular values."""
    left, right = (torch.linalg.qr(torch.randn(SIDE, rank, generator=draw))[0] for _ in range(2))
    return 10 * left @ right.T


def checkpoints(folder: Path, *, sigma: float = 0.01) -> list[str]:
    """Write the base and four tasks with planted ranks and noise; return the words of the command."""
    draw = torch.Generator().manual_seed(0)
    base = {name: tensor.detach() for name, tensor in Model().state_dict().items()}
    tasks = []
    for _ in range(4):
        task = {name: tensor.clone() for name, tensor in base.items()}
        for name, rank in PLANTED.items():
            task[f"{name}.weight"] += turned(draw, rank) + sigma * torch.randn(SIDE, SIDE, generator=draw)
        tasks.append(task)
    save_file(base, str(folder / "base.safetensors"))
    return write(folder, tasks)


@pytest.mark.long
def test_peft_gives_every_module_its_planted_rank(loraml: Loraml, tmp_path: Path) -> None:
    words, path = checkpoints(tmp_path), tmp_path / "ranks" / "ranks.json"
    ended = loraml(
        "advise", *words, "--base", tmp_path / "base.safetensors", "--rank-pattern", path, "--out", tmp_path / "out"
    )
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.endswith(f"Ranks: LoraConfig(**json.load(open({str(path)!r})))\n")
    layers = json.loads((tmp_path / "out" / "advice.json").read_text("utf-8"))["layers"]
    assert {layer["name"]: layer["k"] for layer in layers if layer["k"]} == {
        f"{n}.weight": k for n, k in PLANTED.items()
    }
    found = get_peft_model(Model(), LoraConfig(**json.loads(path.read_text("utf-8"))))
    for name, rank in PLANTED.items():
        module: Any = found.get_submodule(f"base_model.model.{name}")
        assert (module.r["default"], module.scaling["default"]) == (rank, 1.0)
    assert isinstance(found.get_submodule("base_model.model.same"), torch.nn.Linear)


def test_where_retraining_helps_the_ranks_are_from_the_retrained_base(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    common = torch.randn(3, 20, generator=draw), torch.randn(24, 3, generator=draw)
    words = []
    for t in range(4):
        own = torch.randn(1, 20, generator=draw), torch.randn(24, 1, generator=draw)
        factors = torch.cat([common[0], own[0]]), torch.cat([common[1], own[1]], dim=1)
        words.append(f"t{t}={adapter(tmp_path / str(t), {'q': factors})}")
    found = advise(open_tasks(words), AdviceSettings(draws=19))
    expected = {"r": 1, "lora_alpha": 1, "target_modules": ["q"], "rank_pattern": {}, "alpha_pattern": {}}
    assert lora_arguments(found, overall(found)) == expected


def test_equal_tasks_have_no_ranks(tmp_path: Path) -> None:
    words = write(tmp_path, [{"q.weight": torch.eye(8)}] * 2)
    found = advise(open_tasks(words), AdviceSettings(draws=19))
    with pytest.raises(InputError, match="--rank-pattern: no module needs an adapter of a known rank"):
        lora_arguments(found, overall(found))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ranks.txt", "expected a name that ends in .json"),
        ("0/adapter_config.json", "which is an input; expected another file"),
    ],
)
def test_a_wrong_place_is_refused(loraml: Loraml, tmp_path: Path, name: str, text: str) -> None:
    draw = torch.Generator().manual_seed(0)
    factors = [(torch.randn(2, 8, generator=draw), torch.randn(8, 2, generator=draw)) for _ in range(2)]
    words = [f"t{t}={adapter(tmp_path / str(t), {'q': each})}" for t, each in enumerate(factors)]
    ended = loraml("advise", *words, "--rank-pattern", tmp_path / name)
    assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith(f"loraml: error: --rank-pattern: got {str(tmp_path / name)!r}, {text}"[:60])
    assert text in ended.err
