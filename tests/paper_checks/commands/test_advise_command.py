"""`loraml advise` prints, writes a page and JSON, and says in one line what is wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.paper_checks.conftest import Loraml
from tests.realdata.advisor.networks import planted, random


@pytest.mark.long
def test_the_command_says_what_it_found(loraml: Loraml, tmp_path: Path) -> None:
    ended = loraml("advise", *planted(tmp_path), "--out", tmp_path / "out", "--write-base", tmp_path / "b.safetensors")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("Use rank ")
    assert "What this cannot tell" in ended.out
    assert "2 of 2 analysed weights by theory" in " ".join(ended.out.split())
    found = json.loads((tmp_path / "out" / "advice.json").read_text("utf-8"))
    assert [layer["k"] for layer in found["layers"]] == [2, 2]
    assert found["provenance"]["command"].startswith("loraml advise")
    page = (tmp_path / "out" / "advice.html").read_text("utf-8")
    assert page.count("data:image/svg+xml") == 4
    assert "http" not in page.replace("https://arxiv.org", "").replace("http-equiv", "")
    assert (tmp_path / "b.safetensors").is_file()


@pytest.mark.long
def test_names_are_escaped(loraml: Loraml, tmp_path: Path) -> None:
    first, second = random(tmp_path, T=2)
    words = [first.replace("t0=", "<b>&=", 1), second]
    assert loraml("advise", *words, "--out", tmp_path / "out").status == 0
    page = (tmp_path / "out" / "advice.html").read_text("utf-8")
    assert "&lt;b&gt;&amp;" in page
    assert "<b>" not in page


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--rank", "0"], "--rank: got '0', expected a whole number >= 1 of at most 18 digits"),
        (["--rank", "two"], "--rank: got 'two', expected a whole number >= 1 of at most 18 digits"),
        (["--share", "100"], "--share: got '100', expected a number above 0, below 100"),
        (["--share", "nan"], "--share: got 'nan', expected a number above 0, below 100"),
        (["--seed", "-1"], "--seed: got '-1', expected a whole number >= 0 of at most 18 digits"),
        (["--base", "gone"], "gone: does not exist, expected a file or folder"),
        (["--write-base", "b.bin"], "--write-base: got 'b.bin', expected a name that ends in .safetensors"),
        (["--out", "."], "--out: got the current folder, expected another folder"),
        (["x"], "'x': expected NAME=PATH"),
        (["--ignore", "zzz"], "--ignore: 'zzz' does not match a weight, expected a pattern such as '*.classifier.*'"),
    ],
)
def test_wrong_options_are_one_line(loraml: Loraml, tmp_path: Path, options: list[str], text: str) -> None:
    ended = loraml("advise", *random(tmp_path, T=2), *options)
    assert (ended.status, ended.out, ended.err) == (2, "", f"loraml: error: {text}\n")


def test_no_task_is_a_usage_error(loraml: Loraml) -> None:
    ended = loraml("advise")
    assert ended.status == 2
    assert "NAME=PATH" in ended.err
    assert ended.err.count("\n") == 1


def test_a_full_disk_or_a_folder_in_the_way_is_one_line(loraml: Loraml, tmp_path: Path) -> None:
    (tmp_path / "b.safetensors").mkdir()
    ended = loraml("advise", *random(tmp_path, T=2), "--write-base", tmp_path / "b.safetensors")
    assert ended.status == 2
    assert "is a folder, expected the name of a file" in ended.err


def test_names_that_are_too_long_loops_and_pipes_are_one_line(loraml: Loraml, tmp_path: Path) -> None:
    (tmp_path / "loop.safetensors").symlink_to(tmp_path / "loop.safetensors")
    os.mkfifo(tmp_path / "pipe.safetensors")
    words, out = random(tmp_path, T=2), tmp_path / "out"
    for options in (
        ["--out", "o" * 4000],
        ["--out", tmp_path / "loop.safetensors"],
        ["--out", out, "--write-base", "o" * 4000 + ".safetensors"],
        ["--out", out, "--write-base", tmp_path / "loop.safetensors"],
        ["--out", out, "--write-base", tmp_path / "pipe.safetensors"],
        ["--out", out, "--base", "/dev/zero"],
        ["--out", out, f"x={'x' * 4000}"],
    ):
        ended = loraml("advise", *words, *options)
        assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1)
        assert len(ended.err) < 1100


def test_what_is_left_out_is_said_everywhere(loraml: Loraml, tmp_path: Path) -> None:
    words, out = planted(tmp_path), tmp_path / "out"
    more = {**load_file(tmp_path / "0.safetensors"), "head.weight": torch.ones(3, 3)}
    save_file(more, str(tmp_path / "0.safetensors"))
    ended = loraml("advise", *words, "--ignore", "two.*", "--out", out, "--write-base", tmp_path / "b.safetensors")
    said = " ".join(ended.out.split())
    assert ended.status == 0
    assert "Not compared: head.weight is not in all tasks: only t0 has it" in said
    assert "Not compared: two.weight is left out by --ignore 'two.*'" in said
    assert "Not analysed: one.bias is not a matrix" in said
    assert "Not in it: two.weight and 1 more" in said or "Not in it: head.weight and 1 more" in said
    found = json.loads((out / "advice.json").read_text("utf-8"))
    assert {skip["name"] for skip in found["skipped"] if not skip["compared"]} == {"head.weight", "two.weight"}
    page = (out / "advice.html").read_text("utf-8")
    assert "Not compared" in page
    assert "only t0 has it" in page
    assert "It lacks" in page
