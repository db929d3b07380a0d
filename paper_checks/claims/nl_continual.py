"""NL-continual: whether O-LoRA and DEAL keep more of earlier tasks than sequential LoRA, on text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from loraml_theory.harness.errors import InputError, one_line
from paper_checks.claim import Control, Profile
from paper_checks.evidence.empirical import EmpiricalClaim
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.recorded_chains import TUNED, RecordedChains, ahead, drawn_chains
from realdata.continual.tables import REFERENCE

CLAIMED = ("o-lora", "deal-released", "deal-as-written", "deal-preserving")
MARGIN = 30.0  # percentage points
NEAR = 12.0  # percentage points, where drawn records are ten apart

AVERAGES = {REFERENCE: 0.5} | dict.fromkeys(CLAIMED, 0.6)
"""Of drawn records."""
AT_ONE_RATE = {REFERENCE: 0.5} | dict.fromkeys(CLAIMED, 0.4)
"""The same at a learning rate that is good for the reference alone."""
EXCHANGED = {REFERENCE: CLAIMED[0], **dict.fromkeys(CLAIMED[:1], REFERENCE)}


def check(
    experiment: RecordedChains,
    _profile: Profile,
    *,
    methods: Iterable[str] = CLAIMED,
    margin: float = 0.0,
    opposite: bool = False,
) -> Iterator[Evidence | Note]:
    """Compare each method's average accuracy at the end with that of sequential LoRA, chain by chain."""
    for method in methods:
        pair = (REFERENCE, method) if opposite else (method, REFERENCE)
        yield from ahead(experiment, pair[0], reference=pair[1], margin=margin)
    others = [line.start for line in experiment.chains.lines if line.start != "plain"]
    if others:
        yield Note(experiment.name, f"chains from {', '.join(dict.fromkeys(others))} are not counted")


def described(experiment: RecordedChains) -> str:
    """Name the benchmark, the model and what is adapted, which is not the papers'.

    Raises
    ------
    InputError
        If ``experiment.json`` does not name them.
    """
    try:
        model, source = experiment.begun["settings"]["model"], experiment.begun["data"]["source"]
        named, kind = one_line(str(model["name"])), str(model["kind"])
        notes = experiment.begun["data"].get("notes", [])
    except (AttributeError, KeyError, TypeError):
        raise InputError(f"{experiment.name}: experiment.json does not name the benchmark") from None
    if notes:
        return one_line(str(source))
    what = {"features": f"one map of the frozen features of {named}", "encoder": f"{named} end to end"}
    return one_line(f"{source}: {what.get(kind, f'{named}, which writes its answers')}")


def _drawn(seed: int) -> RecordedChains:
    return drawn_chains(seed, AVERAGES)


def _exchanged(seed: int) -> RecordedChains:
    """Draw records in which those of sequential LoRA and of the first method bear each other's name."""
    return drawn_chains(seed, AVERAGES, named=lambda method: EXCHANGED.get(method, method))


def _one_rate(seed: int) -> RecordedChains:
    return drawn_chains(seed, AT_ONE_RATE, tuned=False)


CONTROLS: Sequence[Control[RecordedChains]] = (
    Control(f"mutated: ahead by more than {MARGIN:g} percentage points", partial(check, margin=MARGIN), _drawn),
    Control(
        f"near miss: ahead by more than {NEAR:g} percentage points, where records are drawn ten apart",
        partial(check, margin=NEAR),
        _drawn,
        on_given=False,
    ),
    Control("mutated: sequential LoRA is ahead", partial(check, opposite=True), _drawn),
    Control("the labels of two methods exchanged in all records", check, _exchanged, on_given=False),
    Control("one learning rate for all, that of sequential LoRA", check, _one_rate, on_given=False),
)

CLAIM = EmpiricalClaim(
    id="NL-continual",
    title="Text: O-LoRA and DEAL keep more than sequential LoRA",
    statement=(
        "On a sequence of text tasks the average accuracy at the end, of O-LoRA and of DEAL as released, as written "
        "and so that it preserves the model at a task's start, is above that of sequential LoRA, paired over seeds "
        "and orders, each method at its own tuned learning rate."
    ),
    source="O-LoRA (Wang et al., 2023) and DEAL (Han et al., 2025), their tables",
    group="continual",
    experiment="continual",
    command="loraml continual --data DIR --tune --out DIR",
    described=described,
    assumptions=(TUNED,),
    check=check,
    controls=tuple(CONTROLS),
)
