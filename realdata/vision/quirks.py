"""The differences of the public reference code from the paper's text or sound practice, each behind a switch.

They were read from the code (github: jacob-block/peft-ml, vision part); `loraml vision --mode reference` turns all on,
``--axes quirk`` shows the effect of each alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from realdata.peft_ml.settings import ADAPTED


class Quirk(NamedTuple):
    """A switch: its name, what the reference code does, and what the paper's mode does instead."""

    name: str
    what: str
    instead: str


QUIRKS = (
    Quirk(
        "augment-once",
        "every training image is cropped and flipped once, when the data are loaded",
        "it is augmented anew in each epoch",
    ),
    Quirk(
        "bias-dropped",
        "linear layers that get adapters lose their biases, so fine-tuning by LoRA starts without those that standard "
        "retraining, Reptile or last-layer meta-learning has learned",
        "base biases are kept and, in retraining, trained",
    ),
    Quirk(
        "rank-ignored",
        "the rank asked for is not passed on: adapters always have rank 1",
        "adapters have the rank asked for",
    ),
    Quirk(
        "reptile-away",
        "Reptile's outer gradient has the wrong sign: a step moves away from the parameters adapted to the task",
        "the step moves towards them, as published (Nichol et al. 2018)",
    ),
    Quirk(
        "select-on-test",
        "the epoch to keep is the best one on test images, of the retraining classes in retraining and of the test "
        "classes in fine-tuning, so 'best' is a maximum over test accuracies",
        "epochs are selected on training images held out for it",
    ),
    Quirk(
        "warm-start",
        "with a meta-learned base the test task's adapter, or its head, starts from that of the first retraining task",
        "it is drawn afresh for every method",
    ),
)
NAMES = tuple(quirk.name for quirk in QUIRKS)
META_LEARNED = {"lora-ml": "lora", "last-layer-ml": "last-layer"}
"""The fine-tuning with the adapters of a method's retraining tasks, from which it could start."""


class Relevance:
    """The switches that have an effect, by method and fine-tuning; see `realdata.experiments.grid.Relevance`.

    Parameters
    ----------
    augmented
        Whether training images are augmented at all.
    """

    def __init__(self, *, augmented: bool) -> None:
        self._always = {"select-on-test", *(["augment-once"] if augmented else [])}

    def in_retraining(self, method: str, *, rank: int) -> frozenset[str]:
        """Return the switches that change retraining by this method."""
        own = {"rank-ignored"} if method in ADAPTED and rank > 1 else set()
        if method in ("lora-ml", "grouped-lora"):
            own.add("bias-dropped")
        if method == "reptile":
            own = {"reptile-away"}
        return frozenset(self._always | own)

    def in_fine_tuning(self, method: str, finetune: str, *, rank: int) -> frozenset[str]:
        """Return the switches that change fine-tuning of this method's base."""
        own = set()
        if finetune == "lora":
            own = {"bias-dropped", *(["rank-ignored"] if rank > 1 else [])}
        if META_LEARNED.get(method) == finetune:
            own.add("warm-start")
        return frozenset(self._always | own)


def checked(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of switches, sorted.

    Raises
    ------
    ValueError
        If one is unknown.
    """
    wanted = tuple(sorted(names))
    for name in wanted:
        if name not in NAMES:
            raise ValueError(f"quirks: got {name!r}, expected some of {', '.join(NAMES)}")
    return wanted
