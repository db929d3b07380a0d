"""`loraml vision`: a small run from end to end, and one line for everything that is wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from paper_checks.commands import experiments
from realdata.experiments.records import read_records
from tests.paper_checks.conftest import Loraml
from tests.realdata.experiments.made import experiment
from tests.realdata.experiments.test_tables import three_seeds

ROOT = Path(__file__).parents[3]
TINY = """
[data]
train_per_class = 6
validation_per_class = 4
[model]
width = 8
[retraining]
epochs = {epochs}
[fine_tuning]
epochs = 2
learning_rate = {rate}
[grid]
n = {n}
[axes]
n = [2, 3, "all"]
"""


def settings(*, epochs: int = 2, rate: float = 5e-3, n: str = '["all"]') -> str:
    return TINY.format(epochs=epochs, rate=rate, n=n)


SMALL = ["--methods", "standard,lora-ml", "--finetune", "last-layer", "--workers", "1"]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    path.write_text(settings(epochs=2))
    return path


@pytest.mark.long
def test_a_run_its_continuation_and_its_report(loraml: Loraml, own: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    own.write_text(settings(n='[3, "all"]'))
    words = ["vision", "--settings", own, "--out", out, *SMALL]
    ended = loraml(*words, "--seeds", "0")
    assert (ended.status, ended.err) == (0, "")
    assert "One seed only: there is no interval over seeds, and a difference may be chance." in ended.out
    assert f"4 runs computed now. Report: {out / 'report.html'}\n" in ended.out
    ended = loraml(*words, "--seeds", "0,1", "--axes", "n")
    assert (ended.status, ended.err) == (0, "")
    assert "8 runs computed now." in ended.out
    assert "fine-tuning by last-layer, n = 2, rank 1" in ended.out
    keys = [record.key for record in read_records(out)]
    assert len(keys) == 12
    assert {(key.seed, key.n) for key in keys} == {(seed, n) for seed in (0, 1) for n in (2, 3, None)}
    assert read_records(out)[0].provenance["command"].startswith("loraml vision --settings ")
    own.write_text(settings(epochs=3))
    refused = loraml(*words)
    assert refused.status == 2
    assert "settings.retraining.epochs: was 2, is now 3" in refused.err


def test_a_run_that_fails_is_named_and_ends_with_1(loraml: Loraml, own: Path, tmp_path: Path) -> None:
    own.write_text(settings(rate=1e30))
    words = ["--methods", "standard", "--finetune", "lora,last-layer", "--seeds", "0", "--out", tmp_path / "out"]
    ended = loraml("vision", "--settings", own, *words, "--workers", "1")
    assert ended.status == 1
    assert "failed: standard.seed-0--lora.rank-1.n-all.8-9: fine-tuning" in ended.out
    assert "1 run computed now" in ended.out


def test_the_example_is_a_settings_file(loraml: Loraml) -> None:
    for profile in ("cpu", "paper"):
        ended = loraml("vision", "--example", "--profile", profile)
        assert (ended.status, ended.err) == (0, "")
        assert set(tomllib.loads(ended.out)) == {
            *("data", "model", "retraining", "reptile", "fomaml", "fine_tuning", "grid", "axes")
        }


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--profile", "gpu"], "--profile: got 'gpu', expected cpu or paper"),
        (["--example", "--profile", "gpu"], "--profile: got 'gpu', expected cpu or paper"),
        (["--profile", "paper"], "--profile: got paper, which is not for the digits; add --data DIR with CIFAR-10"),
        (
            ["--methods", "magic"],
            "--methods: got 'magic', expected some of no-retraining, standard, standard-longer, lora-ml, grouped-lora, "
            "last-layer-ml, reptile, fomaml",
        ),
        (["--finetune", "all"], "--finetune: got 'all', expected some of lora, last-layer, full"),
        (["--seeds", "0,x"], "--seeds: got '0,x', expected whole numbers >= 0 with commas between them"),
        (["--axes", "seed"], "--axes: got 'seed', expected some of n, rank, quirk"),
        (["--mode", "mine"], "--mode: got 'mine', expected paper or reference"),
        (["--device", "tpu"], "--device: got 'tpu', expected auto, cpu or cuda"),
        (["--precision", "fp8"], "--precision: got 'fp8', expected no, bf16 or fp16"),
        (["--device", "cpu", "--precision", "fp16"], "--precision: got fp16, which needs a GPU; expected no or bf16"),
        (["--workers", "0"], "--workers: got '0', expected a whole number from 1 to 999"),
        (["--download"], "--download: expected --data DIR with it, the folder for CIFAR-10"),
        (["--settings", "none.toml"], "none.toml: cannot be read (No such file or directory)"),
        (["--settings", "bad.toml"], "bad.toml: model.width: got 'x', expected a whole number"),
        (["--data", "nowhere"], "nowhere: cannot be read (No such file or directory), expected train-*.parquet"),
        (["report", "nowhere"], "nowhere: holds no experiment (no experiment.json)"),
        (["report"], "Missing argument 'DIR'; see `loraml vision report --help`"),
        (["--out", "bad.toml"], "bad.toml: is a file, expected a folder or a new name"),
    ],
)
def test_what_is_wrong_is_one_line(loraml: Loraml, tmp_path: Path, words: Sequence[str], text: str) -> None:
    (tmp_path / "bad.toml").write_text('[model]\nwidth = "x"\n')
    ended = loraml("vision", *words)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"loraml: error: {text}")
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "reports" / "vision" / "runs").exists()


def test_a_missing_package_is_one_line(loraml: Loraml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments, "EXTRA", ("torch", "no_such_package"))
    ended = loraml("vision")
    assert ended.status == 2
    assert (
        ended.err
        == "loraml: error: experiments need no_such_package: pip install '.[realdata]' in a clone of loraml-theory\n"
    )


def test_the_report_of_a_folder(loraml: Loraml, tmp_path: Path) -> None:
    folder = experiment(tmp_path / "made", three_seeds())
    ended = loraml("vision", "report", folder)
    assert (ended.status, ended.err) == (0, "")
    assert "+25.0 [−37.1, +87.1]" in ended.out
    assert ended.out.endswith(f"Report: {folder / 'report.html'}\n")
    assert (folder / "report.html").exists()


def test_a_damaged_record_is_one_line(loraml: Loraml, tmp_path: Path) -> None:
    folder = experiment(tmp_path / "made", three_seeds())
    damaged = next((folder / "runs").iterdir())
    damaged.write_text("{")
    ended = loraml("vision", "report", folder)
    assert ended.status == 2
    assert ended.err.startswith(f"loraml: error: {damaged}: is not JSON: ")
    assert ended.err.endswith("; expected the JSON of a run; remove it and run again\n")
    assert ended.err.count("\n") == 1


@pytest.mark.long
def test_ctrl_c_is_one_line_whatever_the_processes_do(own: Path, tmp_path: Path) -> None:
    own.write_text(settings(epochs=2000))
    words = ["vision", "--settings", str(own), "--seeds", "0,1", "--out", str(tmp_path / "out"), *SMALL]
    code = "from paper_checks.cli import main\nif __name__ == '__main__': main()"
    script = tmp_path / "loraml.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, script, *words[:-1], "2"],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        while not (tmp_path / "out" / "experiment.json").exists():
            assert running.poll() is None
            time.sleep(0.05)
        time.sleep(0.5)  # its processes are starting or at work
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does, to all processes
        out, err = running.communicate(timeout=30)
    assert (running.returncode, out, err) == (130, "", "loraml: interrupted\n")


def test_help_names_every_option(loraml: Loraml) -> None:
    ended = loraml("vision", "--help")
    assert ended.status == 0
    for option in ("--data", "--download", "--mode", "--axes", "--precision", "--workers", "report"):
        assert option in ended.out
