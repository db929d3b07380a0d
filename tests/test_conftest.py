"""The guards of conftest.py hold."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib
import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_network_is_off(family: socket.AddressFamily) -> None:
    host = "192.0.2.1" if family == socket.AF_INET else "2001:db8::1"  # reserved for documentation
    with socket.socket(family) as sock, pytest.raises(RuntimeError, match=f"connection to {host} refused"):
        sock.connect((host, 80))


def test_loopback_is_reachable() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=5) as client,
    ):
        assert client.getpeername() == server.getsockname()


def test_warnings_are_errors() -> None:
    with pytest.raises(UserWarning, match="seen"):
        warnings.warn("seen", stacklevel=1)


def test_no_display() -> None:
    assert matplotlib.get_backend().lower() == "agg"


@pytest.mark.parametrize("given", [None, "4"])
def test_blas_has_one_thread_unless_told(given: str | None) -> None:
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= dict.fromkeys(names, given) if given else {}
    code = f"import os, tests.conftest; print(*(os.environ[name] for name in {names}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True)
    assert done.stdout.decode().split() == [given or "1"] * 3


def test_bytes_are_not_in_ids(request: pytest.FixtureRequest) -> None:
    """A test of that kind, whose bytes are from the clock, has the id that the argument's name gives."""
    hook = request.config.hook.pytest_make_parametrize_id
    assert hook(config=request.config, val=gzip.compress(b""), argname="data") == "data"


def test_profiles() -> None:
    assert settings.get_profile("ci").derandomize
    assert settings.get_profile("thorough").max_examples == 10_000
    assert not settings.get_profile("thorough").derandomize
    assert not settings.get_profile("dev").derandomize
