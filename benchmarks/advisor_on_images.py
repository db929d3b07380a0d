"""The advice on real tasks against what fine-tuning then gives: `python benchmarks/advisor_on_images.py [--seeds 3]`.

For each seed: a Mixer is retrained on the first tasks of the images (scikit-learn's digits, or CIFAR-10 by --data),
then fine-tuned in full on each of them; these checkpoints are what the advisor is asked about. The last task, which it
has not seen, is then fine-tuned by LoRA of several ranks from: the common start, the average of the checkpoints, the
LoRA-ML base that the advisor wrote, at the rank it estimated and at ranks it was asked for, and bases that LoRA-ML was
retrained to on the data. Errors are in per cent.

As a control the advisor is also asked about checkpoints fine-tuned by LoRA of rank 2 and merged: there k is 2 and the
start the only base, which it should find.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

RANKS = (1, 2, 4, 8, 16)
ASKED = (1, 4)
CONTROL = 2
FULL_LEARNING_RATE = 1e-3


class Study:
    """One seed's models, all fine-tuned by the settings of the vision experiment."""

    def __init__(self, seed: int, *, data: Path | None, profile: str) -> None:
        """Retrain the start."""
        from realdata.vision.experiment import VisionExperiment
        from realdata.vision.settings import settings

        self._experiment, self._seed = VisionExperiment(settings(profile), data), seed
        self._tuning = self._experiment.settings.fine_tuning
        self.test = self._experiment._tasks(seed, once=False)[-1]
        self.start = self.retrained("standard", 1)
        self.tasks = self._experiment._tasks(seed, once=False)[:-1]

    def retrained(self, method: Any, rank: int) -> nn.Module:
        """Retrain by a method on the data."""
        from realdata.experiments.grid import RetrainingKey
        from realdata.peft_ml.retraining import retrain

        plan = self._experiment.retraining(RetrainingKey(method, self._seed, (), rank))
        return retrain(
            plan.model,
            plan.tasks,
            self._experiment.problem,
            method=method,
            settings=plan.settings,
            head=self._experiment.head,
            seed=self._seed,
            say=lambda _: None,
        ).last_base

    def fine_tuned(self, model: nn.Module, task: Any, *, rank: int | None) -> Any:
        """Fine-tune by LoRA of a rank, or in full; nothing is selected, so nothing is measured along the way."""
        from realdata.peft_ml.fine_tuning import fine_tune

        full = replace(self._tuning, learning_rate=FULL_LEARNING_RATE)
        return fine_tune(
            model,
            replace(task, validation=task.validation.subset(1), test=task.test.subset(1)),
            self._experiment.problem,
            finetune="full" if rank is None else "lora",
            settings=full if rank is None else replace(self._tuning, rank=rank),
            head=self._experiment.head,
            seed=self._seed,
            say=lambda _: None,
        ).model

    def checkpoint(self, task: Any, *, rank: int | None) -> dict[str, Tensor]:
        """Fine-tune the start on a task and return its weights, adapters merged."""
        model = self.fine_tuned(self.start, task, rank=rank)
        if rank is None:
            return dict(model.state_dict())
        return dict(model.peft.merge_and_unload(adapter_names=list(model.peft.peft_config)).state_dict())

    def error(self, state: Mapping[str, Tensor], rank: int) -> float:
        """Return the test error in per cent of the last task, fine-tuned from a base by LoRA of a rank."""
        from realdata.peft_ml.by_length import adapted_outputs
        from realdata.peft_ml.evaluation import Evaluation, evaluating
        from realdata.peft_ml.optimisation import usable_accelerator

        base = copy.deepcopy(self.start)
        base.load_state_dict(dict(state))
        model = self.fine_tuned(base, self.test, rank=rank)
        evaluation = Evaluation(self._experiment.problem, usable_accelerator(None), self._tuning.evaluation_batch_size)
        with evaluating(model):
            means = evaluation.means(partial(adapted_outputs, model, task=self.test.name), self.test.test)
        return 100 * (1 - means["accuracy"])


