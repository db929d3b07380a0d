"""Options of a command take the place of the grid's values, and what makes no sense names the option."""

from __future__ import annotations

import pytest

from loraml_theory.harness.errors import InputError
from realdata.experiments.grid import GridSettings
from realdata.experiments.options import Asked, AxesSettings, wanted

GRID = GridSettings(methods=("standard",), finetune=("lora",), seeds=(0,), n=(50, "all"))
AXES = AxesSettings(n=(10, 20, "all"), rank=(1, 4))


def test_what_is_not_typed_stays() -> None:
    assert wanted(GRID, AXES, asked=Asked(), switches=["b", "a"]) == (GRID, None)


def test_what_is_typed_takes_its_place() -> None:
    asked = Asked(methods=["reptile", "lora-ml"], finetune=["full"], seeds=[3, 1], axes=["rank", "n"], mode="reference")
    grid, quirks = wanted(GRID, AXES, asked=asked, switches=["b", "a"])
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
    assert wanted(grid, AXES, asked=Asked(mode="paper"), switches=["a"]).grid.quirks == ()
    assert wanted(grid, AXES, asked=Asked(), switches=["a"]).grid.quirks == ("a",)


def test_the_axis_of_switches() -> None:
    assert wanted(GRID, AXES, asked=Asked(axes=["quirk"]), switches=["a", "b"]).quirks == (
        (),
        ("a",),
        ("b",),
        ("a", "b"),
    )


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (
            Asked(methods=["standard", "magic"]),
            "--methods: got 'magic', expected some of no-retraining, standard, standard-longer",
        ),
        (Asked(methods=["standard", "standard"]), "--methods: got 'standard' twice, expected every value once"),
        (Asked(finetune=["none"]), "--finetune: got 'none', expected some of lora, last-layer, full"),
        (Asked(seeds=[1, 1]), "--seeds: got 1 twice"),
        (Asked(seeds=[10**18]), "--seeds: got 1000000000000000000, expected a whole number in 0..999999999999999999"),
        (Asked(axes=["m"]), "--axes: got 'm', expected some of n, rank, quirk"),
        (Asked(axes=["quirk"], mode="reference"), "--axes: got quirk, whose runs have none, each or all of them"),
    ],
)
def test_what_makes_no_sense_names_the_option(asked: Asked, text: str) -> None:
    with pytest.raises(InputError) as refused:
        wanted(GRID, AXES, asked=asked, switches=["a"])
    assert str(refused.value).startswith(text)
