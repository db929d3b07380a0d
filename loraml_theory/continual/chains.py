r"""One task after another in closed form: the shift after every task of a chain, and what it costs earlier ones.

Task t of T has its own moments; data of earlier tasks are gone. The base is fixed, and ``Delta_t``, the shift after
task t, is what adapters have learnt up to there. With ``l_t`` the loss of `Moments` the methods are

- `sequential`: one pair of factors, trained on, ``Delta_t = argmin_{rank <= r} l_t(base + Delta)`` (CL-1);
- `incremental`: a fresh pair for each task, ``Delta_t = Delta_{t-1} + argmin_{rank <= r} l_t(base + Delta_{t-1} + D)``
  (CL-4);
- `orthogonal`: the same with the rows of D orthogonal to those of all earlier updates (CL-5);
- `descent`: m steps of gradient descent on the full shift (CL-2), and `minimum_norm`, its limit (CL-7);
- `joint`: one shift for all tasks at once (CL-3).

`Moments` have the task as their last batch axis, ``(..., T, ...)``; shifts are ``(..., T, d_out, d_in)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from array_api_compat import device

from loraml_theory.arguments import require_count, require_kind, require_one_library, require_scale
from loraml_theory.closed_forms import reduced_rank_regression, standard_retraining
from loraml_theory.libraries import array_namespace
from loraml_theory.moments import Moments, symmetric_power
from loraml_theory.objectives import task_losses
from loraml_theory.spectra import rounding_level
from loraml_theory.structure import Array, frobenius, transpose

Step = Callable[[Moments, Array], Array]
"""Maps a task's moments around the base, and the shift so far, to the shift after it."""


def sequential(moments: Moments, base: Array, rank: int) -> Array:
    """Return the shifts of one pair of factors that reaches each task's best fit of rank at most `rank` (CL-1).

    The start does not matter where the fit is reached, so these are the shifts of one adapter for every task, too.
    """
    return _chain(moments, base, lambda task, _: reduced_rank_regression(task, rank))


def incremental(moments: Moments, base: Array, rank: int) -> Array:
    """Return the shifts of a fresh pair for each task, earlier ones frozen: repeated reduced-rank regression (CL-4)."""
    return _chain(moments, base, lambda task, shift: shift + reduced_rank_regression(task.around(shift), rank))


def orthogonal(moments: Moments, base: Array, rank: int) -> Array:
    r"""Return the shifts of O-LoRA with its constraint exact: an update's rows are orthogonal to earlier ones' (CL-5).

        D_t = [M S K]_r K,   K = N (N^T S N)^{-1/2} N^T,   M = W_t - base - Delta_{t-1},

    N an orthonormal basis of the complement of the earlier rows. The rows are those of the update D, so that a pair
    with more rank than its task needs occupies no more room than the task.
    """
    return _orthogonal_chain(moments, base, lambda task: reduced_rank_regression(task, rank))


def outside(task: Moments, occupied: Array) -> Moments:
    r"""Return moments whose loss is the task's on every M with ``M P = 0``, and whose minimisers have that property.

        S -> (I-P) S (I-P) + s P,   W -> W S (I-P) [(I-P) S (I-P)]^+,

    s the mean eigenvalue of S: since W P = 0, M P = 0 is best, and descent that starts with it keeps it.

    Parameters
    ----------
    task
        Moments without a task axis.
    occupied
        The orthogonal projector P, ``(..., d_in, d_in)``, to rounding.
    """
    xp = array_namespace(task.S)
    values, vectors = xp.linalg.eigh(occupied)
    taken = xp.astype(values > 0.5, task.S.dtype)[..., None, :]
    free, held = vectors * (1 - taken), vectors * taken
    Q = free @ transpose(free)
    size = xp.sum(xp.linalg.diagonal(task.S), axis=-1)[..., None, None] / task.S.shape[-1]
    S = Q @ task.S @ Q + size * (held @ transpose(held))
    W = task.C @ Q @ symmetric_power(S, -1)
    missed = replace(task, W=task.W - W)
    return replace(task, S=S, W=W, noise=task.noise + xp.sum(missed.C * missed.W, axis=(-2, -1)))


def descent(moments: Moments, base: Array, *, step_size: float, steps: int, orthogonal_rows: bool = False) -> Array:
    r"""Return the shifts of m steps of gradient descent on the full shift for each task (CL-2).

        Delta_t = Delta_{t-1} P_t + (W_t - base)(I - P_t),   P_t = (I - eta S_t)^m,

    so that with S_t = I and rho = (1 - eta)^m ``Delta_T = sum_t (1 - rho) rho^{T-t} (W_t - base)``. With orthogonal
    rows it is O-LoRA without a bound on the rank, and with S_t = I ends at 1 - rho times the converged chain (CL-5).

    Parameters
    ----------
    moments, base
        See the module.
    step_size
        eta > 0.
    steps
        m >= 0.
    orthogonal_rows
        Whether a task's update has rows orthogonal to those of all earlier updates.
    """
    require_scale("step_size", step_size, positive=True)
    steps = require_count("steps", steps, least=0)

    def update(task: Moments) -> Array:
        values, vectors = array_namespace(task.S).linalg.eigh(task.S)
        kept = (vectors * (1 - step_size * values)[..., None, :] ** steps) @ transpose(vectors)
        return task.W - task.W @ kept

    if orthogonal_rows:
        return _orthogonal_chain(moments, base, update)
    return _chain(moments, base, lambda task, shift: shift + update(task.around(shift)))


