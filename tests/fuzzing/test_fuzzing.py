"""Spoilt files end in status 0, or in status 2 with one line; and the fuzzer notices where they do not.

The fuzzer forks, so it runs in a process of its own, which has no threads.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.fuzzing.faulty import FAULTY
from tests.fuzzing.targets import TARGETS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork")


def ended(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_two_hundred_spoilt_inputs(name: str) -> None:
    done = ended("tests.fuzzing", name, "--inputs", "200")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert " of status 2" in done.stdout


@pytest.mark.long
def test_some_spoilt_inputs() -> None:
    done = ended("tests.fuzzing", "certify-check", "verify-shallow", "sweep", "--inputs", "15")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.count(" of status 2") == 3


@pytest.mark.long
def test_every_fault_is_noticed() -> None:
    done = ended("tests.fuzzing.faulty")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    for name, (_, fault) in FAULTY.items():
        assert any(fault in each for each in told[name]), name
    assert told["right"] == []
    assert told["overwritten"]
    assert all("was changed" in each for each in told["overwritten"])


def test_a_command_that_is_not_known_is_refused() -> None:
    assert "nothing is not one of: verify-structure" in ended("tests.fuzzing", "nothing").stderr
