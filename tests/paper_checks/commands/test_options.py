"""Parsers of options take what they say, refuse the rest in one form, and know the words of the parts they serve."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import typer

from paper_checks.commands import experiments, figure, options, rates, sweep
from paper_checks.commands.options import listed, one_of, real, whole, whole_numbers

SEEDS = whole_numbers("whole numbers >= 0 with commas between them")
SIZES = whole_numbers("three whole numbers d,k,T", count=3)
WORDS = one_of(options.ProfileName, "what").parser


@pytest.mark.parametrize(
    ("parser", "text", "value"),
    [
        (whole(), "0", 0),
        (whole(), "007", 7),
        (whole(), "9" * 18, 10**18 - 1),
        (whole(1, 12), "12", 12),
        (whole(1), 3, 3),  # a default
        (real(above=0, at_most=0.5), "0.5", 0.5),
        (real(above=0, below=100), " 1e-3 ", 1e-3),
        (SEEDS, " 3 , 1", (3, 1)),
        (SIZES, "4,1, 3", (4, 1, 3)),
        (listed("names", str), " a, b,,", ("a", "b")),
        (listed("names", str), None, None),
        (WORDS, "full", "full"),
    ],
)
def test_values(parser: Any, text: Any, value: Any) -> None:
    assert parser(text) == value


NUMBERS = ("-1", "+1", "1.0", "1_0", "²", "", " 1", "two", "9" * 19)


@pytest.mark.parametrize(
    ("parser", "text", "expected"),
    [
        *((whole(), text, "a whole number >= 0 of at most 18 digits") for text in NUMBERS),
        *((whole(1, 999), text, "a whole number from 1 to 999") for text in (*NUMBERS, "0", "1000")),
        *(
            (real(above=0, at_most=0.5), text, "a number above 0, at most 0.5")
            for text in ("0", "0.51", "nan", "x", "")
        ),
        *((real(above=0, below=100), text, "a number above 0, below 100") for text in ("-0", "100", "inf", "nan")),
        *((SEEDS, text, "whole numbers >= 0 with commas between them") for text in ("1,-2", "", "0,", "0;1", "9" * 40)),
        *((SIZES, text, "three whole numbers d,k,T") for text in ("4,1", "4,1,3,", "4,one,3")),
        *((listed("names", str), text, "names with commas between them") for text in ("", " , ")),
        *((WORDS, text, "quick or full") for text in ("Quick", "", "slow")),
    ],
)
def test_what_is_refused(parser: Any, text: str, expected: str) -> None:
    with pytest.raises(typer.BadParameter) as refused:
        parser(text)
    assert refused.value.message == f"got {text!r}, expected {expected}"


def test_words_are_those_of_the_parts() -> None:
    from paper_checks.claim import PROFILES
    from realdata.language.settings import PROFILES as DIALOGUE_PROFILES
    from realdata.vision.settings import PROFILES as IMAGE_PROFILES
    from sims import engines
    from sims.atlas.landscape import SCALES
    from sims.linear.settings import VALUES, VARIANTS
    from sims.rates.tables import STATISTICS
    from sims.shallow import descent, settings

    assert get_args(options.ProfileName) == tuple(PROFILES) == tuple(SCALES)
    assert get_args(options.EngineName) == engines.NAMES
    assert get_args(experiments.ProfileName) == IMAGE_PROFILES == DIALOGUE_PROFILES
    assert get_args(figure.AxisName) == (*VALUES, "all") == (*settings.VALUES, "all")
    assert get_args(figure.VariantName) == tuple(VARIANTS) == tuple(settings.VARIANTS)
    assert get_args(figure.SolverName) == settings.SOLVERS
    assert get_args(figure.DescentName) == descent.NAMES
    assert get_args(figure.PrecisionName) == descent.PRECISIONS
    assert get_args(rates.Statistic) == tuple(STATISTICS)
    assert get_args(sweep.ExecutorName) == ("local", "dask")
