r"""The least loss of fine-tuning at a rank, enclosed (FT-1), and the loss of a fit, exactly.

With the centred moments of a task, ``l(M) = 1/2 tr((M - W) S (M - W)^T)``, and ``W S^{1/2}`` has the squared singular
values ``lambda_i``, the eigenvalues of ``W S W^T``. By Eckart and Young the least loss over matrices of rank at most r
is ``1/2 sum_{i > r} lambda_i``. Floats are taken as exact, so ``W S W^T`` is rational.
"""

from __future__ import annotations

from flint import acb_mat, arb, ctx, fmpq

from loraml_theory.certified import balls
from loraml_theory.certified.gauge import Floats
from loraml_theory.exact.rational import matrix, rationals

PRECISION = 256  # bits


def least_loss(S: Floats, W: Floats, rank: int) -> tuple[fmpq, fmpq]:
    """Return bounds of the least loss over matrices of rank at most `rank`.

    Parameters
    ----------
    S, W
        Second moment of the inputs, ``(d_in, d_in)``, of which the symmetric part counts, and least-squares parameter,
        ``(d_out, d_in)``.
    rank
        From 0 to d_out.

    Raises
    ------
    ValueError
        If the eigenvalues cannot be isolated.
    """
    exact, S_exact = rationals(W), rationals(S)
    M = exact @ ((S_exact + S_exact.T) / 2) @ exact.T
    with ctx.workprec(PRECISION):
        values = [eigenvalue.real for eigenvalue in acb_mat(matrix(M)).eig()]
        values.sort(key=lambda ball: -float(ball.mid()))  # isolated: disjoint balls are in the order of their midpoints
        tail = sum(values[rank:], arb(0)) / 2
        return balls.below(tail), balls.above(tail)


def loss(S: Floats, W: Floats, fit: Floats) -> fmpq:
    """Return the loss of a fit, ``(d_out, d_in)``, exactly."""
    E = rationals(fit) - rationals(W)
    total: fmpq = ((E @ rationals(S)) * E).sum() / 2
    return total
