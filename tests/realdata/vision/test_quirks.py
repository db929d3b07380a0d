"""Each switch does what it says where it has an effect, and nothing where it has none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from realdata.experiments.experiment import FineTuningPlan, RetrainingPlan
from realdata.experiments.grid import FINETUNES, WAYS, RetrainingKey, work_of
from realdata.experiments.records import RunKey
from realdata.vision.experiment import VisionExperiment
from realdata.vision.quirks import NAMES, QUIRKS, Relevance, checked
from tests.realdata.vision.tiny import spec


@pytest.fixture(scope="module")
def experiment() -> VisionExperiment:
    return spec().open()


def retraining(experiment: VisionExperiment, method: str, *quirks: str, rank: int = 2) -> RetrainingPlan:
    return experiment.retraining(RetrainingKey(method, 0, quirks, rank))


def fine_tuning(experiment: VisionExperiment, *quirks: str, method: str = "lora-ml", rank: int = 2) -> FineTuningPlan:
    key = RunKey(method, 0, quirks, "lora", rank, None, experiment.tests[0])
    work = work_of(key, spec().relevance)
    return experiment.fine_tuning(work, experiment.retraining(work.retraining).model)


def biases(model: nn.Module) -> int:
    return sum(module.bias is not None for module in model.modules() if isinstance(module, nn.Linear))


def test_every_switch_is_told_in_words() -> None:
    assert tuple(sorted(quirk.name for quirk in QUIRKS)) == NAMES
    assert len(NAMES) == 6
    assert all(len(quirk.what) > 20 and len(quirk.instead) > 20 for quirk in QUIRKS)


def test_without_switches_the_plan_is_sound(experiment: VisionExperiment) -> None:
    plan, tuning = retraining(experiment, "lora-ml"), fine_tuning(experiment)
    assert (plan.select_on, tuning.select_on, tuning.warm) == ("validation", "validation", False)
    assert (plan.settings.rank, tuning.settings.rank) == (2, 2)
    assert plan.settings.meta.reptile_sign == 1
    linears = sum(isinstance(module, nn.Linear) for module in plan.model.modules())
    assert biases(plan.model) == biases(tuning.base) == linears > 0


def test_augmentation_once_or_in_each_epoch(experiment: VisionExperiment) -> None:
    for quirks, same in (((), False), (("augment-once",), True)):
        for task in (retraining(experiment, "standard", *quirks).tasks[0], fine_tuning(experiment, *quirks).task):
            rows = np.arange(len(task.train))
            first, second = (task.train.batch(rows, np.random.default_rng(epoch)).inputs for epoch in (1, 2))
            assert isinstance(first, torch.Tensor)
            assert isinstance(second, torch.Tensor)
            assert torch.equal(first, second) == same


def test_images_held_out_and_for_testing_are_never_augmented(experiment: VisionExperiment) -> None:
    plain, once = (fine_tuning(experiment, *quirks).task for quirks in ((), ("augment-once",)))
    for part in ("validation", "test"):
        assert getattr(plain, part).fingerprint == getattr(once, part).fingerprint
    assert plain.train.fingerprint != once.train.fingerprint  # type: ignore[attr-defined]


def test_biases_are_dropped_where_adapters_are(experiment: VisionExperiment) -> None:
    assert biases(retraining(experiment, "lora-ml", "bias-dropped").model) == 0
    assert biases(fine_tuning(experiment, "bias-dropped", method="standard").base) == 0
    model = retraining(experiment, "lora-ml", "bias-dropped").model
    images = retraining(experiment, "lora-ml").tasks[0].train.batch(np.arange(3)).inputs
    assert model(images).shape == (3, 2)


def test_the_rank_is_ignored(experiment: VisionExperiment) -> None:
    assert retraining(experiment, "lora-ml", "rank-ignored", rank=8).settings.rank == 1
    assert fine_tuning(experiment, "rank-ignored", rank=8).settings.rank == 1


def test_reptile_goes_the_other_way(experiment: VisionExperiment) -> None:
    assert retraining(experiment, "reptile", "reptile-away").settings.meta.reptile_sign == -1


def test_epochs_are_selected_on_test_images(experiment: VisionExperiment) -> None:
    assert retraining(experiment, "standard", "select-on-test").select_on == "test"
    assert fine_tuning(experiment, "select-on-test").select_on == "test"


def test_adapters_start_warm(experiment: VisionExperiment) -> None:
    assert fine_tuning(experiment, "warm-start").warm
    assert not fine_tuning(experiment, "warm-start", method="standard").warm


def test_a_switch_is_on_where_it_has_an_effect() -> None:
    relevance = Relevance(augmented=True)
    found = {
        name: {
            *((method,) for method in WAYS if name in relevance.in_retraining(method, rank=2)),
            *(
                (method, finetune)
                for method in WAYS
                for finetune in FINETUNES
                if name in relevance.in_fine_tuning(method, finetune, rank=2)
            ),
        }
        for name in NAMES
    }
    everywhere = {*((method,) for method in WAYS), *((m, f) for m in WAYS for f in FINETUNES)}
    adapters = {("lora-ml",), ("grouped-lora",), *((method, "lora") for method in WAYS)}
    assert found == {
        "augment-once": everywhere,
        "bias-dropped": adapters,
        "rank-ignored": {("standard-longer",), *adapters},
        "reptile-away": {("reptile",)},
        "select-on-test": everywhere,
        "warm-start": {("lora-ml", "lora"), ("last-layer-ml", "last-layer")},
    }
    for method in WAYS:
        assert "rank-ignored" not in relevance.in_retraining(method, rank=1)
        assert "augment-once" not in Relevance(augmented=False).in_retraining(method, rank=1)


def test_names_are_checked() -> None:
    assert checked(["warm-start", "augment-once"]) == ("augment-once", "warm-start")
    with pytest.raises(ValueError, match="quirks: got 'warm', expected some of augment-once"):
        checked(["warm"])
