"""NL-shallow on runs with known errors: supported, refuted and left open, by axis; and on the command's files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paper_checks.claim import Control, Verdict, gather, judge
from paper_checks.claims.nl_shallow import CLAIM, drawn_runs, ordered
from paper_checks.evidence.evidence import Evidence, Outcome
from paper_checks.evidence.shallow_runs import ShallowRuns
from paper_checks.verify import ClaimResult, check
from sims.methods import COMPARED
from sims.shallow.tables import MEASURED, Paired, runs_csv
from tests.paper_checks import fakes
from tests.paper_checks.conftest import Loraml

KNOWN = (fakes.claim(), CLAIM)
Change = Callable[[Paired], Paired]


def checked(*given: ShallowRuns) -> ClaimResult:
    return check(CLAIM, given, fakes.QUICK, seed=0)


def changed(runs: ShallowRuns, axis: str, value: int, change: Change) -> ShallowRuns:
    pairs = [change(pair) if pair.value == value else pair for pair in runs.axes[axis]]
    return replace(runs, axes={**runs.axes, axis: pairs})


def scaled(ratio: float) -> Change:
    return lambda pair: replace(pair, standard=ratio * pair.meta)


def test_supported_where_every_interval_of_every_axis_is_above_nought() -> None:
    result = checked(ordered(0))
    deciding = [item for item in result.evidence if item.decides]
    assert result.verdict is Verdict.SUPPORTED
    assert len(deciding) == 5 + 4 * 3
    assert [item.measured for item in deciding] == pytest.approx([1.0] * 17, abs=0.2)
    assert {control.verdict for control in result.controls} == {Verdict.REFUTED}
    axes = "d supported; T supported; N supported; n supported; k supported"
    assert result.reason.startswith(
        f"Judged on 10 runs with the paper's settings. By axis: {axes}. Median of log10(SR / LoRA-ML), the ratio of"
    )
    assert result.reason.endswith("17 values on 1 experiment as predicted.")
    assert [note.text for note in result.notes] == axes.split("; ")
    assert len([item for item in result.evidence if not item.decides]) == 5


def test_intervals_are_the_extremes_of_ten_runs_and_hold_together() -> None:
    """There are 13 settings, as axes cross in one; ten runs cover a median with 1 - 2/1024."""
    runs = ordered(1)
    assert runs.distinct == 13
    item = checked(runs).evidence[0]
    pair = runs.axes["d"][0]
    logarithms = np.log10(pair.standard / pair.meta)
    assert item.interval == (logarithms.min(), logarithms.max())
    assert item.reason.startswith("none; between order statistics, 99.8 %; all")
    assert item.reason.endswith("if each has 99.62 %")
    assert 13 * 2 / 1024 < 0.05


def test_no_difference_is_hardly_ever_taken_for_one() -> None:
    """Of 200 studies 17 * 2/1024 = 3.3 % have an interval beyond 0: more than 22 such once in 100 000 times."""
    verdicts = [judge(gather(CLAIM.check, drawn_runs(s, ratio=1.0), fakes.QUICK)[0]) for s in range(200)]
    assert Verdict.SUPPORTED not in verdicts
    assert verdicts.count(Verdict.REFUTED) <= 22


def test_one_setting_of_the_opposite_order_refutes_its_axis_alone() -> None:
    result = checked(changed(ordered(2), "k", 3, scaled(0.5)))
    assert result.verdict is Verdict.REFUTED
    assert "n supported; k refuted, not shown at k = 3, rank 3 (0.5, 0.5 to 0.5)" in result.reason
    assert {control.verdict for control in result.controls} == {Verdict.REFUTED}


def test_one_open_setting_leaves_its_axis_open_however_clear_its_mean_is() -> None:
    def mixed(pair: Paired) -> Paired:
        return replace(pair, standard=pair.meta * np.array([0.9] + [20.0] * 9))

    result = checked(changed(ordered(3), "T", 2, mixed))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "T inconclusive, not shown at T = 2, rank 1 (20, 0.9 to 20), T = 2, rank 3 (20, 0.9 to 20)" in result.reason
    (whole,) = (item for item in result.evidence if "mean over the settings of T" in item.what)
    assert (whole.outcome, whole.decides) == (Outcome.AGREES, False)


@pytest.mark.parametrize("runs", [1, 2, 9])
def test_few_runs_decide_nothing(runs: int) -> None:
    result = checked(drawn_runs(0, ratio=100.0, runs=runs))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "too few" in result.reason


def test_a_run_that_diverged_and_missing_settings_decide_nothing() -> None:
    result = checked(changed(ordered(4), "n", 100, scaled(np.nan)))
    assert "n inconclusive, not shown at n = 100, rank 1 (nothing to compare)" in result.reason
    runs = ordered(5)
    fewer = replace(runs, axes={"T": [pair for pair in runs.axes["T"] if pair.rank == 1]})
    result = checked(fewer)
    assert "T inconclusive, not shown at T = 2, rank 3 (nothing to compare). Cannot be decided" in result.reason
    none = changed(runs, "k", 2, lambda pair: replace(pair, runs=(), meta=pair.meta[:0], standard=pair.meta[:0]))
    assert "k inconclusive, not shown at k = 2, rank 2 (nothing to compare)" in checked(none).reason


def test_settings_that_are_not_the_papers_are_named() -> None:
    def shorter(pair: Paired) -> Paired:
        return replace(pair, setting={**pair.setting, "epochs": 10, "solver": "second-order"})

    reason = checked(changed(ordered(6), "k", 3, shorter)).reason
    assert reason.startswith("Judged on 10 runs with settings that are not the paper's (epochs, solver). ")


def verdict_of(control: Control[ShallowRuns], on: ShallowRuns) -> Verdict:
    return judge(gather(control.check, on, fakes.QUICK)[0])


@pytest.mark.parametrize("control", CLAIM.controls, ids=[control.what for control in CLAIM.controls])
@pytest.mark.parametrize("seed", range(5))
def test_controls_are_refuted_on_their_own_runs(control: Control[ShallowRuns], seed: int) -> None:
    assert verdict_of(control, control.own_instance(seed)) is Verdict.REFUTED


def test_controls_that_are_true_are_not_refuted() -> None:
    behind, level, far = CLAIM.controls
    assert verdict_of(behind, drawn_runs(0, ratio=0.1)) is Verdict.SUPPORTED
    assert verdict_of(level, drawn_runs(0, ratio=1.0)) is Verdict.SUPPORTED
    assert verdict_of(far, drawn_runs(0, ratio=1e5)) is Verdict.SUPPORTED


def rows(pairs: list[Paired], axis: str) -> Iterator[dict[str, Any]]:
    for pair in pairs:
        for method, errors in zip(COMPARED, (pair.meta, pair.standard), strict=True):
            for (seed, run), error in zip(pair.runs, errors, strict=True):
                measured = dict.fromkeys(MEASURED, float(error))
                about = {"axis": axis, "value": pair.value, "method": method, "seed": seed, "run": run}
                yield {**about, **pair.setting, **measured, "engine": "cpu", "device": "cpu", "precision": "float32"}


def written(folder: Path, runs: ShallowRuns) -> Path:
    folder.mkdir(exist_ok=True)
    for axis, pairs in runs.axes.items():
        (folder / f"shallow-{axis}-runs.csv").write_text(runs_csv(rows([*pairs], axis)), "utf-8")
    return folder


def test_the_command_judges_the_tables_and_never_fails_for_it(loraml: Loraml, tmp_path: Path) -> None:
    words = ("verify", "--claim", "NL-shallow", "--records")
    ended = loraml(*words, written(tmp_path / "runs", drawn_runs(0, ratio=0.1)), known=KNOWN)
    assert (ended.status, ended.err) == (0, "")
    assert "1 refuted; 3 of 3 controls refuted." in ended.out
    runs = ordered(0)
    made = json.loads(loraml(*words, written(tmp_path / "others", runs), "--json", known=KNOWN).out)
    (claim,) = made["claims"]
    assert (claim["verdict"], claim["nature"]) == ("supported", "empirical")
    own = [item for item in checked(runs).evidence if isinstance(item, Evidence)]
    assert [item["measured"] for item in claim["evidence"]] == [item.measured for item in own]


def test_what_the_figure_command_writes_can_be_judged(loraml: Loraml, tmp_path: Path) -> None:
    brief = ("--runs", "2", "--epochs", "3", "--tuning-epochs", "2", "--out", tmp_path / "f")
    assert loraml("figure", "shallow", "--vary", "k", *brief).status == 0
    ended = loraml("verify", "--claim", "NL-shallow", "--records", tmp_path / "f", known=KNOWN)
    said = " ".join(ended.out.split())
    assert "Judged on 2 runs with settings that are not the paper's (epochs, tuning_epochs). By axis: k inconc" in said


def test_without_tables_a_line_says_how_to_make_them(loraml: Loraml) -> None:
    said = "NL-shallow needs records: `loraml figure shallow --vary all --out DIR`, then `loraml verify --records DIR`"
    made_by = "NL-shallow (`loraml figure shallow --vary all --out DIR`)"
    assert made_by in " ".join(loraml("verify", known=KNOWN).out.split())
    assert loraml("verify", "--claim", "NL-shallow", known=KNOWN).err == f"loraml: error: --claim: {said}\n"


def replaced(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new)


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (lambda text: text[: text.index("\n") + 30], "is not a table of runs"),
        (lambda text: "\x00\ud800".encode("utf-8", "surrogatepass").decode("latin-1") + text, "expected the columns"),
        (lambda text: text.partition("\n")[0] + "\n", "expected runs with k varied"),
        (replaced("k,1,", "k,2,"), "is not a table of runs (axis 'k', value 2)"),
        (replaced("k,1,", "T,3,"), "expected runs with k varied"),
        (lambda text: text + text.splitlines()[1] + "\n", "k = 1: run 0 of seed 0 occurs twice"),
        (lambda text: text.replace(",40000,", ",4,", 1), "k = 1, rank 1 comes with several settings"),
        (lambda text: text.replace("k,1,LoRA-ML,1,0,0", "k,1,LoRA-ML,1,0,x", 1), "is not a table of runs"),
    ],
)
def test_tables_that_cannot_be_used_are_one_line(
    loraml: Loraml, tmp_path: Path, harm: Callable[[str], str], text: str
) -> None:
    folder = written(tmp_path / "runs", ordered(0))
    path = folder / "shallow-k-runs.csv"
    path.write_text(harm(path.read_text("utf-8")), "utf-8")
    ended = loraml("verify", "--claim", "NL-shallow", "--records", folder, known=KNOWN)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"loraml: error: --records: {path}: ")
    assert text in ended.err
    assert ended.err.count("\n") == 1


def test_bytes_that_are_no_text_are_one_line(loraml: Loraml, tmp_path: Path) -> None:
    folder = written(tmp_path / "runs", ordered(0))
    (folder / "shallow-k-runs.csv").write_bytes(b"\xff\xfe\x00" * 50)
    ended = loraml("verify", "--claim", "NL-shallow", "--records", folder, known=KNOWN)
    assert ended.status == 2
    assert "begins with the byte order mark of UTF-16, expected a table of runs in UTF-8" in ended.err
    assert ended.err.count("\n") == 1
