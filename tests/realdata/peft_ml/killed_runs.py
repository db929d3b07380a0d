"""Runs that end by SIGKILL in their second epoch, each in a process of its own; their checkpoints stay.

Called as a program with the folder for the checkpoints.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from realdata.peft_ml.data import Task
from realdata.peft_ml.methods import METHODS
from realdata.peft_ml.training_setup import EpochProgress
from tests.realdata.peft_ml import toy
from tests.realdata.peft_ml.runs import FINETUNES, fine_tuned, retrained

# The alternating scheme's rounds of 4 steps do not end with the epochs of 12.
VARIANTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    **{name: (name, {}) for name in METHODS},
    "lora-ml alternating": ("lora-ml", {"scheme": "alternating", "inner_steps": 3, "steps_per_epoch": 11}),
    # The adapters move in the first epoch, before the kill, and the base in the second, where both are checked.
    "lora-ml one step": ("lora-ml", {"scheme": "alternating", "inner_steps": 1, "steps_per_epoch": 1}),
}


class Bomb:
    """Kills the process at the second training batch after the first epoch has ended."""

    def __init__(self) -> None:
        self._batches: int | None = None

    def progress(self, now: EpochProgress) -> None:
        if now.epoch == 1:
            self._batches = 0

    def seen(self, _: object) -> None:
        if self._batches is not None:
            self._batches += 1
            if self._batches == 2:
                os.kill(os.getpid(), signal.SIGKILL)

    def watched(self, task: Task) -> Task:
        assert isinstance(task.train, toy.Points)
        return replace(task, train=replace(task.train, seen=self.seen))


def killed_retraining(name: str, checkpoint: Path) -> None:
    """Retrain until killed."""
    bomb, (method, changes) = Bomb(), VARIANTS[name]
    tasks = [bomb.watched(task) for task in toy.tasks()]
    retrained(method, tasks, changes=changes, checkpoint=checkpoint, progress=bomb.progress)


def killed_fine_tuning(finetune: str, checkpoint: Path) -> None:
    """Fine-tune until killed."""
    bomb = Bomb()
    fine_tuned(finetune, bomb.watched(toy.task("z")), checkpoint=checkpoint, progress=bomb.progress)


def in_a_process_that_is_killed(run: Callable[[str, Path], None], name: str, checkpoint: Path) -> None:
    """Raise unless the run's process is killed."""
    child = os.fork()
    if child == 0:
        try:
            run(name, checkpoint)
        finally:
            os._exit(0)  # it should not have come here
    _, status = os.waitpid(child, 0)
    if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
        raise RuntimeError(f"{name} ended with status {status}, expected a kill")


def main(folder: Path) -> None:
    """Leave a checkpoint of one epoch of every run."""
    torch.set_num_threads(1)  # nothing runs beside the thread that forks
    fine_tuned("lora", changes={"epochs": 1})  # imports what the processes would import one after another
    for name in VARIANTS:
        in_a_process_that_is_killed(killed_retraining, name, folder / f"retraining {name}")
    for finetune in FINETUNES:
        in_a_process_that_is_killed(killed_fine_tuning, finetune, folder / f"fine-tuning {finetune}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
