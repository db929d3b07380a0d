"""Which engine runs: by name and device, or the best that is there; never another than the one asked for."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from sims.engine import Engine, EngineError

NAMES = ("auto", "cpu", "torch", "cupy")


def get(name: str = "auto", device: str | None = None) -> Engine:
    """Return an engine that is ready to run.

    Parameters
    ----------
    name
        "cpu" (numba), "torch", "cupy", or "auto": cupy where it is installed and a CUDA device is there, else cpu.
    device
        "cpu" or "cuda", or "cuda:1" for another card than the first; by default the engine's own, for torch "cpu".

    Raises
    ------
    EngineError
        If there is no such engine, what it needs is not installed, or the device is not there or not the engine's.
    """
    if name not in NAMES:
        raise EngineError(f"engine: got {name!r}, expected one of {', '.join(NAMES)}")
    kind = None if device is None else device.partition(":")[0]
    if kind not in (None, "cpu", "cuda"):
        raise EngineError(f"device: got {device!r}, expected cpu, cuda or cuda:INDEX")
    if name == "auto":
        name = "cpu" if kind == "cpu" or (kind is None and not _cuda_is_there()) else "cupy"
    if name == "cpu":
        if kind not in (None, "cpu"):
            raise EngineError(f"engine cpu: runs on the device cpu, not on {device}; use the engine cupy or torch")
        _require("numba", "cpu", "sims")
        return import_module("sims.cpu_engine").CpuEngine()
    if name == "torch":
        _require("torch", "torch", "torch")
        return import_module("sims.torch_engine").TorchEngine(device or "cpu")
    if kind == "cpu":
        raise EngineError("engine cupy: runs on the device cuda, not on cpu; use the engine cpu or torch")
    _require("cupy", "cupy", "cupy")
    return import_module("sims.cupy_engine").CupyEngine(device or "cuda")


def _require(module: str, engine: str, extra: str) -> None:
    if find_spec(module) is None:
        raise EngineError(
            f"engine {engine}: {module} is not installed; install it with: pip install 'loraml-theory[{extra}]'"
        )


def _cuda_is_there() -> bool:
    """Ask CuPy alone; a CUDA device without CuPy counts as none."""
    if find_spec("cupy") is None:
        return False
    return bool(import_module("cupy").cuda.is_available())
