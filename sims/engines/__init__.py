"""Selection of an engine by name and device, or of the best available one; there is no silent fallback."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from loraml_theory.harness.errors import InputError, install
from sims.engines.engine import Engine

NAMES = ("auto", "cpu", "torch", "cupy")


def get(name: str = "auto", device: str | None = None) -> Engine:
    """Return an engine that is ready to run.

    Parameters
    ----------
    name
        "cpu" (numba), "torch", "cupy", or "auto": cupy where it is installed and there is a CUDA device, else cpu.
    device
        "cpu", "cuda", or "cuda:1" for the second card; by default the engine's own, for torch "cpu".

    Raises
    ------
    InputError
        If the engine is unknown or its packages are not installed, or the device is missing or unsuitable.
    """
    if name not in NAMES:
        raise InputError(f"engine: got {name!r}, expected one of {', '.join(NAMES)}")
    if device is not None and not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise InputError(f"device: got {device!r}, expected cpu, cuda or cuda:INDEX")
    if name == "auto":
        cupy = device != "cpu" if device else _cuda_is_there()
        name = "cupy" if cupy else "cpu"
    if name == "cpu" and device not in (None, "cpu"):
        raise InputError(f"engine cpu: runs on the device cpu, not on {device}; use the engine cupy or torch")
    if name == "cupy" and device == "cpu":
        raise InputError("engine cupy: runs on the device cuda, not on cpu; use the engine cpu or torch")
    if name == "cpu":
        return _load("cpu", "numba", extra="sims").CpuEngine()
    if name == "torch":
        return _load("torch", "torch", extra="torch").TorchEngine(device or "cpu")
    return _load("cupy", "cupy", extra="cupy").CupyEngine(device or "cuda")


def _load(name: str, needed: str, *, extra: str) -> ModuleType:
    """Import an engine's packages, then its module."""
    try:
        import_module(needed)
    except ImportError as error:
        raise InputError(f"engine {name}: needs {needed}, install it with: {install(extra)} ({error})") from error
    return import_module(f"sims.engines.{name}_engine")


def _cuda_is_there() -> bool:
    """Ask CuPy alone; a CUDA device without CuPy counts as none."""
    if find_spec("cupy") is None:
        return False
    return bool(import_module("cupy").cuda.is_available())
