"""The advice on real tasks against what fine-tuning then gives: `python benchmarks/advisor_on_images.py [--seeds 3]`.

For each seed: a Mixer is retrained on the first tasks of the images (scikit-learn's digits, or CIFAR-10 by --data),
then fine-tuned in full on each of them; these checkpoints are what the advisor is asked about. The last task, which it
has not seen, is then fine-tuned by LoRA of several ranks from: the common start, the average of the checkpoints, and
the LoRA-ML base that the advisor wrote, at the rank it estimated and at ranks it was asked for. Errors are in per cent.
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
FULL_LEARNING_RATE = 1e-3


def study(seed: int, *, data: Path | None, profile: str, folder: Path) -> dict[str, Any]:
    """Return the advice on one seed's checkpoints, and the errors by base and rank."""
    from safetensors.torch import load_file, save_file

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
    words = []
    for task in plan.tasks:
        full = replace(tuning, learning_rate=FULL_LEARNING_RATE)
        tuned = fine_tune(start, task, experiment.problem, finetune="full", settings=full, **made).model
        save_file({n: t.contiguous() for n, t in tuned.state_dict().items()}, str(folder / f"{task.name}.safetensors"))
        words.append(f"{task.name}={folder / task.name}.safetensors")
    states = {word.split("=")[0]: load_file(word.split("=", 1)[1]) for word in words}
    bases: dict[str, Mapping[str, Tensor]] = {"start": start.state_dict(), "average": _average(list(states.values()))}
    found: dict[str, Any] = {}
    for rank in (None, *ASKED):
        name = "LoRA-ML" if rank is None else f"LoRA-ML, rank {rank}"
        found[name], bases[name] = _advised(words, rank, folder)
    task = experiment._tasks(seed, once=False)[-1]
    errors = {
        name: {
            rank: _error(
                fine_tune(
                    _model(start, state),
                    task,
                    experiment.problem,
                    finetune="lora",
                    settings=replace(tuning, rank=rank),
                    **made,
                )
            )
            for rank in RANKS
        }
        for name, state in bases.items()
    }
    return {"advice": found, "errors": errors}


def _average(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([state[name].double() for state in states]).mean(0).float() for name in states[0]}


def _advised(words: list[str], rank: int | None, folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors.torch import load_file

    from realdata.advisor.advising import advise
    from realdata.advisor.document import document
    from realdata.advisor.layer import Settings
    from realdata.advisor.tasks import open_tasks

    path = folder / "base.safetensors"
    found = document(advise(open_tasks(words), Settings(rank=rank), write_base=path))
    return found, {name: tensor.clone() for name, tensor in load_file(path).items()}


def _model(start: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    model = copy.deepcopy(start)
    model.load_state_dict(dict(state))
    return model


def _error(tuned: Any) -> float:
    return 100 * (1 - float(tuned.last["accuracy"]))


def lines(results: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the advice by layer, for the first seed, and the errors over seeds."""
    for name, found in results[0]["advice"].items():
        yield f"advice, {name}: {json.dumps({k: v for k, v in found['overall'].items() if k != 'cannot_tell'})}"
        for layer in found["layers"]:
            keys = ("name", "shape", "k", "k_ci", "gap", "null_p", "independent", "fit_status", "rank_sr", "rank_ml",
                    "rank_sr_share", "rank_ml_share", "share_left", "base")  # fmt: skip
            yield "  " + json.dumps({key: layer[key] for key in keys})
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
