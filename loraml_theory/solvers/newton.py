"""Second-order solver: a trust-region Newton method whose steps come from truncated conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable

from loraml_theory.adapters import Linear, Parameters
from loraml_theory.libraries import array_namespace, total
from loraml_theory.objectives import Objective
from loraml_theory.solvers.base import Solution, Status, finish, ravel, unravel
from loraml_theory.structure import Array


def newton(
    objective: Objective,
    start: Parameters,
    *,
    relative_tolerance: float = 1e-12,
    max_iterations: int = 300,
    max_inner: int | None = None,
    throw: bool = False,
) -> Solution:
    r"""Minimise any objective to a gradient norm of ``relative_tolerance * objective.gradient_scale``.

    Steihaug's truncated conjugate gradients solve each trust-region problem approximately, with
    Hessian-vector products alone; directions of negative curvature are followed to the boundary. All batch
    elements advance together, each with its own radius, and rest once they are done.

    Parameters
    ----------
    objective
        Any objective.
    start
        Where to start; its axes before the objective's core axes are the batch.
    relative_tolerance
        For LoRA-ML in the population, 1e-12 means ``||grad|| <= 1e-12 max_t ||W_t||_F^{3/2}``.
    max_iterations
        Trust-region steps.
    max_inner
        Conjugate-gradient steps in each, twice the number of parameters if not given.
    throw
        Raise `ConvergenceError` instead of returning a status.

    Notes
    -----
    Where the predicted decrease drowns in the rounding of f, a step is judged by the gradient norm instead;
    that is what lets minima with f > 0 (ML-5) be found to full accuracy.
    """
    x = ravel(objective, start)
    xp = array_namespace(x)
    eps = float(xp.finfo(x.dtype).eps)

    def evaluate(x: Array) -> tuple[Array, Array]:
        at = unravel(objective, x, start)
        return objective.value(at), ravel(objective, objective.gradient(at))

    f, g = evaluate(x)
    scale = objective.gradient_scale
    tolerance = xp.broadcast_to(relative_tolerance * scale, f.shape)
    root_scale = xp.sqrt(xp.where(scale > 0, scale, xp.ones_like(scale)))
    radius = xp.where(_norm(x) > 0, _norm(x), xp.ones_like(f)) / 2
    smallest = eps * radius
    iterations = 0
    while iterations < max_iterations:
        active = (_norm(g) > tolerance) & (radius > smallest) & xp.isfinite(f)
        if not bool(xp.any(active)):
            break
        iterations += 1
        at = unravel(objective, x, start)
        linear = objective.linearise(at)

        def hessian(p: Array, linear: Linear = linear) -> Array:
            return ravel(objective, linear(unravel(objective, p, start)))

        forcing = xp.minimum(_norm(g) / 10, _norm(g) ** 1.5 / root_scale)
        step = _steihaug(
            hessian, g, radius, xp.maximum(forcing, tolerance / 10), active, max_inner or 2 * int(x.shape[-1])
        )
        predicted = -_dot(g, step) - _dot(step, hessian(step)) / 2
        f_new, g_new = evaluate(x + step)
        ratio = (f - f_new) / xp.where(predicted > 0, predicted, xp.ones_like(predicted))
        drowned = predicted <= 100 * eps * xp.abs(f)
        good = xp.where(drowned, _norm(g_new) < _norm(g), ratio > 1e-4) & xp.isfinite(f_new) & active
        trusted = xp.where(drowned, good, ratio > 0.75)
        at_boundary = _norm(step) > 0.9 * radius
        radius = xp.where(active & trusted & at_boundary, 2 * radius, radius)
        shrink = active & xp.where(drowned, ~good, ~(ratio > 0.25))  # also where the ratio is NaN
        radius = xp.where(shrink, xp.minimum(_norm(step), radius) / 4, radius)
        x = xp.where(good[..., None], x + step, x)
        g = xp.where(good[..., None], g_new, g)
        f = xp.where(good, f_new, f)
    stalled = xp.astype(radius <= smallest, xp.int64)  # the others ran out of iterations, or converged
    ended = stalled * int(Status.STALLED) + (1 - stalled) * int(Status.MAX_ITERATIONS)
    at = unravel(objective, x, start)
    return finish(objective, at, tolerance, iterations=iterations, ended=ended, throw=throw)


def _steihaug(
    hessian: Callable[[Array], Array],
    g: Array,
    radius: Array,
    tolerance: Array,
    active: Array,
    max_inner: int,
) -> Array:
    """Return an approximate minimiser of ``g.p + p.Hp/2`` over ``||p|| <= radius``; zero where not active."""
    xp = array_namespace(g)
    p, r = xp.zeros_like(g), -g
    direction, rr = r, _dot(r, r)
    for _ in range(max_inner):
        if not bool(xp.any(active)):
            break
        Hd = hessian(direction)
        curvature = _dot(direction, Hd)
        alpha = rr / xp.where(curvature > 0, curvature, xp.ones_like(curvature))
        beyond = (curvature <= 0) | (_norm(p + alpha[..., None] * direction) >= radius)
        step = xp.where(beyond, _to_boundary(p, direction, radius), alpha) if bool(xp.any(beyond)) else alpha
        p = xp.where(active[..., None], p + step[..., None] * direction, p)
        active = active & ~beyond
        r = xp.where(active[..., None], r - alpha[..., None] * Hd, r)
        new = _dot(r, r)
        active = active & (xp.sqrt(new) > tolerance)
        direction = xp.where(
            active[..., None],
            r + (new / xp.where(rr > 0, rr, xp.ones_like(rr)))[..., None] * direction,
            direction,
        )
        rr = new
    return p


def _to_boundary(p: Array, direction: Array, radius: Array) -> Array:
    """Return the tau >= 0 with ``||p + tau direction|| = radius``, for ``||p|| <= radius``."""
    xp = array_namespace(p)
    a, b, c = _dot(direction, direction), _dot(p, direction), radius**2 - _dot(p, p)
    root = xp.sqrt(xp.maximum(b * b + a * c, xp.zeros_like(a)))
    # the root without cancellation: c / (b + root) where b >= 0, (root - b) / a otherwise
    safe_a, safe_sum = xp.where(a > 0, a, xp.ones_like(a)), xp.where(b + root > 0, b + root, xp.ones_like(a))
    return xp.where(b >= 0, c / safe_sum, (root - b) / safe_a)


def _dot(a: Array, b: Array) -> Array:
    return total(a * b, axis=-1)


def _norm(a: Array) -> Array:
    return array_namespace(a).sqrt(_dot(a, a))
