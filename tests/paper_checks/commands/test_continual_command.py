"""`loraml continual`: one command from nothing to a report, resumed, and one line for everything that is wrong."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from realdata.continual.settings import METHODS, PROFILES
from tests.paper_checks.conftest import Loraml

QUICK = """
[training]
epochs = 1
[grid]
methods = ["sequential", "o-lora"]
seeds = [0]
orders = [1]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quick.toml").write_text(QUICK)
    return tmp_path


@pytest.mark.long
def test_made_up_features_a_report_and_more_seeds(loraml: Loraml, here: Path) -> None:
    words = ("continual", "--settings", "quick.toml", "--out", "out", "--workers", "1", "--tune")
    ended = loraml(*words)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.endswith("2 chains computed now. Report: out/report.html\n")
    said = " ".join(ended.out.split())
    assert "On made-up features (drawn, no texts): these numbers say nothing of language." in said
    assert "One seed only" in said
    assert sorted(path.name for path in (here / "out/tuning").iterdir()) == [
        f"{method}.plain.order-1.seed-0.rate-{rate}.json"
        for method in ("o-lora", "sequential")
        for rate in ("0.001", "0.01")
    ]
    page = (here / "out/report.html").read_text("utf-8")
    assert page.count("<img ") == 4
    assert "| o-lora | 1 |" in (here / "out/results.md").read_text("utf-8")
    assert (here / "out/adapters/o-lora.plain.order-1.seed-0/adapter_model.safetensors").is_file()
    again = loraml(*words, "--seeds", "0,1", "--methods", "sequential,o-lora,no-training")
    assert "4 chains computed now." in again.out
    refused = loraml(*words, "--which-factor", "up")
    assert refused.status == 2
    assert "settings.o_lora.factor: was 'down', is now 'up'" in refused.err
    rewritten = loraml("continual", "report", "out")
    assert (rewritten.status, "no-training" in rewritten.out) == (0, True)


@pytest.mark.long
def test_a_chain_that_fails_is_said_and_the_others_stay(loraml: Loraml, here: Path) -> None:
    (here / "heat.toml").write_text(f'{QUICK}[deal]\nfilter = "heat"\n')
    words = ("continual", "--settings", "heat.toml", "--methods", "sequential,deal-preserving", "--out", "out")
    ended = loraml(*words, "--workers", "1")
    assert ended.status == 1
    assert "failed: deal-preserving.plain.order-1.seed-0: deal-preserving: the filter heat is not" in ended.out
    assert "1 chain computed now." in ended.out


def test_the_examples_have_every_key(loraml: Loraml) -> None:
    for profile in PROFILES:
        ended = loraml("continual", "--example", "--profile", profile)
        assert ended.status == 0
        assert {"model", "deal", "tuning", "grid"} <= set(tomllib.loads(ended.out))
    assert tuple(tomllib.loads(loraml("continual", "--example").out)["grid"]["methods"]) == METHODS


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--profile", "cpu"], "--profile: got cpu, which is for texts; add --data DIR with a benchmark"),
        (["--profile", "gpu"], "--profile: got 'gpu', expected features, cpu or paper"),
        (["--methods", "magic"], "grid.methods: got 'magic', expected"),
        (["--starts", "sr"], "grid.starts: lora-ml and sr need features and two tasks or more in start.tasks"),
        (["--orders", "7"], "grid.orders: got 7, expected numbers from 1 to 2"),
        (["--orders", "0"], "grid.orders: got 0, expected numbers from 1 to 2"),
        (["--orders", "1,1"], "grid.orders: got 1 twice"),
        (["--orders", "no.json"], "no.json: cannot be read"),
        (["--orders", "same.json"], "orders: number 1 is a, a, expected two tasks or more, once each"),
        (["--which-factor", "A"], "--which-factor: got 'A', expected down or up"),
        (["--data", "none"], "--data: none has no task"),
        (["--settings", "bad.toml"], "bad.toml: deal.filter_power, network_power: got 1 and 2, expected the first"),
        (["--seeds", "-1"], "--seeds: got '-1', expected"),
    ],
)
def test_what_is_wrong_is_one_line(loraml: Loraml, here: Path, words: Sequence[str], text: str) -> None:
    (here / "bad.toml").write_text("[deal]\nfilter_power = 1.0\nnetwork_power = 2.0\n")
    (here / "same.json").write_text('[["a", "a"]]')
    ended = loraml("continual", *words)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"loraml: error: {text}")
    assert ended.err.count("\n") == 1
    assert not (here / "reports/continual/runs").exists()
