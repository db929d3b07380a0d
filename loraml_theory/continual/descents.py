r"""One task after another by gradient descent: on the full shift, and on factors, as adapters are trained."""

from __future__ import annotations

from typing import Literal, get_args

from array_api_compat import device

from loraml_theory.adapters import Parameters, shift
from loraml_theory.continual.chains import Room, outside
from loraml_theory.libraries import array_namespace
from loraml_theory.moments import Moments
from loraml_theory.objectives import FineTuning
from loraml_theory.solvers import gradient_descent
from loraml_theory.structure import Array, transpose

Method = Literal["sequential", "incremental", "orthogonal"]


def shift_descent(
    moments: Moments, base: Array, *, step_size: float, steps: int, orthogonal_rows: bool = False
) -> Array:
    r"""Return the shifts of m steps ``Delta <- Delta - eta (base + Delta - W_t) S_t`` for each task.

    The closed form is `chains.descent`, which explains the parameters.
    """
    around = moments.around(base[..., None, :, :])
    room, at = Room(around), array_namespace(base).zeros_like(around.W[..., 0, :, :])
    shifts = []
    for t in range(int(moments.W.shape[-3])):
        task = outside(around.task(t).around(at), room.occupied) if orthogonal_rows else around.task(t).around(at)
        update = array_namespace(at).zeros_like(at)
        for _ in range(steps):
            update = update - step_size * task.weigh(update - task.W)
        if orthogonal_rows:
            room.take(update)
        at = at + update
        shifts.append(at)
    return array_namespace(base).stack(shifts, axis=-3)


def factor_descent(
    moments: Moments, base: Array, start: Parameters, *, method: Method, step_size: float, steps: int
) -> Array:
    r"""Return the shifts of m steps of gradient descent for each task on ``l_t(base + frozen + B A)``.

        B <- B - eta G A^T,   A <- A - eta B^T G,   G = (base + frozen + B A - W_t) S_t

    `sequential` trains one pair on, ``frozen = 0``. `incremental` freezes the sum of the earlier pairs and starts a
    fresh one. `orthogonal` is `incremental` with the rows of A, all of them, kept orthogonal to those of the earlier A,
    as O-LoRA's penalty asks of ``A_i A_j^T``.

    Parameters
    ----------
    moments, base
        Tasks on the last batch axis, ``(..., T, ...)``, and the fixed base.
    start
        ``U = B`` and ``V = A^T``, ``(..., T, d_out, r)`` and ``(..., T, d_in, r)``: the start of each task's pair;
        `sequential` uses the first. LoRA starts with B = 0.
    method, step_size, steps
        Which pairs, eta, and m for each task.

    Returns
    -------
    The shift after every task, ``(..., T, d_out, d_in)``.

    Raises
    ------
    ValueError
        If the method is unknown, or the pairs of `orthogonal` do not fit into the input's dimension.
    """
    if method not in get_args(Method):
        raise ValueError(f"method: got {method!r}, expected one of {', '.join(get_args(Method))}")
    xp = array_namespace(moments.W)
    T, d, r = int(moments.W.shape[-3]), int(moments.W.shape[-1]), int(start.V.shape[-1])
    if method == "orthogonal" and r * T > d:
        raise ValueError(f"start: got T r = {r * T} rows, expected at most d_in = {d} for orthogonal pairs")
    occupied = xp.zeros((*moments.W.shape[:-3], d, d), dtype=moments.W.dtype, device=device(moments.W))
    frozen = xp.zeros_like(moments.W[..., 0, :, :])
    pair = Parameters(U=start.U[..., 0, :, :], V=start.V[..., 0, :, :])
    shifts = []
    for t in range(T):
        task = moments.task(t).around(base + frozen)
        if method != "sequential":
            pair = Parameters(U=start.U[..., t, :, :], V=start.V[..., t, :, :])
        if method == "orthogonal":
            task, pair = outside(task, occupied), pair._replace(V=pair.V - occupied @ pair.V)
        pair = gradient_descent(
            FineTuning(task, xp.zeros_like(frozen)), pair, steps=steps, step_size=step_size
        ).parameters
        shifts.append(frozen + shift(pair))
        if method != "sequential":
            frozen = shifts[-1]
        if method == "orthogonal":
            rows = xp.linalg.qr(pair.V)[0]
            occupied = occupied + rows @ transpose(rows)
    return xp.stack(shifts, axis=-3)
