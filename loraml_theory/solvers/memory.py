"""Limited-memory BFGS: past steps that turn a fixed preconditioner into a quasi-Newton direction."""

from __future__ import annotations

from loraml_theory.libraries import array_namespace, total
from loraml_theory.structure import Array, frobenius


class StepMemory:
    r"""The last steps s and changes of gradient y of a descent over matrices, each batch element on its own.

    Parameters
    ----------
    preconditioner
        ``(..., d_in, d_in)``, symmetric PSD: `direction` is ``-g @ preconditioner`` while nothing is
        remembered.
    length
        Number of steps remembered; 0 for none.

    Notes
    -----
    The two-loop recursion of L-BFGS (Nocedal and Wright, algorithm 7.4) with the preconditioner for its
    initial matrix. A pair without positive curvature is left out for its batch element alone.
    """

    def __init__(self, preconditioner: Array, length: int) -> None:
        self._preconditioner = preconditioner
        self._length = length
        self._pairs: list[tuple[Array, Array, Array]] = []

    def direction(self, gradient: Array) -> Array:
        """Return minus the remembered inverse curvature times the gradient, ``(..., d_out, d_in)``."""
        q, coefficients = gradient, []
        for s, y, inverse in reversed(self._pairs):
            coefficients.append(inverse * inner(s, q))
            q = q - coefficients[-1][..., None, None] * y
        q = q @ self._preconditioner
        for s, y, inverse in self._pairs:
            q = q + (coefficients.pop() - inverse * inner(y, q))[..., None, None] * s
        return -q

    def remember(self, s: Array, y: Array) -> None:
        """Add the step s, along which the gradient changed by y; forget the oldest beyond the length."""
        if self._length == 0:
            return
        xp = array_namespace(s)
        curvature = inner(s, y)
        usable = curvature > 1e-10 * frobenius(s) * frobenius(y)
        inverse = xp.where(usable, 1 / xp.where(usable, curvature, xp.ones_like(curvature)), xp.zeros_like(curvature))
        self._pairs = [*self._pairs, (s, y, inverse)][-self._length :]

    def forget(self, where: Array) -> None:
        """Drop all steps of the batch elements where the mask ``(...)`` is true."""
        xp = array_namespace(where)
        self._pairs = [(s, y, xp.where(where, xp.zeros_like(i), i)) for s, y, i in self._pairs]


def inner(first: Array, second: Array) -> Array:
    """Return ``<first, second> = tr(first^T second)``, ``(...)``."""
    return total(first * second, axis=(-2, -1))
