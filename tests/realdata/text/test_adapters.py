"""Adapters of fine-tuned tasks: kept, read again, and what is in their place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from loraml_theory.harness.errors import InputError
from realdata.experiments.grid import RetrainingKey, Work
from realdata.experiments.runner import run
from realdata.text import adapters
from realdata.text.export import export
from tests.realdata.text.made import request, spec

KEY = RetrainingKey("no-retraining", 0, (), 0)


def work(finetune: str, rank: int) -> Work:
    return Work(KEY, finetune, (), rank, None, "two")


@pytest.mark.long
def test_what_is_kept_is_read_again_and_the_first_kind_of_fine_tuning_is_written(tmp_path: Path) -> None:
    asked = request(spec(tmp_path), "no-retraining")
    kinds: Any = ("full", "last-layer", "lora")
    grid = replace(asked.wanted.grid, finetune=kinds)
    out, works = tmp_path / "out", [work("full", 0), work("last-layer", 0), work("lora", 2)]
    assert run(replace(asked, wanted=asked.wanted._replace(grid=grid)), out).failures == ()
    assert {path.name for path in (out / "fine-tuned").iterdir()} == {one.id for one in works[1:]}
    experiment: Any = asked.spec.open()
    assert export(out, experiment, [KEY], fine_tunings=works, results="", command="") is None
    assert not (out / "base").exists()
    place = out / "no-retraining/seed-0/adapters/two"
    kept, written = adapters.read(out / "fine-tuned" / works[1].id), adapters.read(place)
    assert set(kept.state) == {"base_model.model.classifier.weight", "base_model.model.classifier.bias"}
    assert all(torch.equal(kept.state[name], written.state[name]) for name in kept.state)
    assert written.config.base_model_name_or_path == str(out / "no-retraining/seed-0/base")
    assert kept.config.base_model_name_or_path is None
    (out / "fine-tuned" / works[1].id / "adapter_model.safetensors").write_bytes(b"\0" * 9)
    with pytest.raises(InputError, match="its adapter is damaged; remove the folder and the run's record"):
        export(out, experiment, [KEY], fine_tunings=works, results="", command="")
    assert adapters.read(place).state.keys() == written.state.keys()
