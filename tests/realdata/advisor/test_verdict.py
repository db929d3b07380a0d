"""Whether retraining is said to help: shared shifts, chance, and tasks that are not several, each with its sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from realdata.advisor.advising import advise
from realdata.advisor.document import document, dumps
from realdata.advisor.layer import AdviceSettings
from realdata.advisor.tasks import open_tasks
from tests.realdata.advisor.networks import adapter, states, write

Factors = tuple[Tensor, Tensor]


class Drawn:
    """Adapters of one 24 x 20 matrix, of rank 4, by one generator."""

    def __init__(self, seed: int) -> None:
        self._draw = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._draw)

    def new(self, rank: int = 4) -> Factors:
        return self.normal(rank, 20), self.normal(24, rank)

    def near(self, factors: Factors, away: float = 0.2) -> Factors:
        A, B = factors
        return A + away * self.normal(*A.shape), B + away * self.normal(*B.shape)

    def sharing(self, common: Factors) -> Factors:
        own = self.new(1)
        return torch.cat([common[0], own[0]]), torch.cat([common[1], own[1]], dim=1)

    def turn(self) -> Tensor:
        return torch.linalg.qr(self.normal(4, 4))[0]


def told(folder: Path, tasks: list[Factors], *, rank: int | None = None) -> dict[str, Any]:
    """Return what is said of all layers together."""
    words = [f"t{t}={adapter(folder / str(t), {'q': factors})}" for t, factors in enumerate(tasks)]
    found = advise(open_tasks(words), AdviceSettings(draws=19, rank=rank))
    loaded: dict[str, Any] = json.loads(dumps(document(found)))["overall"]
    return loaded


@pytest.mark.parametrize("seed", range(3))
def test_shared_shifts_help(tmp_path: Path, seed: int) -> None:
    drawn = Drawn(seed)
    common = drawn.new(3)
    found = told(tmp_path, [drawn.sharing(common) for _ in range(4)])
    assert found["verdict"] == "helps"
    assert found["rank_base_share"] == 4
    assert found["rank_ml_share"] == 1 < found["rank_sr_share"]
    assert found["findings"][0].startswith("Retrain by LoRA-ML, then use rank 1: a new task needs rank 4 from the base")


def test_three_tasks_with_a_shared_shift_are_expected_to_be_helped(tmp_path: Path) -> None:
    drawn = Drawn(0)
    common = drawn.new(3)
    assert told(tmp_path, [drawn.sharing(common) for _ in range(3)])["verdict"] == "expected to help"


@pytest.mark.parametrize("T", [3, 4])
@pytest.mark.parametrize("rank", [None, 1, 2])
@pytest.mark.parametrize("scales", [(1.0, 1.0, 1.0, 1.0), (1.0, 0.6, 0.3, 0.15)])
def test_adapters_with_nothing_in_common_are_not_helped(
    tmp_path: Path, T: int, rank: int | None, scales: tuple[float, ...]
) -> None:
    """None of 200 draws of each kind was, in `benchmarks/advisor_by_chance.py`."""
    drawn = Drawn(T)
    unrelated = [(A * torch.tensor(scales)[:, None], B) for A, B in (drawn.new() for _ in range(T))]
    found = told(tmp_path, unrelated, rank=rank)
    assert found["verdict"] == "no help"
    assert found["rank_base_share"] < found["rank_sr_share"]
    assert found["findings"][0].startswith(f"Use rank {found['rank_base_share']} from the base as it is;")


def test_one_start_of_lora_a_is_nothing_in_common(tmp_path: Path) -> None:
    """Adapters of one seed begin with one lora_A, and stay near it; what they learn is in lora_B."""
    drawn = Drawn(8)
    start = drawn.normal(4, 20)
    found = told(tmp_path, [(start + 0.3 * drawn.normal(4, 20), drawn.normal(24, 4)) for _ in range(4)])
    assert found["verdict"] == "no help"
    assert found["aligned_p"] > 0.05


def test_one_adapter_with_its_factors_turned_is_one(tmp_path: Path) -> None:
    drawn = Drawn(1)
    A, B = drawn.new()
    turns = [drawn.turn() for _ in range(4)]
    found = told(tmp_path, [(turn.T @ A, B @ turn) for turn in turns])
    assert found["verdict"] == "unchanged"
    assert found["findings"] == ["Use one model for all tasks: they do not differ in any analysed weight."]


@pytest.mark.parametrize("seed", range(3))
def test_turns_within_the_same_rows_and_columns_determine_no_base(tmp_path: Path, seed: int) -> None:
    drawn = Drawn(seed)
    A, B = (torch.linalg.qr(drawn.normal(n, 4))[0] for n in (20, 24))
    found = told(tmp_path, [(drawn.turn() @ A.T, B) for _ in range(4)])
    lower = found["rank_ml_share"] < min(found["rank_base_share"], found["rank_sr_share"])
    assert found["verdict"] == ("cannot tell" if lower else "no help")
    assert lower == ("may be chance" in found["findings"][0])
    assert any("their shifts use the same rows or columns" in sentence for sentence in found["findings"])


def test_an_adapter_trained_twice_counts_once(tmp_path: Path) -> None:
    drawn = Drawn(3)
    first = drawn.new()
    found = told(tmp_path, [first, drawn.near(first), drawn.new(), drawn.new(), drawn.new()])
    assert found["groups"] == [["t0", "t1"], ["t2"], ["t3"], ["t4"]]
    assert found["verdict"] == "no help"
    assert any(s.startswith("t0 and t1 are much closer to one another") for s in found["cannot_tell"])


def test_a_task_that_is_given_twice_counts_once(tmp_path: Path) -> None:
    drawn = Drawn(4)
    first = drawn.new()
    found = told(tmp_path, [first, first, drawn.new(), drawn.new(), drawn.new()])
    assert found["groups"] == [["t0", "t1"], ["t2"], ["t3"], ["t4"]]
    assert "t0 and t1 are the same: they count as one task, held out together." in found["cannot_tell"]


@pytest.mark.parametrize("kind", ["near", "sharing"])
def test_two_groups_are_named(tmp_path: Path, kind: str) -> None:
    drawn = Drawn(5)
    tasks = []
    for _ in range(2):
        centre = drawn.new(4 if kind == "near" else 3)
        tasks += [drawn.near(centre) if kind == "near" else drawn.sharing(centre) for _ in range(3)]
    found = told(tmp_path, tasks)
    assert found["groups"] == [["t0", "t1", "t2"], ["t3", "t4", "t5"]]
    assert found["verdict"] == "cannot tell"
    assert "each group of tasks by itself" in found["findings"][0]
    assert any("two groups, much closer within than between" in s for s in found["cannot_tell"])


def test_two_adapters_of_one_base_are_not_called_unrelated(tmp_path: Path) -> None:
    drawn = Drawn(6)
    path = tmp_path / "base.safetensors"
    save_file({"q.weight": 0.01 * drawn.normal(24, 20)}, str(path))
    words = [f"t{t}={adapter(tmp_path / str(t), {'q': drawn.new()})}" for t in range(2)]
    merged = [{"w": B @ A} for A, B in (drawn.new() for _ in range(2))]
    for tasks in (open_tasks(words, base=path), open_tasks(write(tmp_path, merged))):
        found = document(advise(tasks, AdviceSettings(draws=19)))["overall"]
        assert not any("nothing in common" in sentence for sentence in found["cannot_tell"])
        assert "give three or more tasks" in found["findings"][0]


def test_checkpoints_are_compared_with_the_base_that_is_given(tmp_path: Path) -> None:
    """Independent shifts need their rank from the base, which is the LoRA-ML base too."""
    base, *tasks = states(0)
    save_file(base, str(tmp_path / "base.safetensors"))
    words = write(tmp_path, tasks)
    known, unknown = (
        document(advise(open_tasks(words, base=path), AdviceSettings(draws=19)))
        for path in (tmp_path / "base.safetensors", None)
    )
    assert [layer["rank_base"] for layer in known["layers"]] == [2, 2]
    assert [layer["rank_base"] for layer in unknown["layers"]] == [None, None]
    assert (known["overall"]["verdict"], unknown["overall"]["verdict"]) == ("no help", "cannot tell")
    assert known["overall"]["rank_base_share"] == known["overall"]["rank_ml_share"] == 2
    assert unknown["overall"]["rank_base_share"] is unknown["overall"]["aligned_p"] is None
