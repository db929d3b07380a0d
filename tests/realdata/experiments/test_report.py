"""The page says what the records say, needs nothing else, and escapes what it is given."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from realdata.experiments.folder import Failure, opened
from realdata.experiments.records import Record
from realdata.experiments.report import ReportError, findings, write
from realdata.experiments.terminal import shown
from tests.realdata.experiments.made import experiment, key, record
from tests.realdata.experiments.test_tables import three_seeds

SWITCHES = {"warm-start": ("it starts <b>warm</b>", "it starts cold"), "augment-once": ("once", "always")}


class Text(HTMLParser):
    """The words of a page, and what it refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [
            value or "" for name, value in attrs if name in ("src", "srcset") or (tag, name) == ("link", "href")
        ]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @classmethod
    def of(cls, page: str) -> Text:
        found = cls()
        found.feed(page)
        return found

    @property
    def all(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def test_the_page_has_the_numbers(tmp_path: Path) -> None:
    write(experiment(tmp_path, three_seeds()), switches=SWITCHES)
    text = Text.of((tmp_path / "report.html").read_text()).all
    # by hand: differences 25, 50, 0 points, s = 25, half width 4.3027 * 25 / sqrt(3) = 62.1
    assert "fine-tuning by lora, n = all, rank 1 guessing 50.0 50.0 50.0 standard 50.0 ± 0.0 50.0 ± 14.4" in text
    assert "58.3 ± 8.3" in text
    assert "lora-ml 50.0 ± 0.0 75.0 ± 0.0 83.3 ± 8.3 +25.0 [−37.1, +87.1]" in text
    assert "600 / 38 400" in text
    assert "guessing scores 50" in text
    assert "2 retraining methods, 3 seeds, 6 fine-tuning runs" in text


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    write(experiment(tmp_path, three_seeds()), switches=SWITCHES)
    page = (tmp_path / "report.html").read_text()
    sources = Text.of(page).sources
    assert sources
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert "default-src 'none'" in page
    assert "<script" not in page


@pytest.mark.long
def test_everything_is_written(tmp_path: Path) -> None:
    write(experiment(tmp_path, three_seeds()), switches=SWITCHES)
    written = {path.name for path in tmp_path.iterdir()} - {"experiment.json", "runs"}
    assert written == {
        *("report.html", "results.csv", "results.md"),
        *("differences.png", "fine-tuning-curves.png", "retraining-curves.png"),
    }
    for path in tmp_path.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    assert "| lora-ml | 3 | 50.0 ± 0.0 | 75.0 ± 0.0 |" in (tmp_path / "results.md").read_text()
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 7


@pytest.mark.long
def test_the_page_is_the_same_every_time(tmp_path: Path) -> None:
    pages = []
    for name in "ab":
        write(experiment(tmp_path / name, three_seeds()), switches=SWITCHES)
        pages.append((tmp_path / name / "report.html").read_bytes())
    assert pages[0] == pages[1]


@pytest.mark.long
def test_axes_have_their_figures(tmp_path: Path) -> None:
    records = [
        record(key(method=method, n=n, rank=rank, seed=seed))
        for method in ("standard", "lora-ml")
        for n in (50, None)
        for rank in (1, 4)
        for seed in (0, 1)
    ]
    write(experiment(tmp_path, records), switches=SWITCHES)
    assert {"accuracy-n.png", "accuracy-rank.png"} <= {path.name for path in tmp_path.iterdir()}
    assert not (tmp_path / "quirks.png").exists()


def test_switches_are_compared_with_none(tmp_path: Path) -> None:
    records = [
        record(key(method="lora-ml", seed=seed, quirks=quirks), correct=text)
        for seed, texts in enumerate([("1100", "1111", "1110"), ("1100", "1110", "1110")])
        for quirks, text in zip([(), ("warm-start",), ("augment-once", "warm-start")], texts, strict=True)
    ]
    found = write(experiment(tmp_path, records), switches=SWITCHES)
    page = (tmp_path / "report.html").read_text()
    text = Text.of(page).all
    # by hand: 50 and 25 points, mean 37.5, half width 12.706 * 17.68 / sqrt(2) = 158.8
    assert "warm-start lora-ml +37.5 [−121.3, +196.3]" in text
    assert "all lora-ml +25.0 [+25.0, +25.0]" in text
    assert "It starts &lt;b&gt;warm&lt;/b&gt;. <span" in page
    assert (tmp_path / "quirks.png").exists()
    assert [group.title for group in found.scored[0].groups] == [
        "fine-tuning by lora, n = all, rank 1"
    ]  # of the runs without any


def test_one_seed_has_no_interval_and_says_so(tmp_path: Path) -> None:
    folder = experiment(tmp_path, [record(), record(key(method="lora-ml"), correct="1110", best=0.8)])
    found = write(folder, switches=SWITCHES)
    text = Text.of((tmp_path / "report.html").read_text()).all
    assert "One seed only: there is no interval over seeds, and a difference may be chance." in text
    assert "lora-ml 50.0 75.0 80.0 +25.0 [−54.6, +104.6] +5.0" in text  # ± 3.182 * 0.5 / 2, over four examples
    assert "One seed only" in shown(found)


def uneven() -> list[Record]:
    return [record(), record(key(seed=1)), record(key(method="lora-ml"))]


def test_lines_with_fewer_seeds_say_so(tmp_path: Path) -> None:
    write(experiment(tmp_path, uneven()), switches=SWITCHES)
    text = Text.of((tmp_path / "report.html").read_text()).all
    assert "Lines have from 1 to 2 seeds" in text
    assert "lora-ml 1 seeds" not in text
    assert "lora-ml 1 seed" in text


def test_failures_are_named(tmp_path: Path) -> None:
    experiment(tmp_path, three_seeds())
    with opened(tmp_path) as folder:
        folder.fail(Failure("reptile.seed-1", "diverged <at once>"))
    write(tmp_path, switches=SWITCHES)
    page = (tmp_path / "report.html").read_text()
    assert "<dt>reptile.seed-1</dt><dd>diverged &lt;at once&gt;</dd>" in page
    assert "1 of the jobs failed" in page


def test_what_a_folder_holds_is_escaped(tmp_path: Path) -> None:
    nasty = "<img src=x onerror=alert(1)>"
    experiment(tmp_path, [record(key(task=nasty))], data={"source": nasty}, settings={"data": {nasty: nasty}})
    write(tmp_path, switches=SWITCHES)
    assert nasty not in (tmp_path / "report.html").read_text()


def test_without_a_complete_run_there_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="has no complete run yet"):
        findings(experiment(tmp_path, []))


