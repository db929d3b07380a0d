"""Options typed at a command take the place of the grid's values, and what makes no sense names the option."""

from __future__ import annotations

import pytest

from loraml_theory.harness.settings import SettingsError
from realdata.experiments.grid import GridSettings
from realdata.experiments.options import AxesSettings, Texts, wanted, workers

GRID = GridSettings(methods=("standard",), finetune=("lora",), seeds=(0,), n=(50, "all"))
AXES = AxesSettings(n=(10, 20, "all"), rank=(1, 4))


def test_what_is_not_typed_stays() -> None:
    assert wanted(GRID, AXES, texts=Texts(), switches=["b", "a"]) == (GRID, None)


def test_what_is_typed_takes_its_place() -> None:
    texts = Texts(methods="reptile, lora-ml", finetune="full", seeds="3,1", axes="rank,n", mode="reference")
    grid, quirks = wanted(GRID, AXES, texts=texts, switches=["b", "a"])
    assert grid == GridSettings(
        methods=("reptile", "lora-ml"),
        finetune=("full",),
        seeds=(3, 1),
        n=(10, 20, "all"),
        rank=(1, 4),
        quirks=("a", "b"),
    )
    assert quirks is None


def test_the_paper_s_mode_turns_switches_of_the_settings_off() -> None:
    grid = GridSettings(methods=("standard",), finetune=("lora",), seeds=(0,), quirks=("a",))
    assert wanted(grid, AXES, texts=Texts(mode="paper"), switches=["a"]).grid.quirks == ()
    assert wanted(grid, AXES, texts=Texts(), switches=["a"]).grid.quirks == ("a",)


def test_the_axis_of_switches() -> None:
    assert wanted(GRID, AXES, texts=Texts(axes="quirk"), switches=["a", "b"]).quirks == ((), ("a",), ("b",), ("a", "b"))


@pytest.mark.parametrize(
    ("texts", "text"),
    [
        (Texts(methods="standard,magic"), "--methods: got 'magic', expected some of no-retraining, standard, lora-ml"),
        (Texts(methods=" , "), "--methods: got ' , ', expected some of"),
        (Texts(methods="standard,standard"), "--methods: got 'standard' twice, expected every value once"),
        (Texts(finetune="none"), "--finetune: got 'none', expected some of lora, last-layer, full"),
        (Texts(seeds="1,-2"), "--seeds: got '1,-2', expected whole numbers >= 0 with commas between them"),
        (Texts(seeds=""), "--seeds: got ''"),
        (Texts(seeds="1,1"), "--seeds: got 1 twice"),
        (Texts(seeds="9" * 40), "--seeds: got '9999"),
        (Texts(axes="m"), "--axes: got 'm', expected some of n, rank, quirk"),
        (Texts(mode="both"), "--mode: got 'both', expected paper or reference"),
        (Texts(axes="quirk", mode="reference"), "--axes: got quirk, whose runs have none, each or all of them"),
    ],
)
def test_what_makes_no_sense_names_the_option(texts: Texts, text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        wanted(GRID, AXES, texts=texts, switches=["a"])
    assert str(refused.value).startswith(text)


def test_the_number_of_processes() -> None:
    assert workers("--workers", None) is None
    assert workers("--workers", "12") == 12
    for text in ("0", "-1", "1000", "two", "²", "1.0", ""):
        with pytest.raises(SettingsError, match="--workers: got"):
            workers("--workers", text)
