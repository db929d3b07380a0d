from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator, ValidationError

from loraml_theory.harness.json_schema import validator
from loraml_theory.harness.versions import environment
from paper_checks.claim import AnyClaim, Verdict, judge
from paper_checks.claims import nl_vision
from paper_checks.evidence.evidence import Outcome
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.phrasing import comparison, expected, headline
from paper_checks.report import html, verdicts
from paper_checks.verify import Run, verify
from tests.paper_checks import fakes
from tests.paper_checks.experiments import IN_ORDER, experiment, runs

EVIL = "<script>alert('x')</script>"
ENVIRONMENT = {**environment("loraml verify"), "date": "2025-01-01T00:00:00+00:00"}
CLAIMS = (
    fakes.claim(),
    fakes.claim(id="SR-2", check=fakes.measures_size(3.0)),
    fakes.claim(id="ML-1", assumptions=(fakes.assumption(False),)),
    fakes.claim(id="ML-2", check=fakes.says_nothing),
    fakes.claim(id="FT-1", check=fakes.measures_size(1.0, measured=float("nan"))),
    fakes.claim(id="FT-2", check=fakes.measures_size(1.0, kind="statistical", interval=(0.9, float("inf")))),
)


def ran(*claims: AnyClaim[Any], **options: Any) -> Run:
    return verify(claims or CLAIMS, fakes.QUICK, seed=1, **options)


