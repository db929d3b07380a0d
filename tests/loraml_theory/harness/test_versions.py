"""Every result says by what it was made."""

from __future__ import annotations

import platform
from datetime import UTC, datetime, timedelta

import numpy as np

from loraml_theory.harness.versions import MISSING, environment, version


def test_an_environment_names_command_versions_and_time() -> None:
    found = environment("loraml verify")
    assert (found["command"], found["numpy"], found["python"]) == (
        "loraml verify",
        np.__version__,
        platform.python_version(),
    )
    age = datetime.now(UTC) - datetime.fromisoformat(found["date"])
    assert timedelta(seconds=-2) < age < timedelta(minutes=5)


def test_a_package_that_is_not_there_is_said_to_be_so() -> None:
    assert version("no-package-of-this-name") == MISSING
