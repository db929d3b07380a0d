r"""Points of the objectives, and the calculus of the shifts ``U V^T`` or ``U U^T`` that adapters make."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from array_api_compat import device

from loraml_theory.libraries import array_namespace
from loraml_theory.structure import Array, transpose


class Parameters(NamedTuple):
    """A point, a gradient or a direction; a parameter that the objective does not optimise is None.

    ``A`` is ``(..., d_out, d_in)``. ``U`` and ``V`` are ``(..., T, d_out, r)`` and ``(..., T, d_in, r)`` in
    retraining, without the task axis in fine-tuning. ``V is None`` means symmetric adapters ``U U^T``.
    """

    A: Array = None
    U: Array = None
    V: Array = None


Linear: TypeAlias = Callable[[Parameters], Parameters]


def shift(adapters: Parameters) -> Array:
    """Return ``U V^T``, or ``U U^T`` for symmetric adapters."""
    V = adapters.U if adapters.V is None else adapters.V
    return adapters.U @ transpose(V)


def shift_derivative(at: Parameters, direction: Parameters) -> Array:
    """Return the derivative of `shift` along `direction`: ``dU V^T + U dV^T``."""
    if at.V is None:
        half = direction.U @ transpose(at.U)
        return half + transpose(half)
    return direction.U @ transpose(at.V) + at.U @ transpose(direction.V)


def pull_back(G: Array, adapters: Parameters) -> Parameters:
    """Return the gradient with respect to the adapters of ``<G, shift(adapters)>``."""
    if adapters.V is None:
        return Parameters(U=(G + transpose(G)) @ adapters.U)
    return Parameters(U=G @ adapters.V, V=transpose(G) @ adapters.U)


def curvature_terms(G: Array, dG: Array, at: Parameters, direction: Parameters) -> Parameters:
    """Return the derivative of ``pull_back(G, at)`` when G moves by dG and the adapters by `direction`."""
    first = pull_back(dG, at)
    if at.V is None:
        return Parameters(U=first.U + (G + transpose(G)) @ direction.U)
    return Parameters(U=first.U + G @ direction.V, V=first.V + transpose(G) @ direction.U)


def population_curvature(G: Array, U: Array, variance: float) -> Linear:
    r"""Return g's second derivative for symmetric adapters and ``S_t = s I`` in all T tasks.

    With ``[U] = [U_1 .. U_T]`` of shape (d, kT), ``K = [U]^T [U]``, ``L = [dU]^T [U]`` and the mask
    ``m = (block diagonal of ones) - 1/T`` the product with the change of ``U_t U_t^T`` less its mean over tasks is

        [dU] (m * K) + [U] (m * L),

    so that no product costs more than ``d (kT)^2`` or, for ``(G_t + G_t^T) dU_t``, ``d^2 kT``.
    """
    xp = array_namespace(U)
    T, k = int(U.shape[-3]), int(U.shape[-1])
    block = xp.reshape(xp.arange(T * k, device=device(U)), (-1, 1)) // k
    mask = variance * (2 * xp.astype(block == transpose(block), U.dtype) - 2 / T)
    joint = _side_by_side(U)
    gram = mask * (transpose(joint) @ joint)
    G = G + transpose(G)

    def derivative(direction: Parameters) -> Parameters:
        step = _side_by_side(direction.U)
        moved = step @ gram + joint @ (mask * (transpose(step) @ joint))
        apart = xp.reshape(moved, (*moved.shape[:-1], T, k))
        return Parameters(U=xp.moveaxis(apart, -2, -3) + G @ direction.U)

    return derivative


def _side_by_side(U: Array) -> Array:
    """Return ``[U_1 .. U_T]``, ``(..., T, d, k) -> (..., d, Tk)``."""
    xp = array_namespace(U)
    return xp.reshape(xp.moveaxis(U, -3, -2), (*U.shape[:-3], U.shape[-2], -1))
