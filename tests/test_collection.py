"""Collected again, at another time and by another process, the tests have the same ids in the same order.

Each worker of pytest-xdist collects for itself; where their lists differ, none runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.conftest import COLLECTED

ROOT = Path(__file__).parent.parent
LATER = """
import sys, time
clock = time.time
time.time = lambda: clock() + 1e8
import pytest
left_out = [f"-pno:{name}" for name in ("xdist", "doctest", "hypothesispytest", "unraisableexception")]
options = ["--collect-only", "--quiet", "--no-cov", "--assert=plain", "--override-ini=addopts="]
sys.exit(pytest.main([*left_out, *options, *sys.argv[1:]]))
"""


def ids_later(folder: Path, files: list[str], scratch: Path) -> list[str]:
    """Collect files in three years, by another process that hashes otherwise and has another folder for scratch."""
    environment = {**os.environ, "PYTHONHASHSEED": "random", "TMPDIR": str(scratch)}
    command = [sys.executable, "-c", LATER, *files]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if "::" in line and not line.startswith("SKIPPED")]


@pytest.mark.long
def test_every_id_is_the_same_at_another_time(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Of the tests that this session collected; examples in docstrings are named by their module."""
    mine = [name for name in request.config.stash[COLLECTED] if name.startswith("tests/")]
    assert request.node.nodeid in mine
    files = list(dict.fromkeys(name.partition("::")[0] for name in mine))
    later = ids_later(ROOT, ["--run-long", *files], tmp_path)
    collected = set(mine)
    assert [name for name in later if name in collected] == mine


EXAMPLES = """
import gzip, tempfile, time, pytest
@pytest.mark.parametrize("value", [1, 0.5, "a"])
def test_steady(value): pass
@pytest.mark.parametrize("value", [gzip.compress(b"")])
def test_time_in_bytes(value): pass
@pytest.mark.parametrize("value", [time.time()])
def test_time(value): pass
@pytest.mark.parametrize("value", [str(object())])
def test_address(value): pass
@pytest.mark.parametrize("value", [tempfile.gettempdir()])
def test_folder(value): pass
@pytest.mark.parametrize("value", {str(i) for i in range(20)})
def test_order(value): pass
"""


@pytest.mark.long
def test_an_id_from_the_clock_an_address_or_a_hash_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(EXAMPLES)
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--no-cov", "test_it.py"]
    listed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    now, later = by_test(listed), by_test(ids_later(tmp_path, ["test_it.py"], tmp_path))
    assert len(now) == 6
    assert [test for test in now if now[test] == later[test]] == ["test_it.py::test_steady"]


def by_test(ids: list[str]) -> dict[str, list[str]]:
    parameters = defaultdict(list)
    for name in ids:
        if "::" in name:
            parameters[name.partition("[")[0]].append(name)
    return parameters
