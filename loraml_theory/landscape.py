"""Stationary points of an objective: their curvature, their kind, and descent directions."""

from __future__ import annotations

from typing import NamedTuple

from array_api_compat import device

from loraml_theory.adapters import Parameters
from loraml_theory.libraries import array_namespace
from loraml_theory.objectives import Objective
from loraml_theory.solvers.base import ravel, unravel
from loraml_theory.structure import Array, transpose


def hessian(objective: Objective, at: Parameters) -> Array:
    """Return the dense Hessian over all parameters, ``(..., p, p)``, column by column."""
    flat = ravel(objective, at)
    xp = array_namespace(flat)
    eye = xp.eye(int(flat.shape[-1]), dtype=flat.dtype, device=device(flat))
    columns = []
    for i in range(int(flat.shape[-1])):
        direction = unravel(objective, xp.broadcast_to(eye[i, :], flat.shape), at)
        columns.append(ravel(objective, objective.hessian_vector(at, direction)))
    H = xp.stack(columns, axis=-1)
    return (H + transpose(H)) / 2


def curvature(objective: Objective, at: Parameters) -> Array:
    """Return the eigenvalues of the Hessian, ascending, ``(..., p)``."""
    H = hessian(objective, at)
    return array_namespace(H).linalg.eigvalsh(H)


def directional_curvature(objective: Objective, at: Parameters, direction: Parameters) -> Array:
    """Return ``<v, H v> / ||v||^2``, ``(...)``: negative along a descent direction at a stationary point."""
    v = ravel(objective, direction)
    Hv = ravel(objective, objective.hessian_vector(at, direction))
    xp = array_namespace(v)
    return xp.sum(v * Hv, axis=-1) / xp.sum(v * v, axis=-1)


def most_negative_direction(objective: Objective, at: Parameters) -> Parameters:
    """Return the unit eigenvector of the Hessian's smallest eigenvalue, shaped like `at`."""
    H = hessian(objective, at)
    vectors = array_namespace(H).linalg.eigh(H)[1]
    return unravel(objective, vectors[..., 0], at)


def gauge_dimension(k: int, T: int) -> int:
    """Return ``T k (k-1) / 2``: zero eigenvalues that ``U_t -> U_t Q_t`` leaves where all U_t have rank k."""
    return T * k * (k - 1) // 2


class Escape(NamedTuple):
    """A direction (dU_1, dU_2), ``(..., 2, d, k)``, and the second-order term of g along it, ``(...)``."""

    direction: Array
    second_order: Array


def escape_direction(W: Array, U: Array) -> Escape:
    r"""Construct the descent direction at a stationary point that is not global, at T = 2 in the population (ML-4).

    With ``Delta = U_1 U_1^T - U_2 U_2^T - M``, M = W_1 - W_2, take the unit eigenvector v of Delta's smallest
    eigenvalue -lambda, and in the kernel of [U_1, U_2] the vector (z, -y) of largest ``||z||^2 - ||y||^2``.
    Along ``dU_1 = v a^T, dU_2 = v b^T`` with a = (1 + s) z, b = y the second-order term of g is

        1/2 ||U_1 a - U_2 b||^2 - 1/2 lambda (||a||^2 - ||b||^2)
        = -1/2 lambda (||z||^2 - ||y||^2) - 1/2 lambda (2s + s^2) ||z||^2 + 1/2 s^2 ||U_1 z||^2,

    negative for s = min(1, lambda ||z||^2 / (2 ||U_1 z||^2)), also if ||z|| = ||y||. The construction with
    the roles of the tasks exchanged serves Delta's largest eigenvalue; the lower of both is returned.

    Parameters
    ----------
    W
        Parameters of the two tasks, ``(..., 2, d, d)``.
    U
        A stationary point of `ProjectedLoRAML`, ``(..., 2, d, k)``.

    Returns
    -------
    The direction, scaled to norm 1, with its second-order term; at a global minimum the term is not negative.
    """
    xp = array_namespace(U)
    M = W[..., 0, :, :] - W[..., 1, :, :]
    M = (M + transpose(M)) / 2
    first, second = U[..., 0, :, :], U[..., 1, :, :]
    one = _escape_downwards(M, first, second)
    other = _escape_downwards(-M, second, first)
    swapped = xp.flip(other.direction, axis=-3)
    lower = other.second_order < one.second_order
    return Escape(
        xp.where(lower[..., None, None, None], swapped, one.direction),
        xp.where(lower, other.second_order, one.second_order),
    )


def _escape_downwards(M: Array, U_1: Array, U_2: Array) -> Escape:
    """Construct the direction for the smallest eigenvalue of ``U_1 U_1^T - U_2 U_2^T - M``."""
    xp = array_namespace(M)
    k = int(U_1.shape[-1])
    values, vectors = xp.linalg.eigh(U_1 @ transpose(U_1) - U_2 @ transpose(U_2) - M)
    decrease, v = -values[..., 0], vectors[..., 0]
    z, y = _kernel_vector(U_1, U_2, k)
    zz = xp.sum(z * z, axis=-1)
    image = xp.sum((U_1 @ z[..., None])[..., 0] ** 2, axis=-1)
    stretch = xp.where(
        image > 0, decrease * zz / (2 * xp.where(image > 0, image, xp.ones_like(image))), xp.ones_like(zz)
    )
    stretch = xp.clip(stretch, min=0.0, max=1.0)
    a, b = (1 + stretch)[..., None] * z, y
    length = xp.sqrt(xp.sum(a * a, axis=-1) + xp.sum(b * b, axis=-1))[..., None]
    a, b = a / length, b / length
    gap = (U_1 @ a[..., None] - U_2 @ b[..., None])[..., 0]
    # v . gap is 0 at a stationary point, where Delta U = 0; with it the term is exact at every point
    rise = xp.sum(gap * gap, axis=-1) + xp.sum(v * gap, axis=-1) ** 2
    term = (rise - decrease * (xp.sum(a * a, axis=-1) - xp.sum(b * b, axis=-1))) / 2
    direction = xp.stack([v[..., :, None] * a[..., None, :], v[..., :, None] * b[..., None, :]], axis=-3)
    return Escape(direction, term)


def _kernel_vector(U_1: Array, U_2: Array, k: int) -> tuple[Array, Array]:
    """Return (z, y), ``U_1 z = U_2 y`` to rounding, of joint length 1, largest ``||z||^2 - ||y||^2``."""
    xp = array_namespace(U_1)
    eye = xp.eye(k, dtype=U_1.dtype, device=device(U_1))
    joint = xp.concat([U_1, U_2], axis=-1)
    gram_values, basis = xp.linalg.eigh(transpose(joint) @ joint)
    cut = 1e-12 * gram_values[..., -1:]  # singular values below 1e-6 of the largest
    first = xp.arange(2 * k, device=device(joint)) == 0  # the kernel's best guess always counts as kernel
    outside = xp.astype((gram_values > cut) & ~first, joint.dtype)
    J = xp.concat([xp.concat([eye, 0 * eye], axis=-1), xp.concat([0 * eye, -eye], axis=-1)], axis=-2)
    inner = transpose(basis) @ J @ basis
    kept = 1 - outside
    inner = inner * kept[..., :, None] * kept[..., None, :]
    # directions outside the kernel get -2, below every eigenvalue of the form on the kernel
    inner = inner - 2 * outside[..., None, :] * xp.eye(2 * k, dtype=joint.dtype, device=device(joint))
    best = (basis @ xp.linalg.eigh(inner)[1][..., -1:])[..., 0]
    return best[..., :k], -best[..., k:]
