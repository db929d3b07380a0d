"""Base, adapter and head of every architecture predict with stock libraries what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from realdata.experiments.grid import NO_RETRAINING, RetrainingKey, keys, retrainings, work_of
from realdata.experiments.records import read_records
from realdata.experiments.retrained import load
from realdata.experiments.runner import run
from realdata.text.experiment import TextSpec
from realdata.text.export import export
from realdata.text.files import Source
from tests.realdata.text.made import request, tasks, tiny
from tests.realdata.text.small_models import KINDS, saved

METHODS: tuple[Any, ...] = ("lora-ml", "standard", NO_RETRAINING)
KEY = RetrainingKey("lora-ml", 0, (), 2)
# peft reads what transformers has renamed
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")]


def ran(kind: str, tmp_path: Path) -> tuple[Path, Any]:
    """Retrain an architecture on two tasks, fine-tune it to a third, and write all of it."""
    paths = tasks(tmp_path)
    source = {name: Source(name, (path,)) for name, path in paths.items()}
    asked = request(
        TextSpec(tiny(saved(kind, tmp_path / "model")), (source["four"], source["three"]), (source["two"],)), *METHODS
    )
    out = tmp_path / "out"
    assert run(asked, out).failures == ()
    experiment: Any = asked.spec.open()
    grid, relevance = asked.wanted.grid, asked.spec.relevance
    works = [work_of(key, relevance) for key in keys(grid, tasks=["two"])]
    export(out, experiment, retrainings(grid, relevance), fine_tunings=works, results="", command="loraml retrain …")
    return out, experiment


def stock(out: Path, method: str, name: str, labels: int) -> Any:
    """Load an adapter, and with it its base, by peft alone."""
    from peft import AutoPeftModelForSequenceClassification

    place = out / method / "seed-0" / "adapters" / name
    return AutoPeftModelForSequenceClassification.from_pretrained(place, num_labels=labels).eval()


def outputs(model: Any, part: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(**part.batch(np.arange(len(part))).inputs).logits
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_stock_libraries_predict_what_was_retrained_and_measured(kind: str, tmp_path: Path) -> None:
    out, experiment = ran(kind, tmp_path)
    assert experiment.head == KINDS[kind].head
    _check_retrained(out, experiment)
    _check_fine_tuned(out, experiment)


def _check_retrained(out: Path, experiment: Any) -> None:
    """Compare what was retrained with what stock libraries make of it, for each task's own labels."""
    meta = load(out / "retraining" / KEY.id, KEY, experiment.retraining(KEY).model).meta_model
    key = KEY._replace(method="standard", rank=0)
    shared = load(out / "retraining" / key.id, key, experiment.retraining(key).model).base
    assert meta is not None
    for name, labels, first in (("four", 4, 0), ("three", 3, 4)):
        test = experiment.retraining_tasks[name == "three"].test
        own = slice(first, first + labels)
        with torch.no_grad():
            expected = meta.eval()(test.batch(np.arange(len(test))).inputs, name)[:, own]
        torch.testing.assert_close(outputs(stock(out, "lora-ml", name, labels), test), expected)
        expected = outputs(shared.eval(), test)[:, own]
        torch.testing.assert_close(outputs(stock(out, "standard", name, labels), test), expected)


def _check_fine_tuned(out: Path, experiment: Any) -> None:
    """Compare the scores of the test task with those recorded, example by example."""
    test = experiment.test_tasks["two"].test
    batch = test.batch(np.arange(len(test)))
    records = {record.key.method: record for record in read_records(out)}
    assert set(records) == set(METHODS)
    for method, record in records.items():
        found = outputs(stock(out, method, "two", 2), test)
        right = (found.argmax(dim=1) == batch.targets[:, 0]).int().tolist()
        assert "".join(map(str, right)) == record.correct
        assert sum(right) / len(right) == pytest.approx(record.last["accuracy"])
