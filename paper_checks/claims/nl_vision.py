"""NL-vision: the order of the methods in the paper's experiment on images."""

from __future__ import annotations

from functools import partial

from loraml_theory.harness.errors import InputError, one_line
from paper_checks.evidence.empirical import PAPER_MODE, EmpiricalClaim, Setting, drawn_experiment
from paper_checks.evidence.experiment import RecordedExperiment
from paper_checks.evidence.orders import PAPERS_ORDERS, check_orders, mutations, settings_said
from realdata.vision.settings import PROFILES, settings

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_10 = (CLASSES, (32, 32, 3), {2000})  # and the shape of an image, and test images of a task

PAPER = Setting(n=None, rank=1)

check = partial(check_orders, orders=PAPERS_ORDERS, claimed=PAPER)


def described(experiment: RecordedExperiment) -> str:
    """Name the images, CIFAR-10 by their classes and sizes, and the settings' differences from the paper's.

    Raises
    ------
    InputError
        If ``experiment.json`` does not name the data.
    """
    try:
        data, held = experiment.begun["data"], dict(experiment.begun["settings"])
        tested = {parts["test"][0] for parts in data["tasks"].values()}
        found = (tuple(data["classes"]), tuple(data["shape"]), tested)
        source = str(data["source"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise InputError(f"{experiment.name}: experiment.json does not name the images") from None
    profiles = {name: settings(name).document() for name in PROFILES}
    return f"CIFAR-10 {settings_said(held, profiles)}" if found == CIFAR_10 else f"{one_line(source)}, not CIFAR-10"


def ordered(seed: int) -> RecordedExperiment:
    """Draw records in which methods are ahead as claimed, by ten points."""
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
    controls=mutations(check, PAPERS_ORDERS, drawn=ordered),
)
