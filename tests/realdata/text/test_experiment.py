"""Retraining on tasks with heads of different sizes, and bases and adapters as stock libraries read them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from loraml_theory.harness.errors import InputError
from realdata.experiments.grid import RetrainingKey, keys, retrainings, work_of
from realdata.experiments.records import read_records
from realdata.experiments.retrained import load
from realdata.experiments.runner import run
from realdata.text.experiment import TextSpec
from realdata.text.export import export
from realdata.text.files import Source
from tests.realdata.text.made import model, request, rows, spec, tasks, tiny, write

ROOT = Path(__file__).parents[3]
PEFT = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")  # peft reads what transformers has renamed
KEY = RetrainingKey("lora-ml", 0, (), 2)


def ran(folder: Path, *methods: Any, tested: bool = True, **changes: Any) -> tuple[Path, Any]:
    """Retrain, fine-tune where there is a test task, and export."""
    asked = request(spec(folder, tested=tested, **changes), *methods)
    out = folder / "out"
    assert run(asked, out).failures == ()
    experiment: Any = asked.spec.open()
    grid, relevance = asked.wanted.grid, asked.spec.relevance
    works = [work_of(key, relevance) for key in keys(grid, tasks=experiment.tests)]
    export(out, experiment, retrainings(grid, relevance), fine_tunings=works, results="", command="loraml retrain …")
    return out, experiment


def outputs(model: Any, experiment: Any, task: int) -> Tensor:
    batch = experiment.retraining_tasks[task].test.batch(np.arange(4))
    with torch.no_grad():
        found: Tensor = model.eval()(**batch.inputs).logits
    return found


def stored(out: Path, experiment: Any, key: RetrainingKey = KEY) -> Any:
    return load(out / "retraining" / key.id, key, experiment.retraining(key).model)


@PEFT
@pytest.mark.long
def test_an_adapter_gives_the_outputs_of_its_task(tmp_path: Path) -> None:
    """Stock peft computes with base and adapter what retraining computed, for each task with its own labels."""
    from peft import AutoPeftModelForSequenceClassification, PeftModel
    from transformers import AutoModelForSequenceClassification

    out, experiment = ran(tmp_path, "lora-ml", "standard", tested=False)
    meta = stored(out, experiment).meta_model
    for number, (name, labels, first) in enumerate((("four", 4, 0), ("three", 3, 4))):
        place = out / "adapters" / name
        adapted = AutoPeftModelForSequenceClassification.from_pretrained(place, num_labels=labels)
        batch = experiment.retraining_tasks[number].test.batch(np.arange(4))
        with torch.no_grad():
            expected = meta.eval()(batch.inputs, name)[:, first : first + labels]
        torch.testing.assert_close(outputs(adapted, experiment, number), expected)
        base = AutoModelForSequenceClassification.from_pretrained(out / "base", num_labels=labels)
        again = PeftModel.from_pretrained(base, str(place))
        torch.testing.assert_close(outputs(again, experiment, number), expected)
    key = KEY._replace(method="standard", rank=0)
    shared = stored(out, experiment, key).base
    head_alone = AutoPeftModelForSequenceClassification.from_pretrained(
        out / "standard/seed-0/adapters/three", num_labels=3
    )
    torch.testing.assert_close(outputs(head_alone, experiment, 1), outputs(shared, experiment, 1)[:, 4:7])


@pytest.mark.long
def test_the_base_is_that_of_retraining_and_has_its_tokenizer(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    out, experiment = ran(tmp_path, "lora-ml", tested=False)
    found = AutoModelForSequenceClassification.from_pretrained(out / "base").state_dict()
    trained = stored(out, experiment).base.state_dict()
    start = experiment.model(0).state_dict()
    body = [name for name in trained if not experiment.in_head(name)]
    assert all(torch.equal(found[name], trained[name]) for name in body)
    assert any(not torch.equal(found[name], start[name]) for name in body)
    assert AutoTokenizer.from_pretrained(out / "base")("a b")["input_ids"]
    assert (out / "base").readlink() == Path("lora-ml/seed-0/base")
    config = json.loads((out / "adapters/four/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(out / "lora-ml/seed-0/base")
    assert config["task_type"] == "SEQ_CLS"


@PEFT
@pytest.mark.long
def test_the_lines_of_the_card_run(tmp_path: Path) -> None:
    out, _ = ran(tmp_path, "lora-ml", "no-retraining")
    text = (out / "base" / "README.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert code.count("num_labels=") == 2
    assert "\n# fine-tuned from this base to the test task two, after the last epoch\n" in code
    found: dict[str, Any] = {}
    exec(code, found)
    assert found["adapted"].get_base_model().config.num_labels == 2
    own = (out / "no-retraining/seed-0/base/README.md").read_text("utf-8")
    assert own.count(".from_pretrained(") == 3
    assert "/model as it is\n" in own


@pytest.mark.long
def test_test_tasks_have_new_heads_of_their_size_and_every_method_the_same_budget(tmp_path: Path) -> None:
    out, experiment = ran(tmp_path, "no-retraining", "standard", "lora-ml", "last-layer-ml", "reptile", "fomaml")
    records = {record.key.method: record for record in read_records(out)}
    assert len(records) == 6
    assert len({record.fine_tuning for record in records.values()}) == 1
    assert len({record.retraining for method, record in records.items() if method != "no-retraining"}) == 1
    plan = experiment.fine_tuning(_work("two"), experiment.retraining(KEY).model)
    assert plan.base.get_parameter("classifier.weight").shape[0] == 2
    kept = {path.parent.parent.parent.name: path.name for path in out.glob("*/seed-0/adapters/two")}
    assert kept == dict.fromkeys(records, "two")
    assert [path.name for path in (out / "reptile/seed-0/adapters").iterdir()] == ["two"]


@PEFT
@pytest.mark.filterwarnings("ignore:.*pin_memory")  # of Trainer's loader, where there is no GPU
@pytest.mark.long
def test_ten_lines_go_on_with_stock_peft_and_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """README.md's lines run on what the command writes."""
    (example, *_) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert len([line for line in example.splitlines() if line]) <= 10
    ran(tmp_path, "lora-ml", tested=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports").mkdir()
    (tmp_path / "out").rename("reports/retrain")
    write(tmp_path / "new.jsonl", rows([0, 1], count=16))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    found: dict[str, Any] = {}
    exec(example, found)
    trained = [name for name, parameter in found["adapted"].named_parameters() if parameter.requires_grad]
    assert any("lora" in name for name in trained)
    assert any("classifier" in name for name in trained)


def _work(task: str) -> Any:
    from realdata.experiments.grid import Work

    return Work(KEY, "lora", (), 2, None, task)


def test_what_makes_no_experiment_is_one_line(tmp_path: Path) -> None:
    paths = tasks(tmp_path)
    read = tiny(model(tmp_path))
    four = Source("four", (paths["four"],))
    with pytest.raises(InputError, match="--task, --test: got a name twice, expected tasks with different names"):
        TextSpec(read, (four,), (four,)).open()
    small = tiny(tmp_path, retraining={"epochs": 1, "batch_size": 1})
    with pytest.raises(InputError, match="--batch-size: got 1, expected an example of each of 2 tasks"):
        TextSpec(small, (four, Source("two", (paths["two"],)))).open()
    few = write(tmp_path / "few.jsonl", [{"text": "a", "label": 0}, {"text": "b", "label": 1}])
    with pytest.raises(InputError, match=r"--test few: the 2 rows of .* leave none for the part"):
        TextSpec(read, (four,), (Source("few", (few,)),)).open()
