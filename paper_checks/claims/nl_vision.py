"""NL-vision: the order of the methods in the paper's experiment on images."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from loraml_theory.structure_file import one_line
from paper_checks.claim import Control, Evidence, Note, Profile
from paper_checks.empirical import (
    PAPER_MODE,
    EmpiricalClaim,
    Order,
    Setting,
    drawn_experiment,
    order_evidence,
    uncounted,
    untrained_evidence,
)
from paper_checks.experiment import Experiment, ExperimentError
from realdata.experiments.toml_settings import differences
from realdata.vision.settings import PROFILES, settings

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_10 = (CLASSES, (32, 32, 3), {2000})  # and the shape of an image, and test images of a task

CLAIMED = (
    Order("lora-ml", "standard", "lora"),
    Order("lora-ml", "reptile", "lora"),
    Order("last-layer-ml", "standard", "last-layer"),
)
PAPER = Setting(n=None, rank=1)
MARGIN = 30.0  # percentage points, no method is so far ahead: the retrained ones differ by a few


def check(
    experiment: Experiment,
    _profile: Profile,
    *,
    orders: Iterable[Order] = CLAIMED,
    states: Callable[..., Iterable[Evidence | Note]] = order_evidence,
) -> Iterator[Evidence | Note]:
    """Compare the methods pairwise in the paper's setting, which decides, and show them in all others."""
    for order in orders:
        yield from states(experiment, order, claimed=PAPER)
    yield from uncounted(experiment)


def described(experiment: Experiment) -> str:
    """Name the images, which are CIFAR-10 by their classes and sizes, and what of the settings is not the paper's.

    Raises
    ------
    ExperimentError
        If ``experiment.json`` does not say.
    """
    try:
        data, held = experiment.begun["data"], dict(experiment.begun["settings"])
        tested = {parts["test"][0] for parts in data["tasks"].values()}
        found = (tuple(data["classes"]), tuple(data["shape"]), tested)
        source = str(data["source"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise ExperimentError(f"{experiment.name}: experiment.json does not say what the images are") from None
    return f"CIFAR-10 {_settings(held)}" if found == CIFAR_10 else f"{one_line(source)}, not CIFAR-10"


def _settings(held: dict[str, Any]) -> str:
    profiles = {name: json.loads(json.dumps(settings(name).document())) for name in PROFILES}
    own = next((name for name in PROFILES if held == profiles[name]), None)
    if own == "paper":
        return "with the paper's settings"
    if own:
        return f"with the settings of the profile {own}, not the paper's"
    changed = [line.partition(":")[0] for line in differences(profiles["paper"], held)]
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return one_line(f"with settings that are not the paper's ({', '.join(changed[:3])}{more})")


def ordered(seed: int) -> Experiment:
    """Draw records of methods that are ahead as claimed, by ten points."""
    accuracies = {("lora-ml", "lora"): 0.8, ("standard", "lora"): 0.7, ("reptile", "lora"): 0.7}
    accuracies |= {("last-layer-ml", "last-layer"): 0.8, ("standard", "last-layer"): 0.7}
    return drawn_experiment(seed, kind="vision", accuracies=accuracies)


CLAIM = EmpiricalClaim(
    id="NL-vision",
    title="Images: meta-learning with adapters is ahead",
    statement=(
        "In the paper's experiment on CIFAR-10 (an MLP-Mixer retrained on four pairs of classes, then fine-tuned on "
        "all images of the fifth, adapters of rank 1) the test accuracies are in this order: after LoRA fine-tuning, "
        "lora-ml is above standard and above reptile; after last-layer fine-tuning, last-layer-ml is above standard."
    ),
    source="arXiv 2410.22264, the vision experiment",
    experiment="vision",
    command="loraml vision --out DIR",
    described=described,
    assumptions=(PAPER_MODE,),
    check=check,
    controls=(
        Control(
            f"mutated: ahead by more than {MARGIN:g} percentage points",
            partial(check, states=partial(order_evidence, margin=MARGIN)),
            ordered,
        ),
        Control(
            "mutated: the opposite order",
            partial(check, orders=[order.opposite for order in CLAIMED]),
            ordered,
        ),
        Control(
            "mutated: more accurate before fine-tuning than after",
            partial(check, states=untrained_evidence),
            ordered,
        ),
    ),
)
