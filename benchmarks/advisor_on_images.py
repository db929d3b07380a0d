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
from collections.abc import Iterator, Mapping
from dataclasses import replace
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


def study(seed: int, *, data: Path | None, profile: str, folder: Path) -> dict[str, Any]:
    """Return the advice on one seed's checkpoints, and the errors by base and rank."""
    from realdata.experiments.grid import RetrainingKey
    from realdata.peft_ml.fine_tuning import fine_tune
    from realdata.peft_ml.retraining import retrain
    from realdata.vision.experiment import VisionExperiment
    from realdata.vision.settings import settings

    experiment = VisionExperiment(settings(profile), data)
    plan = experiment.retraining(RetrainingKey("standard", seed, (), 1))
    made: dict[str, Any] = {"head": experiment.head, "seed": seed, "say": lambda _: None}
    start = retrain(
        plan.model, plan.tasks, experiment.problem, method="standard", settings=plan.settings, **made
    ).last_base
    tuning = experiment.settings.fine_tuning
    full = replace(tuning, learning_rate=FULL_LEARNING_RATE)
    states, merged = {}, {}
    for task in plan.tasks:
        states[task.name] = fine_tune(
            start, task, experiment.problem, finetune="full", settings=full, **made
        ).model.state_dict()
        adapted = fine_tune(
            start, task, experiment.problem, finetune="lora", settings=replace(tuning, rank=CONTROL), **made
        ).model.peft
        merged[task.name] = adapted.merge_and_unload(adapter_names=list(adapted.peft_config)).state_dict()
    bases: dict[str, Mapping[str, Tensor]] = {"start": start.state_dict(), "average": _average(list(states.values()))}
    found: dict[str, Any] = {}
    for rank in (None, *ASKED):
        name = "LoRA-ML by weights" + ("" if rank is None else f", {rank}")
        found[name], bases[name] = _advised(states, rank, folder)
    control, base = _advised(merged, None, folder)
    away = {name: float((base[name] - W).norm() / W.norm()) for name, W in start.state_dict().items() if W.ndim > 1}
    for rank in ASKED:
        plan = experiment.retraining(RetrainingKey("lora-ml", seed, (), rank))
        bases[f"LoRA-ML by data, {rank}"] = retrain(
            plan.model, plan.tasks, experiment.problem, method="lora-ml", settings=plan.settings, **made
        ).last_base.state_dict()
    task = experiment._tasks(seed, once=False)[-1]
    errors: dict[str, dict[int, float]] = {}
    for name, state in bases.items():
        model = _model(start, state)
        for rank in RANKS:
            lora = replace(tuning, rank=rank)
            tuned = fine_tune(model, task, experiment.problem, finetune="lora", settings=lora, **made)
            errors.setdefault(name, {})[rank] = 100 * (1 - float(tuned.last["accuracy"]))
    return {"advice": found, "errors": errors, "control": control, "away": away}


def _average(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([state[name].double() for state in states]).mean(0).float() for name in states[0]}


def _advised(
    states: Mapping[str, dict[str, Tensor]], rank: int | None, folder: Path
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the advice on checkpoints, and the base that it wrote."""
    from safetensors.torch import load_file, save_file

    from realdata.advisor.advising import advise
    from realdata.advisor.document import document
    from realdata.advisor.layer import Settings
    from realdata.advisor.tasks import open_tasks

    for name, state in states.items():
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, str(folder / f"{name}.safetensors"))
    path = folder / "base.safetensors"
    tasks = open_tasks([f"{name}={folder / name}.safetensors" for name in states])
    found = document(advise(tasks, Settings(rank=rank), write_base=path))
    return found, {name: tensor.clone() for name, tensor in load_file(path).items()}


def _model(start: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    model = copy.deepcopy(start)
    model.load_state_dict(dict(state))
    return model


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
                "rank_sr",
                "rank_ml",
                "rank_sr_share",
                "rank_ml_share",
                "share_left",
                "base",
            )
            yield "  " + json.dumps({key: layer[key] for key in keys})
    for result in results:
        yield f"control, distance of the base that was found to the start: {result['away']}"
    yield f"{'test error in %':24}" + "".join(f"{f'rank {rank}':>14}" for rank in RANKS)
    for name in results[0]["errors"]:
        cells = []
        for rank in RANKS:
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
    chosen = options.parse_args()
    results = []
    for seed in range(chosen.seeds):
        with TemporaryDirectory() as folder:
            results.append(study(seed, data=chosen.data, profile=chosen.profile, folder=Path(folder)))
    for line in lines(results):
        print(line, flush=True)


if __name__ == "__main__":
    main()
