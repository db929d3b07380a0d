"""Which engine runs, what is refused, and what all engines share."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from loraml_theory.adapters import Parameters
from loraml_theory.harness.errors import InputError
from loraml_theory.moments import Moments
from sims import engines
from sims.engines.engine import recorded_steps, require_batch


@pytest.mark.parametrize(("name", "device"), [("cpu", None), ("cpu", "cpu"), ("torch", None), ("torch", "cpu")])
def test_engine_asked_for_is_the_one_that_runs(name: str, device: str | None) -> None:
    pytest.importorskip({"cpu": "numba"}.get(name, name))
    engine = engines.get(name, device)
    assert (engine.name, engine.device) == (name, "cpu")


def test_auto_on_the_cpu() -> None:
    assert engines.get("auto", "cpu").name == "cpu"


def test_auto_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_cuda_is_there", lambda: False)
    assert engines.get().name == "cpu"


def test_auto_with_a_device_asks_for_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_cuda_is_there", lambda: True)
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(InputError, match=r"engine cupy: .*pip install '\.\[cupy\]'"):
        engines.get()


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("numpy", None, "engine: got 'numpy', expected one of auto, cpu, torch, cupy"),
        ("torch", "tpu", "device: got 'tpu', expected cpu, cuda or cuda:INDEX"),
        ("torch", "cuda:x", "device: got 'cuda:x'"),
        ("cpu", "cuda", "engine cpu: runs on the device cpu, not on cuda"),
        ("cupy", "cpu", "engine cupy: runs on the device cuda, not on cpu"),
    ],
)
def test_what_does_not_exist_is_refused(name: str, device: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        engines.get(name, device)


@pytest.mark.parametrize(
    ("name", "module", "extra"), [("cpu", "numba", "sims"), ("torch", "torch", "torch"), ("cupy", "cupy", "cupy")]
)
def test_what_is_not_installed_says_how(monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # its import fails
    with pytest.raises(InputError, match=rf"needs {module}, install it with: pip install '\.\[{extra}\]'"):
        engines.get(name)


def test_choosing_imports_nothing_heavy() -> None:
    program = "import sys, sims.engines; print(sorted({'numba', 'torch', 'cupy', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [
        (0, 0, [0]),
        (0, 3, [0]),
        (7, 0, [7]),
        (7, 3, [0, 3, 6, 7]),
        (6, 3, [0, 3, 6]),
        (2, 5, [0, 2]),
        (3, 1, [0, 1, 2, 3]),
    ],
)
def test_recorded_steps(steps: int, every: int, expected: list[int]) -> None:
    assert recorded_steps(steps, every).tolist() == expected


@pytest.mark.parametrize(("steps", "every"), [(-1, 0), (5, -1)])
def test_negative_steps_are_refused(steps: int, every: int) -> None:
    with pytest.raises(ValueError, match="expected whole numbers >= 0"):
        recorded_steps(steps, every)


def moments(*shape: int) -> Moments:
    return Moments(np.zeros(shape), np.zeros(shape), np.zeros(shape[:-2]), 10.0)


@pytest.mark.parametrize(
    ("given", "start", "base", "message"),
    [
        (moments(2, 5, 5), {}, None, r"moments: got S \(2, 5, 5\) and W \(2, 5, 5\), expected both \(B, T, d, d\)"),
        (moments(2, 3, 5, 5), {"A": (2, 5, 4)}, None, r"A: got shape \(2, 5, 4\), expected \(2, 5, 5\)"),
        (moments(2, 3, 5, 5), {"U": (2, 4, 5, 1)}, None, r"U: got shape .*, expected \(2, 3, 5, 1\)"),
        (moments(2, 3, 5, 5), {"U": (2, 3, 5, 1), "V": (2, 3, 5, 2)}, None, r"V: .*, expected \(2, 3, 5, 1\)"),
        (moments(2, 3, 5, 5), {}, (2, 5, 5), r"expected both \(B, d, d\)"),
        (moments(2, 5, 5), {"U": (2, 5, 1)}, (1, 5, 5), r"base: got shape \(1, 5, 5\), expected \(2, 5, 5\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(given: Moments, start: Any, base: Any, message: str) -> None:
    at = Parameters(**{name: np.zeros(shape) for name, shape in start.items()})
    with pytest.raises(ValueError, match=message):
        require_batch(given, at, base=None if base is None else np.zeros(base))