def test_the_terminal_s_table_fits_and_has_the_numbers(tmp_path: Path) -> None:
    lines = shown(findings(experiment(tmp_path, three_seeds()))).splitlines()
    assert max(map(len, lines[:5])) <= 100
    assert "+25.0 [−37.1, +87.1]" in lines[4]
    assert lines[2].split() == ["guessing", "50.0", "50.0", "50.0"]


def test_costs_have_parameters_by_rank_and_the_median_time_of_a_step(tmp_path: Path) -> None:
    def spent(method: str, rank: int, seed: int, parameters: int | None) -> Record:
        counted = {} if parameters is None else {"retraining_parameters": parameters}
        seconds = {"retraining_seconds": 60.0 * (1 + seed), "seconds": 5.0}
        return record(key(method=method, rank=rank, seed=seed), provenance={**seconds, **counted})

    records = [spent("lora-ml", rank, seed, 20_000 + 1_000 * rank) for rank in (1, 2) for seed in (0, 1, 2)]
    records += [spent("standard", rank, 0, None) for rank in (1, 2)]  # of before they were counted
    write(experiment(tmp_path, records), switches={})
    lines = (tmp_path / "results.md").read_text("utf-8").splitlines()
    assert "| retraining, lora-ml, rank 1 | 600 / 38 400 | 21 000 | 200 |" in lines
    assert "| retraining, lora-ml, rank 2 | 600 / 38 400 | 22 000 | 200 |" in lines
    assert "| retraining, standard | 600 / 38 400 |  | 100 |" in lines
    assert "| fine-tuning by lora, n = all | 25 / 2 500 |  | 200 |" in lines
