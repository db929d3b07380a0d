"""What docs/trainer.md says of architectures is so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.realdata.peft_ml.architectures import ARCHITECTURES, COLUMNS, has_own_loss, made, row

PAGE = (Path(__file__).parents[3] / "docs" / "trainer.md").read_text("utf-8")
TABLE = [line for line in PAGE[PAGE.index("<!-- architectures:begin -->") :].splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_loss_is_the_sum_of_what_the_plain_model_takes_for_each_task(name: str) -> None:
    assert has_own_loss(name, made(name))


def test_the_table_has_a_line_for_each_architecture() -> None:
    assert TABLE[0] == f"| {' | '.join(COLUMNS)} |"
    assert len(TABLE) == 2 + len(ARCHITECTURES)


@pytest.mark.long
@pytest.mark.parametrize("place", range(len(ARCHITECTURES)), ids=list(ARCHITECTURES))
def test_the_table_says_what_is_found(place: int) -> None:
    assert TABLE[2 + place] == row(list(ARCHITECTURES)[place])