def minimum_norm(moments: Moments, base: Array) -> Array:
    """Return the shifts that fit each task on the range of its S with the smallest change: the limit of `descent`."""
    return _chain(moments, base, lambda task, shift: shift + task.around(shift).C @ symmetric_power(task.S, -1))


def joint(moments: Moments, base: Array, rank: int) -> Array:
    """Return the best single shift of rank at most `rank` for all tasks, ``(..., d_out, d_in)`` (CL-3)."""
    _require(moments, base)
    return reduced_rank_regression(pooled(moments).around(base), rank)


def pooled(moments: Moments) -> Moments:
    """Return the moments of all tasks' samples together: their loss is the mean of the tasks' losses over samples."""
    require_kind("moments", moments, Moments)
    xp, T = array_namespace(moments.W), int(moments.W.shape[-3])
    w = xp.asarray(moments.weights or [1.0] * T, dtype=moments.W.dtype, device=device(moments.W)) / T
    W = standard_retraining(moments)
    apart = moments.around(W[..., None, :, :])
    noise = xp.sum(w * (moments.noise + xp.sum(apart.C * apart.W, axis=(-2, -1))), axis=-1)
    n = sum(moments.n) if isinstance(moments.n, tuple) else T * moments.n
    return Moments(xp.sum(w[:, None, None] * moments.S, axis=-3), W, noise, n)


def loss_matrix(moments: Moments, base: Array, shifts: Array) -> Array:
    r"""Return every task's loss at the base and after every task, ``L[i, j] = l_j(base + Delta_i)``, ``(..., T+1, T)``.

    Row 0 is the base, ``Delta_0 = 0``; the scores of `scores` take the negative.
    """
    _require(moments, base)
    xp = array_namespace(shifts)
    base = base[..., None, :, :]
    rows = xp.concat([base, base + shifts], axis=-3)[..., :, None, :, :]
    every = Moments(
        moments.S[..., None, :, :, :], moments.W[..., None, :, :, :], moments.noise[..., None, :], moments.n
    )
    return task_losses(every, rows)


def forgotten(losses: Array) -> Array:
    r"""Return what each earlier task lost since it was learnt, ``F_j = L[T, j] - L[j, j]``, j < T, ``(..., T-1)``."""
    T = int(losses.shape[-1])
    return array_namespace(losses).stack([losses[..., T, j] - losses[..., j + 1, j] for j in range(T - 1)], axis=-1)


def _chain(moments: Moments, base: Array, step: Step) -> Array:
    _require(moments, base)
    xp = array_namespace(moments.W)
    around = moments.around(base[..., None, :, :])
    shift = xp.zeros_like(around.W[..., 0, :, :])
    shifts = []
    for t in range(int(moments.W.shape[-3])):
        shift = step(around.task(t), shift)
        shifts.append(shift)
    return xp.stack(shifts, axis=-3)


def _orthogonal_chain(moments: Moments, base: Array, update: Callable[[Moments], Array]) -> Array:
    """Chain the updates of each task's moments outside the rows of earlier updates."""
    _require(moments, base)
    room = Room(moments.around(base[..., None, :, :]))

    def step(task: Moments, shift: Array) -> Array:
        made = update(outside(task.around(shift), room.occupied))
        room.take(made)
        return shift + made

    return _chain(moments, base, step)


class Room:
    """The rows that updates of a chain occupy.

    Parameters
    ----------
    moments
        The tasks' moments around the base, whose size says what is rounding.

    Attributes
    ----------
    occupied
        The orthogonal projector on the rows, ``(..., d_in, d_in)``.
    """

    def __init__(self, moments: Moments) -> None:
        xp, d = array_namespace(moments.W), int(moments.W.shape[-1])
        self.level = 10 * rounding_level(xp.max(frobenius(moments.W), axis=-1), d)
        self.occupied = xp.zeros((*moments.W.shape[:-3], d, d), dtype=moments.W.dtype, device=device(moments.W))

    def take(self, update: Array) -> None:
        """Occupy the row space of an update that is orthogonal to what is occupied."""
        self.occupied = self.occupied + _row_projector(update, self.level)


def _row_projector(M: Array, level: Array) -> Array:
    """Return the projector on the row space of M, singular values up to `level` being rounding."""
    xp = array_namespace(M)
    _, values, right = xp.linalg.svd(M, full_matrices=False)
    rows = xp.astype(values > level[..., None], M.dtype)[..., None] * right
    return transpose(rows) @ rows


def _require(moments: Moments, base: Array) -> None:
    require_kind("moments", moments, Moments)
    require_one_library(moments=moments.W, base=base)
    if moments.W.ndim < 3 or base.shape[-2:] != moments.W.shape[-2:]:
        shapes = f"{tuple(moments.W.shape)} and {tuple(base.shape)}"
        raise ValueError(f"moments, base: got shapes {shapes}, expected (..., T, d_out, d_in) and (..., d_out, d_in)")
