"""Versions, platform, command and time of a result."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from loraml_theory.harness.processes import cores

MISSING = "not installed"


def version(package: str) -> str:
    """Return the installed version of a package, or `MISSING`."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # also this one, if it runs from the repository
        return MISSING


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python and of packages."""
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def environment(command: str) -> dict[str, Any]:
    """Return the command, the versions and the time of the results of a command."""
    return {
        "command": command,
        "date": now(),
        "version": version("loraml-theory"),
        "commit": commit(),
        **versions("numpy"),
        "packages": {name: version(name) for name in ("array-api-compat", "scikit-learn", "matplotlib")},
        "platform": platform.platform(),
        "cpu_count": cores(),
    }


def commit(folder: Path = Path(__file__).parents[2]) -> str | None:
    """Return the commit of the project's checkout, with ``-dirty`` if files were changed; None outside of one."""
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def now() -> str:
    """Return date and time to the second, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
