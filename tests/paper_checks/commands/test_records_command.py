"""`loraml verify --records`: claims on experiments beside the theorems, and what is wrong with records in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

from paper_checks.claims.nl_vision import CLAIM
from tests.paper_checks import fakes
from tests.paper_checks.conftest import Loraml
from tests.paper_checks.experiments import IN_ORDER, begun, runs, written

KNOWN = (fakes.claim(), CLAIM)
REVERSED = {key: 1 - value for key, value in IN_ORDER.items()}


def test_without_records_theorems_alone_are_checked_and_a_line_says_so(loraml: Loraml) -> None:
    ended = loraml("verify", known=KNOWN)
    assert ended.status == 0
    assert "1 supported; 2 of 2 controls refuted." in ended.out
    said = "Not checked without records, which `--records DIR` gives: NL-vision (`loraml vision --out DIR`)."
    assert said in " ".join(ended.out.split())
    (note,) = json.loads(loraml("verify", "--json", known=KNOWN).out)["notes"]
    assert note == said.rstrip(".")
    assert "NL-vision" not in loraml("verify", "--claim", "SR-1", known=KNOWN).out


def test_with_records_all_are_checked(loraml: Loraml, tmp_path: Path) -> None:
    folder = written(tmp_path / "runs", runs(IN_ORDER))
    ended = loraml("verify", "--records", folder, known=KNOWN)
    assert (ended.status, ended.err) == (0, "")
    assert "2 supported; 5 of 5 controls refuted." in ended.out
    said = " ".join(ended.out.split())
    assert "NL-vision Judged on digits, not CIFAR-10. Accuracy of the method claimed to be ahead" in said
    assert "3 values on 1 experiment as predicted." in said
    assert "left out" not in said


def test_the_claim_alone_in_the_schema_and_the_report(loraml: Loraml, tmp_path: Path) -> None:
    folder = written(tmp_path / "runs", runs(IN_ORDER), **begun(cifar=True))
    made = json.loads(loraml("verify", "--json", "--claim", "nl-vision", "--records", folder, known=KNOWN).out)
    (claim,) = made["claims"]
    assert (claim["verdict"], claim["nature"], made["real"]) == ("supported", "empirical", {})
    assert claim["reason"].startswith("Judged on CIFAR-10 with the paper's settings. ")
    page = (tmp_path / "reports/verify/report.html").read_text("utf-8")
    assert "lora-ml minus reptile, LoRA on all examples" in page


def test_neither_a_refutation_nor_a_missed_control_affects_the_exit_status(loraml: Loraml, tmp_path: Path) -> None:
    folder = written(tmp_path / "runs", runs(REVERSED))
    blunt = replace(CLAIM, controls=(replace(CLAIM.controls[0], what="no mutation at all", check=CLAIM.check),))
    ended = loraml("verify", "--claim", "NL-vision", "--records", folder, known=[blunt])
    assert (ended.status, ended.err) == (0, "")
    assert "1 refuted; 1 of 1 controls refuted." in ended.out
    folder = written(tmp_path / "others", runs(IN_ORDER))
    ended = loraml("verify", "--claim", "NL-vision", "--records", folder, known=[blunt])
    assert (ended.status, ended.err) == (0, "")
    assert "1 supported; 0 of 1 controls refuted." in ended.out
    assert "Control not refuted but supported on drawn records: no mutation at all." in " ".join(ended.out.split())


def test_a_theorem_beside_records_still_fails_the_run(loraml: Loraml, tmp_path: Path) -> None:
    folder = written(tmp_path / "runs", runs(IN_ORDER))
    known = (fakes.claim(check=fakes.measures_size(3.0)), CLAIM)
    assert loraml("verify", "--records", folder, known=known).status == 1


def test_several_folders_are_judged_together(loraml: Loraml, tmp_path: Path) -> None:
    one, other = (
        written(tmp_path / "one", runs(IN_ORDER)),
        written(tmp_path / "other", runs(REVERSED), **begun(cifar=True, profile="cpu")),
    )
    words = ("verify", "--json", "--claim", "NL-vision", "--records", one, "--records", other)
    (claim,) = json.loads(loraml(*words, known=KNOWN).out)["claims"]
    assert claim["verdict"] == "refuted"
    assert {item["instance"] for item in claim["evidence"]} == {str(one), str(other)}


def test_the_table_of_the_readme_counts_what_decides(
    loraml: Loraml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loraml("verify", "--records", written(tmp_path / "runs", runs(IN_ORDER) + runs(REVERSED, n=50)), known=KNOWN)
    monkeypatch.setattr("sys.argv", ["claim_table.py", "reports/verify/verdicts.json"])
    run_path(str(Path(__file__).parents[3] / "docs" / "claim_table.py"))
    rows = capsys.readouterr().out.splitlines()
    assert rows[2] == "| SR-1 | largest entry | `supported` | 2 of 2 | 2 of 2 |"
    assert rows[3] == "| NL-vision | Images: meta-learning with adapters is ahead | `supported` | 3 of 3 | 3 of 3 |"


def test_claims_lists_it(loraml: Loraml) -> None:
    ended = loraml("claims", known=KNOWN)
    assert "NL-vision" in ended.out
    assert "empirical" in ended.out
    assert "the opposite order" in loraml("claims", "nl-VISION", known=KNOWN).out


def damaged(folder: Path) -> None:
    (path, *_) = sorted((folder / "runs").iterdir())
    path.write_text(path.read_text("utf-8")[:100], "utf-8")


def emptied(folder: Path) -> None:
    for path in (folder / "runs").iterdir():
        path.unlink()


def other_test_set(folder: Path) -> None:
    path = folder / "runs" / "lora-ml.lora.rank-1.n-all.seed-0.ship-truck.json"
    document = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**document, "correct": "01"}), "utf-8")


def other_score(folder: Path) -> None:
    path = folder / "runs" / "lora-ml.lora.rank-1.n-all.seed-0.ship-truck.json"
    document = json.loads(path.read_text("utf-8"))
    scores = {name: {"recall": 0.5} for name in ("before", "last", "best")}
    path.write_text(json.dumps({**document, **scores}), "utf-8")


def rewritten(**changes: Any) -> Any:
    return lambda folder: (folder / "experiment.json").write_text(json.dumps({**begun(), **changes}), "utf-8")


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (damaged, "expected the JSON of a run; remove it and run again"),
        (emptied, "holds an experiment but no records"),
        (other_test_set, "2 examples"),
        (other_score, "has no score 'accuracy'"),
        (lambda folder: (folder / "experiment.json").unlink(), "holds no experiment"),
        (lambda folder: (folder / "experiment.json").write_text("{"), "experiment.json"),
        (rewritten(data=[]), "experiment.json: data: [] is not of type 'object'"),
        (rewritten(settings=3), "experiment.json: settings: 3 is not of type 'object'"),
        (rewritten(data={**begun()["data"], "tasks": {"a": {}}}), "does not name the images"),
        (rewritten(experiment="language"), "no requested claim is about an experiment 'language'"),
    ],
)
def test_records_that_cannot_be_used_are_one_line(loraml: Loraml, tmp_path: Path, harm: Any, text: str) -> None:
    folder = written(tmp_path / "runs", runs(IN_ORDER, seeds=[0, 1]))
    harm(folder)
    refused(loraml, "verify", "--records", folder, text=text)


def test_wrong_words_about_records_are_one_line(loraml: Loraml, tmp_path: Path) -> None:
    refused(loraml, "verify", "--claim", "SR-1,NL-vision", text="--claim: NL-vision needs records: `loraml vision")
    refused(loraml, "verify", "--records", tmp_path / "none", text="none: holds no experiment")
    (tmp_path / "file").write_text("")
    refused(loraml, "verify", "--records", tmp_path / "file", text="file")
    folder = written(tmp_path / "runs", runs(IN_ORDER))
    refused(loraml, "verify", "--claim", "SR-1", "--records", folder, text="no requested claim is about an experiment")


def test_a_folder_counts_once_and_keeps_its_report(loraml: Loraml, tmp_path: Path) -> None:
    folder = written(tmp_path / "runs", runs(IN_ORDER))
    (tmp_path / "link").symlink_to(folder)
    words = ("verify", "--records", folder, "--records", tmp_path / "link")
    refused(loraml, *words, text="twice, expected every folder once")
    (folder / "report.html").write_text("the experiment's")
    refused(loraml, "verify", "--records", folder, "--out", folder, text="which has its own report.html; expected")
    assert (folder / "report.html").read_text() == "the experiment's"


def refused(loraml: Loraml, *words: str | Path, text: str) -> None:
    ended = loraml(*words, known=KNOWN)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("loraml: error: --")
    assert ended.err.count("\n") == 1
    assert text in ended.err
    assert not Path("reports").exists()
