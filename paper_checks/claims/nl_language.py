"""NL-language: the order of the methods in the paper's experiment on dialogues."""

from __future__ import annotations

from functools import partial

from loraml_theory.harness.errors import InputError, one_line
from paper_checks.evidence.empirical import PAPER_MODE, EmpiricalClaim, Setting, drawn_experiment
from paper_checks.evidence.experiment import RecordedExperiment
from paper_checks.evidence.orders import PAPERS_ORDERS, check_orders, mutations, settings_said
from realdata.language.settings import PROFILES, settings

CONVAI2_VALIDATION = "8727c24ba426d2cdab14b83021ad0958df93fe462d442780f409c6c8b5180c5d"
"""`realdata.language.parlai.content_digest` of the validation split (self, original), with or without candidates."""

ROBERTA = ("roberta-base", "FacebookAI/roberta-base")

PAPER = Setting(n=None, rank=8)

check = partial(check_orders, orders=PAPERS_ORDERS, claimed=PAPER)


def described(experiment: RecordedExperiment) -> str:
    """Name the dialogues, ConvAI2 by their content, and the differences of encoder and settings from the paper's.

    Raises
    ------
    InputError
        If ``experiment.json`` does not name the data.
    """
    try:
        data, held = experiment.begun["data"], experiment.begun["settings"]
        contents = [str(file["content"]) for file in data["files"]]
        encoder = one_line(str(held["model"]["name"]))
        settings_of = {name: table for name, table in held.items() if name != "model"}
        said = {**settings_of, "model": {key: value for key, value in held["model"].items() if key != "name"}}
        source = one_line(str(data["source"]))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(f"{experiment.name}: experiment.json does not name the dialogues") from None
    if not contents or contents[-1] != CONVAI2_VALIDATION:
        return source if not contents else f"{source}, not ConvAI2"
    where = f"{source}, the last of which is ConvAI2's validation split"
    if len(contents) == 1:
        where = "ConvAI2's validation split alone, of which the paper takes the personas to test on only"
    own = "" if encoder in ROBERTA else f"{encoder}, not RoBERTa-base; "
    return f"{where} ({own}{settings_said(said, _profiles())})"


def _profiles() -> dict[str, dict[str, object]]:
    """Return the profiles' settings without the name of the encoder."""
    documents = {name: settings(name).document() for name in PROFILES}
    for document in documents.values():
        del document["model"]["name"]
    return documents


def ordered(seed: int) -> RecordedExperiment:
    """Draw records in which methods are ahead as claimed, by twenty points."""
    accuracies = {("lora-ml", "lora"): 0.6, ("standard", "lora"): 0.4, ("reptile", "lora"): 0.4}
    accuracies |= {("last-layer-ml", "last-layer"): 0.6, ("standard", "last-layer"): 0.4}
    personas = [f"persona-{number:03}" for number in range(11, 21)]
    return drawn_experiment(
        seed, kind="language", accuracies=accuracies, before=0.05, rank=8, tasks=personas, examples=200
    )


CLAIM = EmpiricalClaim(
    id="NL-language",
    title="Dialogues: meta-learning with adapters is ahead",
    statement=(
        "In the paper's experiment on ConvAI2 (RoBERTa-base retrained on ten personas, then fine-tuned on each of ten "
        "others, adapters of rank 8) the accuracies of choosing the true reply among twenty are in this order: after "
        "LoRA fine-tuning, lora-ml is above standard and above reptile; after last-layer fine-tuning, last-layer-ml is "
        "above standard."
    ),
    source="arXiv 2410.22264, the language experiment",
    experiment="language",
    command="loraml language --data FILE --out DIR",
    described=described,
    assumptions=(PAPER_MODE,),
    check=check,
    controls=mutations(check, PAPERS_ORDERS, drawn=ordered),
)