def study(seed: int, *, data: Path | None, profile: str, ranks: tuple[int, ...], folder: Path) -> dict[str, Any]:
    """Return the advice on one seed's checkpoints, and the errors by base and rank."""
    made = Study(seed, data=data, profile=profile)
    states = {task.name: made.checkpoint(task, rank=None) for task in made.tasks}
    merged = {task.name: made.checkpoint(task, rank=CONTROL) for task in made.tasks}
    start = made.start.state_dict()
    bases: dict[str, Mapping[str, Tensor]] = {"start": start, "average": _average(list(states.values()))}
    found: dict[str, Any] = {}
    for rank in (None, *ASKED):
        name = "LoRA-ML by weights" + ("" if rank is None else f", {rank}")
        found[name], bases[name] = advised(states, start, rank, folder)
    control, base = advised(merged, start, None, folder)
    away = {name: float((base[name] - W).norm() / W.norm()) for name, W in start.items() if W.ndim > 1}
    for rank in ASKED:
        bases[f"LoRA-ML by data, {rank}"] = made.retrained("lora-ml", rank).state_dict()
    errors: dict[str, dict[int, float]] = {}
    for name, state in bases.items():
        for rank in ranks:
            errors.setdefault(name, {})[rank] = made.error(state, rank)
            print(f"seed {seed}: {name}, rank {rank}: {errors[name][rank]:.1f} %", file=sys.stderr, flush=True)
    return {"advice": found, "errors": errors, "control": control, "away": away}


def _average(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([state[name].double() for state in states]).mean(0).float() for name in states[0]}


def advised(
    states: Mapping[str, dict[str, Tensor]], start: Mapping[str, Tensor], rank: int | None, folder: Path
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the advice on checkpoints that were fine-tuned from the start, and the base that it wrote."""
    from safetensors.torch import load_file, save_file

    from realdata.advisor.advising import advise
    from realdata.advisor.document import document
    from realdata.advisor.layer import AdviceSettings
    from realdata.advisor.tasks import open_tasks

    for name, state in {**states, "start": start}.items():
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, str(folder / f"{name}.safetensors"))
    path = folder / "base.safetensors"
    words = [f"{name}={folder / name}.safetensors" for name in states]
    tasks = open_tasks(words, base=folder / "start.safetensors")
    found = document(advise(tasks, AdviceSettings(rank=rank), write_base=path))
    return found, {name: tensor.clone() for name, tensor in load_file(path).items()}


def lines(results: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the advice by layer, for the first seed, and the errors over seeds."""
    for name, found in {**results[0]["advice"], "control": results[0]["control"]}.items():
        yield f"advice, {name}: {found['overall']['findings']}"
        for layer in found["layers"]:
            keys = (
                "name",
                "shape",
                "k",
                "k_ci",
                "gap",
                "null_p",
                "independent",
                "fit_status",
                "rank_base",
                "rank_sr",
                "rank_ml",
                "rank_base_share",
                "rank_sr_share",
                "rank_ml_share",
                "share_left",
                "base",
            )
            yield "  " + json.dumps({key: layer[key] for key in keys})
    for result in results:
        yield f"control, distance of the base that was found to the start: {result['away']}"
    ranks = list(results[0]["errors"]["start"])
    yield f"{'test error in %':24}" + "".join(f"{f'rank {rank}':>14}" for rank in ranks)
    for name in results[0]["errors"]:
        cells = []
        for rank in ranks:
            values = np.array([result["errors"][name][rank] for result in results])
            error = f" ± {values.std(ddof=1) / len(values) ** 0.5:.1f}" if len(values) > 1 else ""
            cells.append(f"{f'{values.mean():.1f}{error}':>14}")
        yield f"{name:24}" + "".join(cells)


def main() -> None:
    """Run the study and print it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path)
    options.add_argument("--profile", default="digits")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--ranks", default=",".join(map(str, RANKS)))
    chosen = options.parse_args()
    ranks = tuple(int(rank) for rank in chosen.ranks.split(","))
    results = []
    for seed in range(chosen.seeds):
        with TemporaryDirectory() as folder:
            results.append(study(seed, data=chosen.data, profile=chosen.profile, ranks=ranks, folder=Path(folder)))
    for line in lines(results):
        print(line, flush=True)


if __name__ == "__main__":
    main()
