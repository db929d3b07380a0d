"""NL-vision on records with known accuracies: it can be supported, refuted and left open, and so can its controls."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from paper_checks.claim import Control, Verdict, gather, judge
from paper_checks.claims import nl_vision
from paper_checks.claims.nl_vision import CLAIM, PAPER
from paper_checks.evidence.empirical import Order, Setting, order_evidence
from paper_checks.evidence.evidence import Evidence, Outcome
from paper_checks.evidence.experiment import RecordedExperiment
from paper_checks.evidence.orders import PAPERS_ORDERS
from paper_checks.verify import ClaimResult, check, verify
from realdata.intervals import crossed_difference
from tests.paper_checks import fakes
from tests.paper_checks.experiments import IN_ORDER, experiment, runs


def checked(*given: RecordedExperiment) -> ClaimResult:
    return check(CLAIM, given, fakes.QUICK, seed=0)


def deciding(result: ClaimResult) -> list[Evidence]:
    return [item for item in result.evidence if item.decides]


def test_supported_where_every_interval_is_above_nought() -> None:
    result = checked(experiment(runs(IN_ORDER)))
    assert result.verdict is Verdict.SUPPORTED
    assert result.reason == (
        "Judged on digits, not CIFAR-10. Accuracy of the method claimed to be ahead minus the other's: 10 ± 1.6, "
        "expected > 0 on here (like all of 3 values on 1 experiment). 3 values on 1 experiment as predicted."
    )
    assert [item.measured for item in result.evidence] == pytest.approx([10, 20, 10])
    for item in result.evidence:
        assert item.interval is not None
        assert 0 < item.interval[0] < item.measured < item.interval[1]
        assert (item.relation, item.predicted) == ("above", 0)
        assert "3 seeds" in item.what
    assert {control.instance for control in result.controls} == {"here"}, "decided on the records at hand"
    assert {control.verdict for control in result.controls} == {Verdict.REFUTED}


@pytest.mark.parametrize("behind", [("lora-ml", "lora"), ("last-layer-ml", "last-layer")])
def test_refuted_where_one_interval_is_below(behind: tuple[str, str]) -> None:
    result = checked(experiment(runs({**IN_ORDER, behind: 0.5})))
    assert result.verdict is Verdict.REFUTED
    assert result.reason.startswith(f"Judged on digits, not CIFAR-10. {behind[0]} minus standard, ")
    assert "expected > 0" in result.reason
    assert {control.verdict for control in result.controls} == {Verdict.REFUTED}


def test_inconclusive_where_an_interval_holds_nought() -> None:
    """The methods differ by 0 on average, seed by seed by ten points."""
    level = runs({**IN_ORDER, ("lora-ml", "lora"): 0.75}, seeds=[0]) + runs(
        {**IN_ORDER, ("lora-ml", "lora"): 0.65}, seeds=[1]
    )
    result = checked(experiment(level))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "Cannot be decided: lora-ml minus standard, LoRA on all examples, rank 1, 2 seeds" in (result.reason)
    outcomes = [item.outcome for item in deciding(result)]
    assert outcomes[0] is Outcome.UNDECIDED
    assert Outcome.DISAGREES not in outcomes


def test_one_seed_decides_nothing_however_large_the_difference() -> None:
    result = checked(experiment(runs(IN_ORDER, seeds=[4])))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "rank 1, 1 seed, too few on here: measured 10 [" in result.reason
    first = result.evidence[0]
    assert first.interval is not None
    assert first.interval[0] > 0
    assert first.reason == (
        "none; percentage points of test accuracy, paired 95 % interval over test examples, at one seed: other seeds "
        "may differ more, so nothing is decided"
    )
    assert {control.instance for control in result.controls} == {"drawn records"}
    assert {control.verdict for control in result.controls} == {Verdict.REFUTED}


def test_a_comparison_without_records_leaves_the_claim_open() -> None:
    some = {key: value for key, value in IN_ORDER.items() if key[0] != "reptile"}
    result = checked(experiment(runs(some)))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "lora-ml minus reptile, LoRA on all examples, rank 1, no seed of both on here" in result.reason
    assert [item.outcome for item in result.evidence] == [Outcome.AGREES, Outcome.UNDECIDED, Outcome.AGREES]


def test_seeds_of_one_method_alone_have_no_say() -> None:
    other = runs({("lora-ml", "lora"): 0.1}, seeds=[7, 8])
    result = checked(experiment(runs(IN_ORDER), other))
    assert result.evidence[0].measured == pytest.approx(10)
    assert "3 seeds" in result.evidence[0].what


def test_other_settings_are_shown_and_decide_nothing() -> None:
    reverse = {key: 1 - value for key, value in IN_ORDER.items()}
    result = checked(experiment(runs(IN_ORDER), runs(reverse, n=50), runs(reverse, rank=4)))
    assert result.verdict is Verdict.SUPPORTED
    assert len(deciding(result)) == 3
    beside = [item for item in result.evidence if not item.decides]
    assert {item.outcome for item in beside} == {Outcome.DISAGREES}
    assert [item.what for item in beside if "reptile" in item.what] == [
        "lora-ml minus reptile, LoRA on n = 50, rank 1, 3 seeds",
        "lora-ml minus reptile, LoRA on all examples, rank 4, 3 seeds",
    ]
    assert [item.what for item in beside if item.what.startswith("last-layer")] == [
        "last-layer-ml minus standard, last layer on n = 50, 3 seeds"
    ], "without adapters the same runs are listed for every rank, and count once"


def test_without_adapters_any_rank_will_do() -> None:
    last_layer = {key: value for key, value in IN_ORDER.items() if key[1] == "last-layer"}
    result = checked(experiment(runs(last_layer, rank=4), runs(last_layer, rank=8)))
    assert [item.outcome for item in deciding(result)] == [Outcome.UNDECIDED, Outcome.UNDECIDED, Outcome.AGREES]
    assert deciding(result)[2].what == "last-layer-ml minus standard, last layer on all examples, 3 seeds"


def test_records_with_switches_of_the_reference_code_do_not_count() -> None:
    reverse = runs({key: 1 - value for key, value in IN_ORDER.items()}, quirks=("augment-once", "warm-start"))
    result = checked(experiment(runs(IN_ORDER), reverse))
    assert result.verdict is Verdict.SUPPORTED
    assert result.notes[-1].text == (
        "15 records with switches of the reference code on: not counted (augment-once, warm-start)"
    )
    alone = checked(experiment(reverse))
    assert alone.verdict is Verdict.ASSUMPTIONS_NOT_MET
    assert "Needs records without switches of the reference code" in alone.reason


def test_the_evidence_is_the_crossed_difference_of_the_records() -> None:
    drawn = runs(IN_ORDER, rng=np.random.default_rng(3))
    tables = {
        method: [[int(x) for x in r.correct] for r in drawn if (r.key.method, r.key.finetune) == (method, "lora")]
        for method in ("lora-ml", "reptile")
    }
    expected = crossed_difference(tables["lora-ml"], tables["reptile"], unit="test examples").estimate
    item = checked(experiment(drawn)).evidence[1]
    assert (item.measured, *(item.interval or ())) == pytest.approx([100 * x for x in expected])


@pytest.mark.long
def test_where_nothing_differs_it_is_rarely_decided() -> None:
    """By chance 2.5 % of intervals are above and 2.5 % below: that fails for 300 runs with probability 6e-6.

    Refuted are at most 7.5 %, by one of three: more than 45 with probability 4e-6. Supported are at most 0.0625 %,
    since the last comparison is of other runs than the first two: more than 4 with probability 2e-6.
    """
    level = dict.fromkeys(IN_ORDER, 0.7)
    claim = replace(CLAIM, controls=())
    verdicts = [
        check(claim, [experiment(runs(level, rng=np.random.default_rng(seed)))], fakes.QUICK, seed=0).verdict
        for seed in range(300)
    ]
    assert verdicts.count(Verdict.REFUTED) <= 45
    assert verdicts.count(Verdict.SUPPORTED) <= 4


CONTROLS = {control.what.removeprefix("mutated: "): control for control in CLAIM.controls}
MARGIN, OPPOSITE, UNTRAINED = CONTROLS.values()


def verdict_of(control: Control[RecordedExperiment], on: RecordedExperiment) -> Verdict:
    return judge(gather(control.check, on, fakes.QUICK)[0])


@pytest.mark.parametrize("control", CLAIM.controls, ids=list(CONTROLS))
@pytest.mark.parametrize("seed", range(5))
def test_controls_are_refuted_on_their_own_records(control: Control[RecordedExperiment], seed: int) -> None:
    assert verdict_of(control, control.own_instance(seed)) is Verdict.REFUTED


def test_controls_that_are_true_are_not_refuted() -> None:
    """A method 40 points ahead, the other order, and accuracies that fall by fine-tuning."""
    far = {key: value - 0.4 if key[0] in ("standard", "reptile") else value for key, value in IN_ORDER.items()}
    assert verdict_of(MARGIN, experiment(runs(far))) is Verdict.SUPPORTED
    reverse = {key: 1 - value for key, value in IN_ORDER.items()}
    assert verdict_of(OPPOSITE, experiment(runs(reverse))) is Verdict.SUPPORTED
    assert verdict_of(UNTRAINED, experiment(runs(reverse))) is Verdict.SUPPORTED
    assert verdict_of(UNTRAINED, experiment(runs(IN_ORDER, seeds=[0]))) is Verdict.INCONCLUSIVE


def unsigned(on: RecordedExperiment, order: Order, *, claimed: Setting) -> list[Evidence]:
    """State the order whatever the sign of the difference."""
    (item,) = (e for e in order_evidence(on, order, claimed=claimed) if isinstance(e, Evidence))
    assert item.interval is not None
    low, high = sorted(map(abs, item.interval))
    return [replace(item, measured=abs(item.measured), interval=(low, high))]


def test_a_check_that_ignores_the_sign_fails_its_controls_without_failing_the_run() -> None:
    blind = partial(nl_vision.check, orders=[order.opposite for order in PAPERS_ORDERS], states=unsigned)
    made = replace(CLAIM, controls=(replace(OPPOSITE, check=blind),))
    run = verify([made], fakes.QUICK, seed=0, experiments=[experiment(runs(IN_ORDER))])
    assert [control.verdict for control in run.claims[0].controls] == [Verdict.SUPPORTED]
    assert run.exit_status == 0


def test_what_is_claimed_is_the_papers() -> None:
    assert PAPER == (None, 1)
    assert PAPERS_ORDERS == (
        ("lora-ml", "standard", "lora"),
        ("lora-ml", "reptile", "lora"),
        ("last-layer-ml", "standard", "last-layer"),
    )
    assert CLAIM.nature == "empirical"


def test_two_experiments_are_judged_together() -> None:
    other = experiment(runs({**IN_ORDER, ("lora-ml", "lora"): 0.3}), cifar=True, name="there")
    result = checked(experiment(runs(IN_ORDER)), other)
    assert result.verdict is Verdict.REFUTED
    assert result.reason.startswith("Judged on digits, not CIFAR-10; and on CIFAR-10 with the paper's settings. ")
    assert "on there: measured" in result.reason


def test_the_verdict_names_the_data_and_the_settings() -> None:
    def said(**about: Any) -> str:
        return checked(experiment(runs(IN_ORDER), **about)).reason.partition(". ")[0]

    assert said() == "Judged on digits, not CIFAR-10"
    assert said(cifar=True) == "Judged on CIFAR-10 with the paper's settings"
    assert said(cifar=True, profile="cpu") == "Judged on CIFAR-10 with the settings of the profile cpu, not the paper's"
    odd = experiment(runs(IN_ORDER), cifar=True)
    changed = {**odd.begun["settings"], "model": {**odd.begun["settings"]["model"], "width": 7}}
    assert nl_vision.described(replace(odd, begun={**odd.begun, "settings": changed})) == (
        "CIFAR-10 with settings that are not the paper's (model.width)"
    )
    few = {**odd.begun["data"], "tasks": {"ship-truck": {"test": [10, ""]}}}
    assert nl_vision.described(replace(odd, begun={**odd.begun, "data": few})) == "parquet, not CIFAR-10"
