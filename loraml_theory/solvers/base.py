"""What every solver returns, and the vector space its points live in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from array_api_compat import device

from loraml_theory.adapters import Parameters
from loraml_theory.libraries import array_namespace, total
from loraml_theory.objectives import Objective
from loraml_theory.structure import Array


class Status(IntEnum):
    """How a solver ended, per batch element."""

    CONVERGED = 0  # the gradient is at most the tolerance
    MAX_ITERATIONS = 1  # still descending when the iterations ran out
    STALLED = 2  # no step decreases the objective in floating point, the gradient still above the tolerance
    DIVERGED = 3  # a value is not finite


class ConvergenceError(ArithmeticError):
    """Raised with ``throw=True`` when some batch element did not converge."""


@dataclass(frozen=True, eq=False)
class Solution:
    """The end of a solver's run.

    Parameters
    ----------
    parameters
        The last point.
    value, gradient_norm
        Objective and Euclidean norm of its gradient there, ``(...)``.
    tolerance
        The gradient norm that counts as stationary, ``(...)``.
    status
        `Status` codes, int64, ``(...)``.
    iterations
        Number of outer iterations made.
    """

    parameters: Parameters
    value: Array
    gradient_norm: Array
    tolerance: Array
    status: Array
    iterations: int

    @property
    def converged(self) -> Array:
        """Whether the gradient is at most the tolerance, bool, ``(...)``."""
        return self.status == int(Status.CONVERGED)

    def require_converged(self) -> Solution:
        """Return self, or raise `ConvergenceError` with the number of elements in each status."""
        xp = array_namespace(self.status)
        if bool(xp.all(self.converged)):
            return self
        counts = ", ".join(f"{int(xp.sum(xp.astype(self.status == s, xp.int64)))} {s.name.lower()}" for s in Status)
        raise ConvergenceError(f"after {self.iterations} iterations: {counts}")


def finish(
    objective: Objective,
    at: Parameters,
    tolerance: Array,
    *,
    iterations: int,
    ended: Status | Array,
    throw: bool,
) -> Solution:
    """Evaluate the last point; its status is `ended`, one or one per element, unless stationary or not finite."""
    value = objective.value(at)
    xp = array_namespace(value)
    norm = gradient_norm(objective, objective.gradient(at))
    tolerance = xp.broadcast_to(tolerance, value.shape)
    finite = xp.isfinite(value) & xp.isfinite(norm)
    if isinstance(ended, Status):
        ended = xp.full(value.shape, int(ended), dtype=xp.int64, device=device(value))
    code = xp.where(norm <= tolerance, xp.full_like(ended, int(Status.CONVERGED)), ended)
    code = xp.where(finite, code, xp.full_like(code, int(Status.DIVERGED)))
    solution = Solution(at, value, norm, tolerance, code, iterations)
    return solution.require_converged() if throw else solution


def gradient_norm(objective: Objective, gradient: Parameters) -> Array:
    """Return the Euclidean norm over all parameters, ``(...)``."""
    flat = ravel(objective, gradient)
    return array_namespace(flat).sqrt(total(flat * flat, axis=-1))


def ravel(objective: Objective, point: Parameters) -> Array:
    """Flatten a point's core axes into one, ``(..., p)``."""
    parts = []
    for value, axes in zip(point, objective.core_axes, strict=True):
        if value is not None:
            xp = array_namespace(value)
            parts.append(xp.reshape(value, (*value.shape[: value.ndim - axes], -1)))
    return xp.concat(parts, axis=-1)


def unravel(objective: Objective, flat: Array, like: Parameters) -> Parameters:
    """Undo `ravel`: cut the last axis of `flat`, ``(..., p)``, into the core shapes of `like`."""
    xp = array_namespace(flat)
    arrays: list[Array] = []
    start = 0
    for value, axes in zip(like, objective.core_axes, strict=True):
        if value is None:
            arrays.append(None)
            continue
        core = tuple(value.shape[value.ndim - axes :])
        size = 1
        for length in core:
            size *= length
        arrays.append(xp.reshape(flat[..., start : start + size], (*flat.shape[:-1], *core)))
        start += size
    return Parameters(*arrays)
