"""What results are made with, and when."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from loraml_theory.harness.processes import cores

MISSING = "not installed"


def version(package: str) -> str:
    """Return the installed version of a package, or `MISSING`."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # also of this one, run from the repository
        return MISSING


def versions(*packages: str) -> dict[str, str]:
    """Return the version of Python and those of packages."""
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def environment(command: str) -> dict[str, Any]:
    """Say by which command, with what and when the results of a command are made."""
    return {
        "command": command,
        "date": now(),
        "version": version("loraml-theory"),
        **versions("numpy"),
        "packages": {name: version(name) for name in ("array-api-compat", "scikit-learn", "matplotlib")},
        "platform": platform.platform(),
        "cpu_count": cores(),
    }


def now() -> str:
    """Return date and time to the second, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
