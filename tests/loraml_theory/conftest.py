"""The array libraries that the theory runs on, as a fixture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import array_api_strict
import numpy as np
import pytest

from loraml_theory.moments import Moments
from loraml_theory.structure import GroundTruth


@dataclass(frozen=True)
class Backend:
    """An array library: conversion of arrays, and of whatever holds some, from NumPy and back."""

    name: str
    from_numpy: Callable[[np.ndarray], Any]
    to_numpy: Callable[[Any], np.ndarray]

    def put(self, value: Any) -> Any:
        return _map_arrays(value, self.from_numpy)

    def get(self, value: Any) -> Any:
        return _map_arrays(value, self.to_numpy)


def _map_arrays(value: Any, convert: Callable[[Any], Any]) -> Any:
    """Convert every array inside tuples, NamedTuples and the two dataclasses of arrays."""
    if isinstance(value, GroundTruth):
        return GroundTruth(convert(value.A_star), convert(value.U_star))
    if isinstance(value, Moments):
        return Moments(convert(value.S), convert(value.W), convert(value.noise), value.n)
    if isinstance(value, tuple):
        parts = [_map_arrays(part, convert) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return (
        value if isinstance(value, int | float | str | None) and not isinstance(value, np.generic) else convert(value)
    )


def strict() -> Backend:
    """array_api_strict, which has nothing beyond the standard, on a device that is not the default one.

    An array made without ``device=`` lands on the default device and raises when it meets the others.
    """
    device, host = array_api_strict.Device("device1"), array_api_strict.Device("CPU_DEVICE")
    return Backend(
        "array_api_strict",
        lambda a: array_api_strict.asarray(np.asarray(a), device=device),
        lambda a: np.asarray(a.to_device(host)),
    )


def torch() -> Backend:
    library = pytest.importorskip("torch")
    return Backend("torch", lambda a: library.asarray(np.asarray(a)), lambda a: np.asarray(a))


BACKENDS = {"array_api_strict": strict, "torch": torch}


@pytest.fixture(params=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> Backend:
    return BACKENDS[request.param]()
