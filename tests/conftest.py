"""What holds for every test: no network, one thread per worker, no display, known Hypothesis profiles, steady ids.

Warnings are errors by the settings in pyproject.toml.
"""

from __future__ import annotations

import os

# Read when the libraries are first imported. pytest-xdist runs one worker a core, so BLAS gets one thread unless told.
os.environ.update(
    {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    | dict(os.environ)
    | {"MPLBACKEND": "Agg", "HF_HUB_OFFLINE": "1"}
)

import signal
import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A loaded machine makes drawing slow without making a test wrong: no deadline, no health check on speed.
# Where the variable CI is set, Hypothesis makes every profile derandomised that does not say otherwise.
_patient = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
    max_examples=50,
    derandomize=False,
)
settings.register_profile("ci", _patient, derandomize=True)  # the same examples every run
settings.register_profile("dev", _patient)
settings.register_profile("thorough", _patient, max_examples=10_000)
settings.load_profile("ci")  # another one: pytest --hypothesis-profile=thorough


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-long", action="store_true", help="also run the tests marked long")
    parser.addoption("--run-slow", action="store_true", help="also run the tests marked long or slow")


COLLECTED = pytest.StashKey[list[str]]()  # the ids of all tests, before any is left out or moved


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are numbered, as arrays are: what a library writes may hold the time or the library's version."""
    return argname if isinstance(val, bytes) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[COLLECTED] = [item.nodeid for item in items]
    if not (config.getoption("--run-long") or config.getoption("--run-slow")):
        left_out = [item for item in items if item.get_closest_marker("long")]
        items[:] = [item for item in items if not item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left_out)
    for item in items:
        if item.get_closest_marker("slow") and not config.getoption("--run-slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with --run-slow"))


def _only_loopback(connect: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(sock: socket.socket, address: Any) -> Any:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])
            if not (host in ("localhost", "::1") or host.startswith("127.")):
                raise RuntimeError(f"tests run without network: connection to {host} refused")
        return connect(sock, address)

    return guarded


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as `make test &` starts it; processes of ours inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("connect", "connect_ex"):
        setattr(socket.socket, name, _only_loopback(getattr(socket.socket, name)))
