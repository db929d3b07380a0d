"""The vision experiment for `realdata.experiments`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraml_theory.harness.settings import SettingsError
from realdata.experiments.experiment import FORWARD_AND_BACKWARD, Cost, FineTuningPlan, RetrainingPlan, Score, Spec
from realdata.experiments.grid import RetrainingKey, Work
from realdata.vision.models import HEAD, check_fits, drawn_model, drop_biases
from realdata.vision.quirks import QUIRKS, Relevance
from realdata.vision.settings import VisionSettings

if TYPE_CHECKING:
    from torch import nn

    from realdata.peft_ml.data import Problem
    from realdata.peft_ml.settings import SelectOn
    from realdata.vision.tasks import ImageTask


DIGITS = Path("digits")


@dataclass(frozen=True)
class VisionSpec(Spec):
    """A vision experiment on the images at a path; None for scikit-learn's digits.

    Parameters
    ----------
    adapt_to
        Images of which the last two classes are adapted to, after retraining on all classes of `images`; `DIGITS` for
        scikit-learn's digits, None for the last two classes of `images`.
    """

    name = "vision"
    reference = "standard"

    settings: VisionSettings
    images: Path | None
    adapt_to: Path | None = None

    @property
    def inputs(self) -> Sequence[Path]:
        """The folders of images."""
        return [path for path in (self.images, self.adapt_to) if path is not None]

    @property
    def switches(self) -> Mapping[str, tuple[str, str]]:
        """The effect of every switch of the reference code, and the behaviour without it."""
        return {quirk.name: (quirk.what, quirk.instead) for quirk in QUIRKS}

    @property
    def relevance(self) -> Relevance:
        """The switches that have an effect, by method and fine-tuning."""
        return Relevance(augmented=self.settings.data.crop_padding > 0 or self.settings.data.mirror)

    def open(self) -> VisionExperiment:
        """Open the images.

        Raises
        ------
        ImageDataError
            If they cannot be used.
        """
        return VisionExperiment(self.settings, self.images, self.adapt_to)


class VisionExperiment:
    """The tasks of a source of images: binary, of consecutive classes, the last one to adapt to.

    Parameters
    ----------
    settings
        Settings of the experiment.
    images, adapt_to
        As in `VisionSpec`.

    Raises
    ------
    ImageDataError
        If they cannot be used.
    ValueError
        If the model does not fit them.
    """

    head = HEAD
    unit = "task"
    scores: Mapping[str, Score] = {"accuracy": Score("accuracy", 0.5)}  # a guess among two labels

    def __init__(self, settings: VisionSettings, images: Path | None, adapt_to: Path | None = None) -> None:
        from realdata.vision.joined import joined
        from realdata.vision.problem import Classification
        from realdata.vision.sources import open_images

        self.settings = settings
        self.problem: Problem = Classification()
        self._source = open_images(images, size=settings.data.image_size)
        if adapt_to is not None:
            self._source = joined(self._source, open_images(None if adapt_to == DIGITS else adapt_to))
        check_fits(settings, self._source.shape)
        self.tests: tuple[str, ...] = ("-".join(self._source.class_names[-2:]),)
        there = len(self._source.class_names) // 2 - 1
        if (settings.data.retraining_tasks or 1) > there:
            raise SettingsError(
                f"data.retraining_tasks: got {settings.data.retraining_tasks}, expected at most {there}, one for each "
                "two classes but the last two"
            )

    def data(self) -> dict[str, Any]:
        """Return the name of the source, its classes, and hashes of the tasks as seed 0 draws them."""
        tasks = self._tasks(0, once=False)
        parts = ("train", "validation", "test")
        return {
            "source": self._source.name,
            "classes": list(self._source.class_names),
            "shape": list(self._source.shape),
            "tasks": {
                task.name: {part: [len(getattr(task, part)), getattr(task, part).fingerprint[:16]] for part in parts}
                for task in tasks
            },
        }

    def retraining(self, key: RetrainingKey) -> RetrainingPlan:
        """Return the plan of a retraining, with the switches of the reference code that are on."""
        sign = -1 if "reptile-away" in key.quirks else 1
        meta = self.settings.fomaml if key.method == "fomaml" else replace(self.settings.reptile, reptile_sign=sign)
        settings = replace(self.settings.retraining, rank=self._rank(key.rank, key.quirks), meta=meta)
        model = drawn_model(self.settings.model, self._source.shape, seed=key.seed)
        if "bias-dropped" in key.quirks:
            drop_biases(model)
        tasks = self._retrained_on(self._tasks(key.seed, once="augment-once" in key.quirks))
        return RetrainingPlan(model, tasks, settings, _selected_on(key.quirks))

    def fine_tuning(self, work: Work, base: nn.Module) -> FineTuningPlan:
        """Return the plan of a fine-tuning, with the switches of the reference code that are on."""
        settings = replace(self.settings.fine_tuning, rank=self._rank(work.rank, work.quirks))
        if "bias-dropped" in work.quirks:
            drop_biases(base)
        task = self._tasks(work.retraining.seed, once="augment-once" in work.quirks)[-1]
        chosen = replace(task, train=task.train.subset(work.n))
        return FineTuningPlan(base, chosen, settings, _selected_on(work.quirks), "warm-start" in work.quirks)

    def cost(self, work: Work | None) -> Cost:
        """Return the epochs of a job, and the images of each, a training image counted three times."""
        tasks = self._tasks(0, once=False)
        if work is None:
            retraining = self._retrained_on(tasks)
            sizes = [FORWARD_AND_BACKWARD * len(task.train) + len(task.validation) for task in retraining]
            return Cost(self.settings.retraining.epochs, sum(sizes))
        try:
            test = tasks[-1]
            trained = FORWARD_AND_BACKWARD * len(test.train.subset(work.n))
        except ValueError as problem:
            raise SettingsError(f"n: {problem}") from None
        return Cost(self.settings.fine_tuning.epochs, trained + len(test.validation) + len(test.test))

    def _retrained_on(self, tasks: Sequence[ImageTask]) -> Sequence[ImageTask]:
        """Return the tasks to retrain on: all but the last, or the first few of them."""
        return tasks[:-1][: self.settings.data.retraining_tasks]

    @staticmethod
    def _rank(rank: int, quirks: Sequence[str]) -> int:
        return 1 if "rank-ignored" in quirks else max(1, rank)

    @lru_cache(maxsize=2)  # noqa: B019  (an experiment lives as long as its process)
    def _tasks(self, seed: int, *, once: bool) -> list[ImageTask]:
        from realdata.vision.augmentation import Augmentation
        from realdata.vision.tasks import binary_tasks

        data = self.settings.data
        return binary_tasks(
            self._source,
            train_per_class=None if data.train_per_class == "all" else data.train_per_class,
            validation_per_class=data.validation_per_class,
            seed=seed,
            augmentation=Augmentation(data.crop_padding, data.mirror),
            augment_once=once,
        )


def _selected_on(quirks: Sequence[str]) -> SelectOn:
    return "test" if "select-on-test" in quirks else "validation"
