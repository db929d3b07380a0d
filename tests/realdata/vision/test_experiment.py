"""Settings of the vision experiment, and what it makes of them."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from loraml_theory.harness.settings import SettingsError
from realdata.experiments.grid import RetrainingKey, work_of
from realdata.experiments.records import RunKey
from realdata.vision.images import ImageDataError
from realdata.vision.settings import example, settings
from tests.realdata.vision.tiny import spec


@pytest.mark.parametrize("profile", ["cpu", "paper", "digits"])
def test_profiles_ship_and_can_be_read(profile: str) -> None:
    found = settings(profile)
    assert found.grid.quirks == ()
    assert found.retraining.epochs > 0
    assert f"epochs = {found.retraining.epochs}\n" in example(profile)


def test_the_paper_s_settings_are_the_paper_s() -> None:
    found = settings("paper")
    assert (found.model.patch, found.model.depth, found.model.width, found.model.dropout) == (4, 1, 512, 0.1)
    assert (found.model.token_expansion, found.model.channel_expansion) == (4, 0.5)
    retraining, tuning, meta = found.retraining, found.fine_tuning, found.reptile
    assert (retraining.optimizer, retraining.learning_rate, retraining.weight_decay) == ("adam", 1e-4, 1e-5)
    assert (retraining.schedule, retraining.batch_size, retraining.epochs) == ("cosine", 256, 100)
    assert (tuning.optimizer, tuning.learning_rate, tuning.weight_decay) == ("adam", 5e-4, 1e-5)
    assert (tuning.schedule, tuning.epochs) == ("cosine", 100)
    assert (meta.outer_optimizer, meta.outer_learning_rate) == ("adam", 1e-5)
    assert (meta.inner_optimizer, meta.inner_learning_rate, meta.inner_steps) == ("sgd", 1e-2, 20)
    assert (found.grid.seeds, found.grid.rank) == ((1, 2, 3, 4, 5), (1,))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"modle": {}}, "modle: is not a key, expected one of retraining, reptile"),
        ({"model": {"width": 0}}, "model.width: got 0, expected a whole number in 1..65536"),
        ({"model": {"widht": 4}}, "model.widht: is not a key, expected one of patch, width"),
        ({"model": {"dropout": 1.0}}, "model.dropout: got 1.0, expected a number >= 0 and < 1"),
        ({"model": {"token_expansion": 0}}, "model.token_expansion: got 0.0, expected a number above 0"),
        ({"data": {"train_per_class": "some"}}, "data.train_per_class: got 'some', expected a whole number or \"all\""),
        ({"data": {"validation_per_class": 0}}, "data.validation_per_class: got 0, expected a whole number >= 1"),
        ({"data": {"image_size": 0}}, "data.image_size: got 0, expected a whole number in 1..4096"),
        ({"retraining": {"epochs": -1}}, "retraining.epochs"),
        (
            {"retraining": {"optimizer": "lion"}},
            'retraining.optimizer: got \'lion\', expected "adam", "adamw" or "sgd"',
        ),
        ({"retraining": {"rank": 2}}, "retraining.rank: is not a key, the rank is an axis, see grid.rank"),
        ({"fine_tuning": {"rank": 2}}, "fine_tuning.rank: is not a key"),
        ({"reptile": {"reptile_sign": -1}}, "reptile.reptile_sign: is not a key"),
        ({"retraining": {"meta": {}}}, "retraining.meta: is not a key, see the tables [reptile] and [fomaml]"),
        ({"fomaml": {"outer_optimizer": "interpolate"}}, "fomaml.outer_optimizer: got 'interpolate'"),
        ({"retraining": 3}, "retraining: got 3, expected a table"),
        ({"grid": {"methods": ["magic"]}}, "grid.methods: got 'magic', expected \"no-retraining\""),
        ({"grid": {"quirks": ["warm"]}}, "grid.quirks: got 'warm', expected some of augment-once"),
        ({"grid": {"seeds": []}}, "grid.seeds: got an empty list"),
    ],
)
def test_settings_that_make_no_sense_name_the_key(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings("cpu", changes)
    assert str(refused.value).startswith(text)
    assert "\n" not in str(refused.value)


def test_patches_must_tile_the_images() -> None:
    with pytest.raises(SettingsError, match=r"model\.patch: got 3, expected a divisor of the images' height"):
        spec(model={"patch": 3}).open()


def test_crops_have_something_of_the_image() -> None:
    with pytest.raises(SettingsError, match=r"data\.crop_padding: got 8, expected less than the images' height, .* 8$"):
        spec(data={"crop_padding": 8}).open()


def test_digits_are_not_resized() -> None:
    with pytest.raises(ImageDataError, match=r"^size \(data\.image_size in settings\): got 16, but the digits have"):
        spec(data={"image_size": 16}).open()


def test_the_grid_is_not_part_of_what_a_folder_is_begun_with() -> None:
    assert spec().document() == spec(grid={"seeds": [7]}, axes={"n": [1]}).document()
    assert spec().document() != spec(model={"depth": 2}).document()


def test_a_spec_goes_to_another_process() -> None:
    assert pickle.loads(pickle.dumps(spec())) == spec()


def test_data_are_told_apart() -> None:
    plain = spec().open().data()
    assert plain["source"] == "digits"
    assert list(plain["tasks"]) == ["0-1", "2-3", "4-5", "6-7", "8-9"]
    assert plain == spec().open().data()
    other = spec(data={"validation_per_class": 5}).open().data()
    for name, parts in plain["tasks"].items():
        assert parts["train"][0] == 12
        assert parts["test"] == other["tasks"][name]["test"]
        assert parts["validation"] != other["tasks"][name]["validation"]


def test_the_last_pair_is_adapted_to_and_never_retrained_on() -> None:
    experiment = spec().open()
    assert experiment.tests == ("8-9",)
    plan = experiment.retraining(RetrainingKey("standard", 0, (), 0))
    assert [task.name for task in plan.tasks] == ["0-1", "2-3", "4-5", "6-7"]


def test_fine_tuning_is_on_as_many_images_as_asked_for_and_the_fewer_are_among_the_more() -> None:
    experiment = spec().open()
    rows = {}
    for n in (2, 4, None):
        key = RunKey("standard", 3, (), "lora", 1, n, "8-9")
        work = work_of(key, spec().relevance)
        train = experiment.fine_tuning(work, experiment.retraining(work.retraining).model).task.train
        inputs, targets = train.batch(np.arange(len(train)))
        assert isinstance(inputs, torch.Tensor)
        assert targets.bincount().tolist() == [6 if n is None else n] * 2
        rows[n] = {tuple(image.ravel().tolist()) for image in inputs}
    assert rows[2] < rows[4] < rows[None]


def test_models_are_drawn_from_the_seed_alone() -> None:
    experiment = spec().open()

    def parameters(method: str, seed: int) -> list[float]:
        torch.manual_seed(torch.initial_seed() + 1)  # must not matter
        model = experiment.retraining(RetrainingKey(method, seed, (), 1)).model
        return [float(parameter.detach().sum()) for parameter in model.parameters()]

    assert parameters("standard", 0) == parameters("lora-ml", 0)
    assert parameters("standard", 0) != parameters("standard", 1)


def test_costs_grow_with_the_images() -> None:
    experiment = spec().open()
    works = [work_of(RunKey("standard", 0, (), "lora", 1, n, "8-9"), spec().relevance) for n in (2, 4, None)]
    # 3 for an image that is trained on; 8 to select on and 120 to test on
    assert [experiment.cost(work) for work in works] == [(3, 12 + 128), (3, 24 + 128), (3, 36 + 128)]
    assert experiment.cost(None) == (3, 4 * (36 + 8))


def test_settings_load_nothing_heavy() -> None:
    code = (
        "import sys; from realdata.vision import settings, experiment, models; settings.settings('cpu')\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'peft', 'transformers', 'PIL'}))"
    )
    root = Path(__file__).parents[3]
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert ended.stdout == "[]\n"
