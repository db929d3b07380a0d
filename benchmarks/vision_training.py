"""Processor seconds of training in `loraml vision`, and the share that is not matrix products.

python benchmarks/vision_training.py [--data DIR] [--epochs 2] [--repeats 3]

Each is done in turn with and without what spares work around the products: adapters applied in the base's own product
or in place instead of in sums of their own, evaluation of as many images at once as caches hold, and a frozen body
computed once where only the last layer is trained. That the test answers are the same is checked. One thread, and the
profile `cpu`, of the digits without --data.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from time import process_time
from unittest.mock import patch

import numpy as np
import torch
from accelerate import Accelerator
from torch.profiler import ProfilerActivity, profile

from realdata.experiments.grid import RetrainingKey, Work
from realdata.peft_ml import evaluation
from realdata.peft_ml.fine_tuning import fine_tune
from realdata.peft_ml.head_inputs import FrozenBody
from realdata.peft_ml.mixed import MixedForward
from realdata.peft_ml.retraining import retrain
from realdata.vision.experiment import VisionExperiment, VisionSpec
from realdata.vision.settings import settings

PRODUCTS = ("aten::mm", "aten::addmm", "aten::addmm_", "aten::bmm", "aten::baddbmm")
Answers = Sequence[object]


@contextmanager
def plainly() -> Iterator[None]:
    """Leave adapters to peft, evaluate 256 images at once, and all of the model each time."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(MixedForward, "one", lambda *_: nullcontext()))
        stack.enter_context(patch.object(evaluation, "_AT_ONCE_ON_CPU", 256))
        stack.enter_context(patch.object(FrozenBody, "scores", lambda body, *given: body._evaluation.scores(*given)))
        yield


def main() -> None:
    """Print a line for every kind of job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    changes = {"retraining": {"epochs": asked.epochs}, "fine_tuning": {"epochs": asked.epochs}}
    experiment = VisionSpec(settings("cpu" if asked.data else "digits", changes), asked.data).open()
    few = 50 if asked.data else 10
    jobs = {
        "retraining by standard": lambda: retrained(experiment, "standard"),
        "retraining by lora-ml": lambda: retrained(experiment, "lora-ml"),
        f"fine-tuning by lora, n = {few}": lambda: fine_tuned(experiment, "lora", few),
        "fine-tuning by lora, n = all": lambda: fine_tuned(experiment, "lora", None),
        f"fine-tuning of the last layer, n = {few}": lambda: fine_tuned(experiment, "last-layer", few),
    }
    for name, job in jobs.items():
        report(name, job, repeats=asked.repeats)


def report(name: str, job: Callable[[], Answers], *, repeats: int) -> None:
    """Time a job both ways in turn and print seconds, shares and what is left of what is not products."""
    kinds = {"before": plainly, "now": nullcontext}
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    rest: dict[str, float] = {}
    answers = []
    for kind, around in kinds.items():  # also the first run of each, which is not timed
        with around(), profile(activities=[ProfilerActivity.CPU]) as profiled:
            answers.append(job())
        own = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
        rest[kind] = 1 - sum(own.get(product, 0.0) for product in PRODUCTS) / sum(own.values())
    agree = np.mean([one == other for one, other in zip(*answers, strict=True)])
    for _ in range(repeats):
        for kind, around in kinds.items():
            with around():
                began = process_time()
                job()
                times[kind].append(process_time() - began)
    before, now = (float(np.median(times[kind])) for kind in kinds)
    print(
        f"{name}: {before:.2f} s before, {now:.2f} s now, not products {rest['before']:.0%} and {rest['now']:.0%}, "
        f"{1 - now * rest['now'] / (before * rest['before']):.0%} of that removed; {agree:.1%} of the answers the same",
        flush=True,
    )


def retrained(experiment: VisionExperiment, method: str) -> Answers:
    """Retrain, and return the curve as it is shown."""
    plan = experiment.retraining(RetrainingKey(method, 0, (), 1))
    found = retrain(
        plan.model,
        plan.tasks,
        experiment.problem,
        method=method,
        settings=plan.settings,
        head=experiment.head,
        seed=0,
        accelerator=Accelerator(cpu=True),
        say=lambda _: None,
    )
    return [round(value, 3) for value in found.curve["validation_accuracy"]]


def fine_tuned(experiment: VisionExperiment, finetune: str, n: int | None) -> Answers:
    """Fine-tune the initial model, and return the answer to every test image."""
    key = RetrainingKey("standard", 0, (), 0)
    plan = experiment.fine_tuning(Work(key, finetune, (), 1, n, experiment.tests[0]), experiment.retraining(key).model)
    found = fine_tune(
        plan.base,
        plan.task,
        experiment.problem,
        finetune=finetune,  # type: ignore[arg-type]
        settings=plan.settings,
        head=experiment.head,
        seed=0,
        accelerator=Accelerator(cpu=True),
        say=lambda _: None,
    )
    return found.correct


if __name__ == "__main__":
    main()
