"""The guards of conftest.py hold."""

from __future__ import annotations

import os
import socket
import warnings

import matplotlib
import pytest
from hypothesis import settings


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


def test_one_thread_and_no_display() -> None:
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
    assert matplotlib.get_backend().lower() == "agg"


def test_profiles() -> None:
    assert settings.get_profile("ci").derandomize
    assert settings.get_profile("thorough").max_examples == 10_000
    assert not settings.get_profile("thorough").derandomize
    assert not settings.get_profile("dev").derandomize
