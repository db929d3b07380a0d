"""`loraml --help`: what it is for, the commands in the order a newcomer needs them, and no heavy import."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from paper_checks.commands.program import PANELS
from tests.paper_checks.conftest import Loraml

ROOT = Path(__file__).parents[3]
HEAVY = (
    *("numpy", "scipy", "sklearn", "matplotlib", "numba", "torch", "cupy", "pyarrow", "transformers", "peft"),
    *("jinja2", "jsonschema", "flint", "distributed", "pydantic", "PIL", "sims", "realdata"),
)
HELP = """
import sys
from paper_checks.cli import main
try:
    main(["--help"])
finally:
    print("imported:", *sorted(set(sys.argv[1:]) & set(sys.modules)))
"""


def test_help_imports_nothing_heavy() -> None:
    words = [sys.executable, "-c", HELP, *HEAVY]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported:"


def test_the_commands_are_in_the_order_a_newcomer_needs_them(loraml: Loraml) -> None:
    said = loraml("--help").out
    places = [said.index(f" {word} ") for panel in PANELS for word in (panel, *PANELS[panel])]
    assert places == sorted(places)
    assert [name for commands in PANELS.values() for name in commands] == [
        *("verify", "claims", "structure", "certify", "sweep", "rates", "figure", "atlas", "landscape"),
        *("retrain", "advise", "vision", "language", "continual", "power", "records"),
    ]


def test_help_says_what_the_program_is_for_and_ends_with_two_examples(loraml: Loraml) -> None:
    said = " ".join(loraml("--help").out.split())
    assert "Check the theory of meta-learning with low-rank adaptations (LoRA-ML), simulate it, and apply it" in said
    assert said.partition("Examples:")[2].count("loraml ") == 2


@pytest.mark.parametrize(
    "command", [(), ("figure",), ("certify",), ("vision",), ("language",), ("records",)], ids=" ".join
)
def test_every_command_has_a_help(loraml: Loraml, command: tuple[str, ...]) -> None:
    names = re.findall(
        r"^│ (\w+) ", loraml(*command, "--help").out.partition("─ Commands" if command else "─ Check")[2], re.M
    )
    assert names
    for name in names:
        ended = loraml(*command, name, "--help")
        assert (ended.status, ended.err) == (0, "")
        assert f"Usage: loraml {' '.join((*command, name))}" in " ".join(ended.out.split())
