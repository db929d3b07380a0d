r"""Retraining with adapters of a rank r above the shifts' rank k: the bases of zero loss (ML-8).

The formulas add, multiply and divide only, so that they hold for arrays of floats and of rationals alike.
"""

from __future__ import annotations

from loraml_theory.libraries import array_namespace
from loraml_theory.structure import Array, transpose


def tasks_needed(k: int, rank: int, *, symmetric: bool = True) -> int:
    r"""Return from how many independent tasks on adapters of rank r >= k leave no base outside the family (ML-8).

        r - k + 3 for symmetric adapters U U^T,   2 (r - k) + 3 for asymmetric ones U V^T

    Examples
    --------
    >>> tasks_needed(1, 1), tasks_needed(1, 8), tasks_needed(1, 8, symmetric=False)
    (3, 10, 17)
    """
    return (1 if symmetric else 2) * (rank - k) + 3


def family_dimension(d: int, excess: int) -> int:
    """Return the dimension of ``{P P^T : P of shape (d, r - k)}``, ``d (r - k) - (r - k)(r - k - 1) / 2``."""
    return d * excess - excess * (excess - 1) // 2


def family_point(A_star: Array, U_star: Array, P: Array) -> tuple[Array, Array]:
    r"""Return the minimiser ``A = A* - P P^T``, ``U_t = [U_t*, P]`` of LoRA-ML with adapters of rank r.

    Parameters
    ----------
    A_star, U_star
        The base, ``(..., d, d)``, and the factors of any tasks, ``(..., T, d, k)``.
    P
        ``(..., d, r - k)``.
    """
    xp = array_namespace(U_star)
    shared = xp.broadcast_to(P[..., None, :, :], (*U_star.shape[:-1], P.shape[-1]))
    return A_star - P @ transpose(P), xp.concat([U_star, shared], axis=-1)


def outside_family(U_star: Array) -> Array:
    r"""Return an indefinite N, ``(..., d, d)``, for which all ``N + R_t*`` are positive semidefinite of rank k + T - 2.

        N = sum_t u_t u_t^T - 2 / (2T - 1) s s^T,   s = sum_t u_t,   u_t the first column of U_t*

    ``A* - N`` is then a base of zero loss for adapters of that rank, and not of the family: T tasks do not suffice. It
    is ``u F^{-1} u^T`` with ``F = I - 2 J``, J the matrix of ones.
    """
    T = int(U_star.shape[-3])
    columns = [U_star[..., t, :, :1] for t in range(T)]
    total = sum(columns[1:], columns[0])
    squares = [u @ transpose(u) for u in columns]
    return sum(squares[1:], squares[0]) - (total @ transpose(total)) * 2 / (2 * T - 1)


def outside_asymmetric_family(U_star: Array) -> Array:
    r"""Return an N of rank q, ``(..., d, d)``, for which the ``N + R_t*`` of 2q tasks have rank k + q - 1.

        N = - sum_{i <= q} u_i u_{q+i}^T,   u_t the first column of U_t*

    Asymmetric adapters of rank r = k + q - 1 have zero loss at ``A* - N``; their family has N of rank r - k = q - 1.

    Parameters
    ----------
    U_star
        Factors of the 2q tasks, ``(..., 2q, d, k)``.
    """
    q = int(U_star.shape[-3]) // 2
    products = [U_star[..., i, :, :1] @ transpose(U_star[..., q + i, :, :1]) for i in range(q)]
    return -sum(products[1:], products[0])
