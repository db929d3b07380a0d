"""What an experiment has to offer, so that everything else here can run it: vision and language are two."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from realdata.experiments.grid import NoSwitches, Relevance, RetrainingKey, Work

if TYPE_CHECKING:
    from torch import nn

    from realdata.experiments.profiles import ExperimentSettings
    from realdata.peft_ml.data import Problem, Task
    from realdata.peft_ml.settings import FineTuningSettings, RetrainingSettings, SelectOn


FORWARD_AND_BACKWARD = 3
"""Cost of an example in training relative to one that is evaluated."""


class Score(NamedTuple):
    """What a score is called in tables, its value for guessing, and its unit: a share in percent without one."""

    title: str
    chance: float
    unit: str = ""

    def document(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {name: value for name, value in self._asdict().items() if value != ""}


class RetrainingPlan(NamedTuple):
    """What to retrain, on what, how, and on which part to select the epoch.

    `head_per_task` is whether lora-ml gives each task a head of its own, instead of an adapter on a shared one;
    `rows_at_once` as in `realdata.peft_ml.by_length`.
    """

    model: nn.Module
    tasks: Sequence[Task]
    settings: RetrainingSettings
    select_on: SelectOn
    head_per_task: bool = False
    rows_at_once: int | None = None


class FineTuningPlan(NamedTuple):
    """What to fine-tune, on what, how, and on which part to select the epoch.

    `warm` is whether the adapter starts from that of the first retraining task, `fresh_head` whether ``lora`` draws the
    head anew and trains it, instead of an adapter on it; `rows_at_once` as in `realdata.peft_ml.by_length`. `note`
    goes into the record. `keep` is given what was fine-tuned, at its last epoch, and the experiment's folder, before
    the record is written.
    """

    base: nn.Module
    task: Task
    settings: FineTuningSettings
    select_on: SelectOn
    warm: bool
    fresh_head: bool = False
    rows_at_once: int | None = None
    note: str = ""
    keep: Callable[[nn.Module, Path], None] = lambda _model, _folder: None


class Cost(NamedTuple):
    """Epochs of a job, and roughly what one costs, in a unit that jobs share."""

    epochs: int
    each: float


class Experiment(Protocol):
    """An experiment whose data are open in this process.

    Parameters
    ----------
    problem
        Losses and scores.
    head
        Name of the model's last layer.
    tests
        Names of the tasks to adapt to.
    unit
        What a task is of, in the singular, such as ``persona``.
    scores
        The scores in tables, by name; the first is the main one.
    """

    problem: Problem
    head: str
    tests: tuple[str, ...]
    unit: str
    scores: Mapping[str, Score]

    def data(self) -> dict[str, Any]:
        """Return what tells the data from others, as JSON holds it: a name, sizes, hashes.

        ``source`` is the name; ``notes``, if there, has sentences that no table must be without.
        """
        ...

    def retraining(self, key: RetrainingKey) -> RetrainingPlan:
        """Return the plan of a retraining."""
        ...

    def fine_tuning(self, work: Work, base: nn.Module) -> FineTuningPlan:
        """Return the plan of a fine-tuning from a retrained base, which it may change."""
        ...

    def cost(self, work: Work | None) -> Cost:
        """Return what a fine-tuning costs, or for None a retraining, to tell how far everything is."""
        ...


class Spec(ABC):
    """What a process needs to open an experiment; it can be pickled, and imports nothing heavy by itself.

    Parameters
    ----------
    settings
        All tables of the settings file.
    name
        ``vision``, ``language`` or ``retraining``.
    reference
        The method that the others are compared with, where it is run; `tables.REFERENCE` is not written down.
    """

    settings: ExperimentSettings
    name: ClassVar[str]
    reference: ClassVar[str]

    @property
    def relevance(self) -> Relevance:
        """Which switches of the reference code have an effect where: none if there are none."""
        return NoSwitches()

    @property
    def switches(self) -> Mapping[str, tuple[str, str]]:
        """What every switch of the reference code does, and what is done without it."""
        return {}

    @property
    def inputs(self) -> Sequence[Path]:
        """Files and folders that are read, in whose place nothing may be written."""
        return ()

    def document(self) -> dict[str, Any]:
        """Return the settings as JSON holds them, without the grid."""
        return self.settings.document()

    @abstractmethod
    def open(self) -> Experiment:
        """Open the data.

        Raises
        ------
        ValueError, OSError
            If they cannot be used; the text is one line.
        """
