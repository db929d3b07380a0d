"""Chains: the matrix, what a kill leaves, and that what is scored is what was saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from loraml_theory.harness.errors import InputError
from realdata.continual.chain import METHOD_CLASSES, Chain, Found, run_chain
from realdata.continual.factors import loaded
from realdata.continual.features import FeatureProblem, FeatureTask
from realdata.continual.settings import METHODS
from realdata.text.splits import PARTS
from tests.realdata.continual.small import ORDER, accelerator, few, quick

ROWS = {"joint": [0, 3], "no-training": [0]}


class Killed(BaseException):
    """Not an error that anything would catch."""


def run(folder: Path, method: Any, *, seed: int = 0, stop: float | None = None, **changes: Any) -> Found:
    def tick(done: float) -> None:
        if stop is not None and done >= stop:
            raise Killed

    chain = Chain(method, 3e-2, ORDER, seed, "test")
    return run_chain(chain, few(), quick(**changes), folder, accelerator=accelerator(), tick=tick)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_its_rows_and_goes_on_after_a_kill(tmp_path: Path, method: str) -> None:
    found = run(tmp_path / "whole", method)
    assert sorted(found.rows) == ROWS.get(method, [0, 1, 2, 3])
    assert {len(scores) for row in found.rows.values() for scores in row.values()} == {3}
    assert len(found.losses) == len(found.steps) == len(found.examples) == len(found.rows) - 1
    if method in ROWS:
        return
    with pytest.raises(Killed):
        run(tmp_path / "killed", method, stop=1.5)
    assert sorted(json.loads((tmp_path / "killed/chain.json").read_text())["rows"]) == ["0", "1"]
    again = run(tmp_path / "killed", method)
    assert (again.rows, again.losses, again.steps) == (found.rows, found.losses, found.steps)


def test_a_row_is_what_stock_peft_loads(tmp_path: Path) -> None:
    found = run(tmp_path, "o-lora")
    problem = few()
    with loaded(tmp_path / "row-2", problem.plain) as model:
        again = problem.evaluated(model.eval(), ORDER, "test")
    assert again == found.rows[2]
    config = json.loads((tmp_path / "row-3/adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["peft_type"]) == (12, 24, "LORA")


def test_row_0_is_the_plain_model_and_the_plain_model_stays(tmp_path: Path) -> None:
    problem = few()
    before = problem.evaluated(problem.plain, ORDER, "test")
    chain = Chain("deal-preserving", 3e-2, ORDER, 0, "test")
    found = run_chain(chain, problem, quick(), tmp_path, accelerator=accelerator())
    assert found.rows[0] == before == problem.evaluated(problem.plain, ORDER, "test")
    assert found.rows[3] != before


def test_the_network_that_is_not_dropped_is_in_the_scores(tmp_path: Path) -> None:
    quirks = ["freeze-b", "no-penalty", "fresh-mlp"]
    dropped = run(tmp_path / "dropped", "deal-released")
    kept = run(tmp_path / "kept", "deal-released", deal={"quirks": quirks})
    assert dropped.rows[1] == kept.rows[1]  # the first task is plain LoRA
    assert dropped.rows[2] != kept.rows[2]
    with pytest.raises(Killed):
        run(tmp_path / "killed", "deal-released", stop=2.5, deal={"quirks": quirks})
    assert run(tmp_path / "killed", "deal-released", deal={"quirks": quirks}).rows == kept.rows


def test_a_chain_whose_loss_is_not_finite_says_so_and_goes_on(tmp_path: Path) -> None:
    chain = Chain("sequential", 1e38, ORDER, 0, "test")  # whose products are beyond float32
    found = run_chain(chain, few(), quick(), tmp_path, accelerator=accelerator())
    assert None in found.losses[1]
    assert sorted(found.rows) == [0, 1, 2, 3]
    again = run_chain(chain, few(), quick(), tmp_path, accelerator=accelerator())
    assert again.losses == found.losses


def test_seeds_matter_and_the_same_seed_gives_the_same(tmp_path: Path) -> None:
    runs = [run(tmp_path / str(at), "sequential", seed=seed) for at, seed in enumerate((0, 0, 1))]
    assert runs[0].losses == runs[1].losses
    assert runs[0].losses != runs[2].losses


def test_a_folder_of_another_chain_or_a_damaged_one_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(tmp_path, "sequential", stop=1.5)
    with pytest.raises(InputError, match="is damaged, or of another chain"):
        run(tmp_path, "sequential", seed=1)
    (tmp_path / "row-1/adapter_model.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(InputError, match=r"adapter_model\.safetensors: is damaged"):
        run(tmp_path, "sequential")


def test_all_methods_of_the_settings_are_there() -> None:
    assert tuple(METHOD_CLASSES) == METHODS


def contradicting() -> FeatureProblem:
    """Return two tasks with the same sentences, whose labels are nowhere near them, and exchanged answers."""
    vectors = torch.linalg.qr(torch.randn(32, 8, generator=torch.Generator().manual_seed(0)))[0].T
    right = torch.arange(32) % 4
    tasks = {
        name: FeatureTask(
            tuple(f"{name} {at}" for at in range(4)),
            vectors[4:],
            dict.fromkeys(PARTS, vectors[right]),
            dict.fromkeys(PARTS, right if name == "first" else 3 - right),
        )
        for name in ("first", "second")
    }
    return FeatureProblem(tasks, temperature=0.05, orders=[2])


def test_what_forgets_is_seen(tmp_path: Path) -> None:
    chain = Chain("sequential", 3e-3, ("first", "second"), 0, "test")
    settings = quick(training={"epochs": 40, "batch_size": 8})
    found = run_chain(chain, contradicting(), settings, tmp_path, accelerator=accelerator())
    own = np.array([found.rows[at]["own"] for at in range(3)])
    assert own[1, 0] > 0.9
    assert own[2, 1] > 0.9
    assert own[2, 0] < 0.1