class Loads(HTMLParser):
    """Collects what a page would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "srcset", "data", "poster")]


def page(run: Run) -> tuple[str, Loads]:
    text = html.render(run, ENVIRONMENT)
    loads = Loads()
    loads.feed(text)
    return text, loads


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(validator("paper_checks.report", "verdicts").schema)


def test_the_document_has_the_fields_of_the_contract() -> None:
    made = json.loads(verdicts.dumps(verdicts.document(ran(), ENVIRONMENT)))
    assert made.keys() >= {"schema", "seed", "profile", "environment", "claims", "real"}
    assert made["schema"] == 1
    supported, refuted, not_met, silent, undecided, statistical = made["claims"]
    named = {"id", "title", "nature", "verdict", "reason", "assumptions", "evidence", "controls", "seconds"}
    assert supported.keys() >= named
    assert [claim["verdict"] for claim in made["claims"]] == [
        "supported",
        "refuted",
        "assumptions_not_met",
        "inconclusive",
        "inconclusive",
        "inconclusive",
    ]
    assert supported["assumptions"][0].keys() >= {"what", "holds", "measured"}
    assert supported["evidence"][0].keys() >= {
        *("kind", "instance", "what", "measured", "predicted", "interval", "relation", "tolerance"),
    }
    control, _ = supported["controls"]
    assert (control["what"], control["instance"], control["verdict"]) == ("the largest entry is 2", "first", "refuted")
    compared = control["quantity"], control["measured"], control["predicted"], control["relation"], control["tolerance"]
    assert compared == ("largest entry", 1.0, 2.0, "equal", 0.1)
    assert refuted["evidence"][0]["outcome"] == "disagrees"
    assert (not_met["evidence"], not_met["controls"], silent["evidence"]) == ([], [], [])
    assert undecided["evidence"][0]["measured"] is None
    assert statistical["evidence"][0]["interval"] == [0.9, None]


def test_numpy_values_are_written_as_plain_ones() -> None:
    study = {"a": np.float64("nan"), "b": np.arange(2), "c": (np.bool_(True), Verdict.REFUTED), 3: None}
    expected = {"a": None, "b": [0, 1], "c": [True, "refuted"], "3": None}
    assert verdicts.plain(study) == expected


def test_a_document_against_the_contract_is_not_written() -> None:
    with pytest.raises(ValidationError):
        verdicts.document(ran(fakes.claim(title="")), ENVIRONMENT)


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    _, loads = page(ran())
    assert not {"script", "link", "iframe", "object", "embed"} & set(loads.tags)
    assert loads.sources
    assert all(source.startswith("data:image/svg+xml;base64,") for source in loads.sources)
    assert "url(" not in page(ran())[0]


def test_the_page_has_a_row_for_every_claim_and_opens_what_went_wrong() -> None:
    text, loads = page(ran())
    assert loads.tags.count("summary") == loads.tags.count("details")
    assert re.findall(r'<details class="claim (\w+)"( open)?>', text)[:2] == [("supported", ""), ("refuted", " open")]
    assert [position for id_ in ("SR-1", "SR-2", "FT-2") if (position := text.index(f'<div class="body" id="{id_}">'))]
    assert "1 of 6 claims supported" in text


def test_the_page_says_which_kinds_of_evidence_there_are_and_what_they_are_worth() -> None:
    text, _ = page(ran(fakes.claim(check=fakes.measures_size(1.0, kind="certified"))))
    assert '2 <a href="#kinds">certified</a>' in text
    assert "bounds on every rounding" in text
    assert "What chance may do" not in text


def test_the_page_states_the_false_alarm_budget_and_what_was_used_of_it() -> None:
    sampled = fakes.measures_size(1.0, kind="statistical", interval=(0.9, 1.1), samples=400)
    text, _ = page(ran(fakes.claim(id="FT-2", check=sampled)))
    assert "What chance may do" in text
    assert "400 to 400" in text
    (found,) = verdicts.document(ran(fakes.claim(id="FT-2", check=sampled)), ENVIRONMENT)["statistics"]["shares"]
    assert (found["claim"], found["intervals"], found["allowed"]) == ("FT-2", 2, 120)


def test_every_name_is_escaped() -> None:
    named = fakes.instance(EVIL)
    made = fakes.claim(title=EVIL, statement=EVIL, source=EVIL, check=fakes.measures_size(3.0, what=EVIL))
    study = {"summary": [EVIL], "table": [{EVIL: EVIL}]}
    run = ran(made, given=[named], notes=[EVIL], real=lambda _profile, _seed: study)
    text = html.render(run, {**ENVIRONMENT, "command": EVIL})
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 8


@pytest.mark.long
def test_the_page_is_the_same_every_time() -> None:
    run = ran(*(replace(claim, figure=draw) for claim in CLAIMS))
    assert html.render(run, ENVIRONMENT) == html.render(run, ENVIRONMENT)


def draw(ax: Any, on: Instance) -> None:
    ax.plot([1, 2], label=on.name)
    ax.legend()


def test_a_claim_draws_its_own_figure_on_the_first_instance_it_applies_to() -> None:
    drawn: list[str] = []
    made = fakes.claim(figure=lambda _ax, on: drawn.append(on.name))
    text, _ = page(ran(made))
    assert drawn == ["first"]
    assert "largest entry, on first" in text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "1 ± 0.1"),
        ({"tolerance": 0.0}, "1"),
        ({"relation": "at most", "predicted": 0.0, "tolerance": 1e-9}, "≤ 1e-9"),
        ({"relation": "at least"}, "≥ 0.9"),
        ({"relation": "above", "predicted": 0.0, "tolerance": 0.0}, "> 0"),
    ],
)
def test_what_is_expected_in_words(changes: dict[str, Any], text: str) -> None:
    assert expected(fakes.evidence(**changes)) == text


def test_a_difference_that_four_digits_hide_is_shown() -> None:
    item = fakes.evidence(measured=1 + 1e-6, tolerance=1e-9)
    assert comparison(item).endswith("measured 1, expected 1 ± 1e-9, 1e-6 off")


@pytest.mark.parametrize(
    ("interval", "outcome"),
    [
        (None, Outcome.AGREES),
        ((0.2, 1.8), Outcome.AGREES),
        ((0.1, 1.9), Outcome.UNDECIDED),
        ((-0.2, 2.2), Outcome.UNDECIDED),
        ((-3.0, -0.1), Outcome.UNDECIDED),
        ((-3.0, -0.2), Outcome.DISAGREES),
    ],
)
def test_above_is_shown_by_the_whole_interval_or_its_contrary_is(
    interval: tuple[float, float] | None, outcome: Outcome
) -> None:
    item = fakes.evidence(relation="above", predicted=0.0, interval=interval)  # with a tolerance of 0.1
    assert item.outcome is outcome
    assert replace(item, decidable=False).outcome is Outcome.UNDECIDED
    assert comparison(replace(item, tolerance=0.0)).endswith("expected > 0")


def test_what_does_not_decide_has_no_part_in_verdict_headline_and_reason() -> None:
    first, beside = fakes.evidence(), fakes.evidence(measured=3.0, decides=False)
    assert judge([first, beside]) is Verdict.SUPPORTED
    assert judge([beside]) is Verdict.INCONCLUSIVE
    assert headline([beside, first]) is first
    assert headline([beside]) is None
    text, _ = page(ran(fakes.claim(check=lambda _on, _profile: iter([first, beside]))))
    assert text.count("no part in the verdict") == 2, "once for each of two instances"


EMPIRICAL = [experiment(runs(IN_ORDER), runs({**IN_ORDER, ("lora-ml", "lora"): 0.5}, n=50), name=EVIL)]


def test_an_empirical_claim_has_its_table_and_its_intervals_drawn() -> None:
    run = ran(nl_vision.CLAIM, experiments=EMPIRICAL)
    text, loads = page(run)
    assert "Judged on digits, not CIFAR-10. " in text
    assert "3 values on 1 experiment as predicted." in text
    assert "lora-ml minus reptile, LoRA on all examples, rank 1, 3 seeds" in text
    assert text.count("no part in the verdict") == 3
    assert "<script" not in text
    (source,) = loads.sources
    drawn = b64decode(source.partition("base64,")[2]).decode()
    assert "percentage points" in drawn
    assert "Neither it nor its controls affect the exit status" in text
    assert "Neither it" not in page(ran())[0]
    assert page(run)[0] == text


def test_an_empirical_claim_is_written_in_full() -> None:
    (made,) = verdicts.document(ran(nl_vision.CLAIM, experiments=EMPIRICAL), ENVIRONMENT)["claims"]
    assert (made["id"], made["nature"], made["verdict"]) == ("NL-vision", "empirical", "supported")
    assert [(item["relation"], item["decides"]) for item in made["evidence"]] == [("above", True), ("above", False)] * 3
    assert made["evidence"][1]["outcome"] == "disagrees"
    assert all(low < item["measured"] < high for item in made["evidence"] for low, high in [item["interval"]])


def test_the_headline_is_what_decided_the_verdict() -> None:
    refuted = ran(fakes.claim(instances=lambda _: [fakes.instance("a"), fakes.instance("b", size=2.0)]))
    item = headline(refuted.claims[0].evidence)
    assert item is not None
    assert item.instance == "b"
    assert headline([]) is None
