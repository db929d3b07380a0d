"""The interface of every engine: batches of independent trials in, iterates out.

Inputs and results are NumPy arrays of float64 on the host; an engine moves them to its device and back. All engines
follow the iterates of `loraml_theory.solvers` to 1e-9 relative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol

import numpy as np

from loraml_theory.adapters import Parameters
from loraml_theory.moments import Moments


@dataclass(frozen=True)
class Schedule:
    """Steps and step sizes of the paper's alternating gradient descent; see `alternating_gradient_descent`."""

    outer_steps: int = 3000
    outer_step_size: float = 3e-2
    inner_steps: int = 10
    inner_step_size: float = 3e-3


@dataclass(frozen=True, eq=False)
class Iterates:
    """The points of a descent at the recorded steps.

    Parameters
    ----------
    steps
        Step numbers, ``(records,)``, increasing; 0 is the start, the last is the end.
    A, U, V
        ``(records, B, ...)`` with the shapes of the start; None for what is not optimised.
    """

    steps: np.ndarray
    A: np.ndarray | None
    U: np.ndarray | None
    V: np.ndarray | None

    @property
    def end(self) -> Parameters:
        """The last point."""
        return Parameters(*(None if x is None else x[-1] for x in (self.A, self.U, self.V)))


def recorded_steps(steps: int, record_every: int) -> np.ndarray:
    """Return the steps to record, int64: 0, m, 2m, .. and the last for `record_every` = m > 0, else the last alone.

    Raises
    ------
    ValueError
        If a number is negative.
    """
    if steps < 0 or record_every < 0:
        raise ValueError(f"steps, record_every: got {steps} and {record_every}, expected whole numbers >= 0")
    if record_every == 0:
        return np.array([steps])
    return np.unique([*range(0, steps, record_every), steps])


def require_batch(moments: Moments, start: Parameters, *, base: np.ndarray | None = None) -> None:
    """Raise ValueError unless moments, start and base have the shapes documented in `Engine`.

    A start with U and no base is for retraining, one with U and a base for fine-tuning, one without U for standard
    retraining.
    """
    tasks = base is None
    shape = tuple(moments.W.shape)
    if len(shape) != 3 + tasks or shape[-1] != shape[-2] or tuple(moments.S.shape) != shape:
        got, wanted = f"S {tuple(moments.S.shape)} and W {shape}", "(B, T, d, d)" if tasks else "(B, d, d)"
        raise ValueError(f"moments: got {got}, expected both {wanted}")
    matrix, lead = (shape[0], *shape[-2:]), shape[:-1]
    rank = None if start.U is None else start.U.shape[-1]
    for name, value, expected in (
        ("base", base, matrix),
        ("A", start.A, matrix),
        ("U", start.U, (*lead, rank)),
        ("V", start.V, (*lead, rank)),
    ):
        if value is not None and tuple(value.shape) != expected:
            raise ValueError(f"{name}: got shape {tuple(value.shape)}, expected {expected}")


def map_arrays(move: Callable[[Any], Any], kind: type, value: Any) -> Any:
    """Return `value` with every array of type `kind` moved, inside tuples, lists, dicts and dataclasses as well."""
    if isinstance(value, kind):
        return move(value)
    if isinstance(value, dict):
        return {key: map_arrays(move, kind, item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        items = [map_arrays(move, kind, item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{f.name: map_arrays(move, kind, getattr(value, f.name)) for f in fields(value) if f.init})
    return value


class Engine(Protocol):
    """A way to run batches of trials.

    `record_every` = m > 0 records steps 0, m, 2m, .. and the last; 0 records the last only.
    """

    name: str
    device: str

    def retrain(self, moments: Moments, start: Parameters, schedule: Schedule, *, record_every: int = 0) -> Iterates:
        """Run the paper's LoRA-ML descent; moments ``(B, T, d, d)``, start A ``(B, d, d)`` and U ``(B, T, d, k)``."""
        ...

    def retrain_standard(
        self, moments: Moments, start: Parameters, *, steps: int, step_size: float, record_every: int = 0
    ) -> Iterates:
        """Run gradient descent on ``(1/T) sum_t l_t(A)`` from A ``(B, d, d)``."""
        ...

    def fine_tune(
        self,
        moments: Moments,
        base: np.ndarray,
        start: Parameters,
        *,
        steps: int,
        step_size: float,
        record_every: int = 0,
    ) -> Iterates:
        """Run gradient descent on ``l(base + U V^T)``; moments and base ``(B, d, d)``, U and V ``(B, d, r)``."""
        ...

    def evaluate(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call an array-API function of `loraml_theory` on the engine's device.

        Arrays, `Moments` and `Parameters` among the arguments are moved there in float64, results back to NumPy.
        """
        ...
