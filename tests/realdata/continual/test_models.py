"""Encoders end to end and models that write: tiny random ones, from files to records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from realdata.continual.experiment import ContinualSpec, open_problem, prepare
from realdata.continual.prompts import exact_match, rouge_1
from realdata.continual.records import read_records
from realdata.continual.report import write
from realdata.continual.runner import ContinualRequest, run
from realdata.continual.settings import ContinualSettings, settings
from tests.realdata.continual.benchmark_files import benchmark, encoder, writer

ORDERS: dict[str, Any] = {
    "orders": [["letters", "others"], ["others", "letters"]],
    "tuning": {"learning_rates": [1e-3, 1e-2], "orders": [1]},
}


def asked(profile: str, model: Path, *methods: str, more: dict[str, Any] | None = None) -> ContinualSettings:
    base: dict[str, Any] = {
        **ORDERS,
        "model": {"name": str(model), **(more or {})},
        "data": {"split": [60, 20, 20], "max_length": 64},
        "training": {"epochs": 1, "batch_size": 8, "rank": 2},
        "grid": {"methods": list(methods), "orders": [1], "seeds": [0]},
    }
    return settings(profile, base)


def test_embeddings_do_not_depend_on_padding_or_on_rows_at_once(tmp_path: Path) -> None:
    spec = ContinualSpec(asked("cpu", encoder(tmp_path / "model"), "sequential"), benchmark(tmp_path / "data"))
    problem: Any = open_problem(spec, tmp_path)
    plain = problem.plain.eval()
    with torch.no_grad():
        together = problem.sentences(plain, "letters", "train")
        alone = torch.cat([problem.sentences(plain, "letters", "train", np.array([at])) for at in range(5)])
    assert torch.allclose(together[:5], alone, atol=1e-5)
    assert problem.size("letters", "train") == len(together)


def test_features_are_those_of_the_encoder_and_computed_once(tmp_path: Path) -> None:
    model, data = encoder(tmp_path / "model"), benchmark(tmp_path / "data")
    spec = ContinualSpec(asked("features", model, "sequential"), data)
    problem, document = prepare(spec, tmp_path / "out")
    end_to_end: Any = open_problem(ContinualSpec(asked("cpu", model, "sequential"), data), tmp_path)
    order = ("letters", "others")
    assert problem.evaluated(problem.plain, order, "test") == end_to_end.evaluated(end_to_end.plain, order, "test")
    before = (tmp_path / "out/features.safetensors").stat().st_mtime_ns
    assert prepare(spec, tmp_path / "out")[1] == document
    assert (tmp_path / "out/features.safetensors").stat().st_mtime_ns == before
    assert document["source"] == "data"
    assert document["notes"] == []


@pytest.mark.long
def test_an_encoder_end_to_end(tmp_path: Path) -> None:
    methods = ("sequential", "o-lora", "deal-preserving", "per-task", "joint")
    spec = ContinualSpec(asked("cpu", encoder(tmp_path / "model"), *methods), benchmark(tmp_path / "data"))
    done = run(ContinualRequest(spec, tune=True, workers=1), tmp_path / "out")
    assert (done.new_runs, done.failures) == (5, ())
    assert {len(record.tuned.rates) for record in read_records(tmp_path / "out") if record.tuned} == {2}
    assert len(write(tmp_path / "out").chains.lines) == 5


@pytest.mark.long
@pytest.mark.parametrize("kind", ["seq2seq", "causal-lm"])
def test_a_model_that_writes_learns_to_answer(tmp_path: Path, kind: str) -> None:
    targets = ["q", "v"] if kind == "seq2seq" else ["q_proj", "v_proj"]
    more: dict[str, Any] = {"kind": kind, "targets": targets, "new_tokens": 3}
    spec = ContinualSpec(
        asked("paper", writer(tmp_path / "model", kind), "sequential", "o-lora", "deal-released", more=more),
        benchmark(tmp_path / "data"),
    )
    done = run(ContinualRequest(spec, workers=1), tmp_path / "out")
    assert (done.new_runs, done.failures) == (3, ())
    for record in read_records(tmp_path / "out"):
        assert set(record.rows[0]) == {"exact_match", "rouge_1"}
    write(tmp_path / "out")
    assert "Exact match" in (tmp_path / "out/report.html").read_text()


@pytest.mark.parametrize("kind", ["seq2seq", "causal-lm"])
def test_the_loss_is_of_the_answer_alone_whatever_else_is_in_the_batch(tmp_path: Path, kind: str) -> None:
    targets = ["q", "v"] if kind == "seq2seq" else ["q_proj", "v_proj"]
    more: dict[str, Any] = {"kind": kind, "targets": targets, "new_tokens": 3}
    read = asked("paper", writer(tmp_path / "model", kind), "sequential", more=more)
    problem: Any = open_problem(ContinualSpec(read, benchmark(tmp_path / "data")), tmp_path)
    model = problem.plain.eval()
    with torch.no_grad():
        each = [problem.loss(model, {"letters": np.array([at])}).item() for at in range(4)]
        together = problem.loss(model, {"letters": np.arange(4)}).item()
    assert together == pytest.approx(np.mean(each), rel=1e-4)  # all answers have as many tokens
    written = problem._written(model, problem._prompts["letters", "test"])
    alone = [problem._written(model, [prompt])[0] for prompt in problem._prompts["letters", "test"]]
    assert written == alone


def test_answers_are_judged_by_their_words() -> None:
    assert exact_match(" Very negative. ", "very negative") == 1
    assert exact_match("negative", "very negative") == 0
    assert rouge_1("a a b", "a") == pytest.approx(0.5)
    assert rouge_1("x", "a") == 0
