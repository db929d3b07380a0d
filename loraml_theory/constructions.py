"""Instances from a few numbers: sizes, a spectrum and a seed; seed 0 gives the simplest instance of its kind."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from loraml_theory.adapters import Parameters
from loraml_theory.closed_forms import boost
from loraml_theory.moments import Moments
from loraml_theory.structure import GroundTruth

Floats: TypeAlias = NDArray[np.float64]
SpectrumShape: TypeAlias = Literal["even", "one large", "one small"]


def orthogonal_matrix(n: int, *, seed: int = 0) -> Floats:
    """Construct an orthogonal matrix, ``(n, n)``: the identity for seed 0, otherwise uniform on O(n).

    Examples
    --------
    >>> orthogonal_matrix(2)
    array([[1., 0.],
           [0., 1.]])
    """
    if seed == 0:
        return np.eye(n)
    Q, R = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))
    return Q * np.where(np.diag(R) < 0, -1.0, 1.0)


def truth_with_spectrum(
    *, d: int, k: int, T: int, spectrum: Sequence[float], seed: int = 0, free_test_task: bool = False
) -> GroundTruth:
    r"""Construct a truth whose joint factor ``[U_1*, ..., U_{T+1}*]`` has the singular values `spectrum`, and
    rank q.

    The factor is ``Q diag(spectrum) P`` with orthonormal columns of Q, ``(d, q)``, and rows of P,
    ``(q, k(T+1))``. Seed 0 is the simplest such truth instead: A* = 0, and column j is ``spectrum[j mod q]``
    times the unit vector ``e_{j mod q}``.

    Parameters
    ----------
    d, k, T
        Sizes.
    spectrum
        The q positive singular values, ``k <= q <= min(d, k(T+1))``.
    seed
        Seed of A*, Q and P.
    free_test_task
        Make `spectrum` that of the T retraining tasks' joint factor, ``q <= kT``, and draw the test task's
        factor freely: standard normal, for seed 0 the unit vectors that follow.

    Raises
    ------
    ValueError
        If the number of singular values does not fit.

    Examples
    --------
    >>> truth = truth_with_spectrum(d=4, k=1, T=2, spectrum=(1, 1, 2))
    >>> truth.U_star[..., 0]
    array([[1., 0., 0., 0.],
           [0., 1., 0., 0.],
           [0., 0., 2., 0.]])
    """
    tasks = T if free_test_task else T + 1
    values, q = np.asarray(spectrum, dtype=float), len(spectrum)
    if not k <= q <= min(d, k * tasks):
        raise ValueError(f"spectrum: got {q} values, expected {k} to {min(d, k * tasks)}")
    if seed == 0:
        column, base, Q = np.arange(k * tasks) % q, np.zeros((d, d)), np.eye(d)
        joint = (Q[:, :q] * values)[:, column]
        test = Q[:, (q + np.arange(k)) % d]
    else:
        rng = np.random.default_rng(seed)
        base, Q = rng.standard_normal((d, d)), orthogonal_matrix(d, seed=seed + 1)
        joint = (Q[:, :q] * values) @ orthogonal_matrix(k * tasks, seed=seed + 2)[:q]
        test = rng.standard_normal((d, k))
    if free_test_task:
        joint = np.concatenate([joint, test], axis=1)
    return GroundTruth(base, np.moveaxis(joint.reshape(d, T + 1, k), 1, 0).copy())


def integer_truth(*, d: int, k: int, T: int, rank: int, seed: int = 0, free_test_task: bool = False) -> GroundTruth:
    r"""Construct a truth of small whole numbers whose joint factor ``[U_1*, ..., U_{T+1}*]`` has this rank q.

    The factor is ``B P`` over the whole numbers: B, ``(d, q)``, is unit lower triangular up to the order of
    its rows, and block t of P, ``(q, k)``, has k rows, taken in turn, that form a unit upper triangular matrix.
    So the ranks, k for every task's factor, hold over the rational numbers. Seed 0 is the simplest
    such truth: A* = 0, and column j is the unit vector ``e_{j mod q}``.

    Parameters
    ----------
    d, k, T
        Sizes.
    rank
        q, ``k <= q <= min(d, k(T+1))``.
    seed
        Seed of the entries: A* from -9 to 9, B and P from -1 to 1.
    free_test_task
        Make `rank` that of the T retraining tasks' joint factor, ``q <= kT``, and draw the test task's factor by
        itself: for seed 0 the unit vectors that follow.

    Raises
    ------
    ValueError
        If `rank` is out of range.

    Examples
    --------
    >>> integer_truth(d=3, k=1, T=2, rank=2).U_star[..., 0]
    array([[1., 0., 0.],
           [0., 1., 0.],
           [1., 0., 0.]])
    """
    tasks = T if free_test_task else T + 1
    if not k <= rank <= min(d, k * tasks):
        raise ValueError(f"rank: got {rank}, expected {k} to {min(d, k * tasks)}")
    rng = np.random.default_rng(seed)
    size = 0 if seed == 0 else 1
    joint = _triangular(rng, (d, rank), size=size)
    order = np.arange(d) if seed == 0 else rng.permutation(d)
    U = np.zeros((T + 1, d, k))
    for t in range(tasks):
        chosen = joint[:, (t * k + np.arange(k)) % rank]
        U[t] = chosen[order] @ _triangular(rng, (k, k), size=size).T
    if free_test_task:
        U[T] = np.roll(_triangular(rng, (d, k), size=size), rank, axis=0)[order]
    return GroundTruth(rng.integers(-9 * size, 9 * size + 1, (d, d)).astype(float), U)


def _triangular(rng: np.random.Generator, shape: tuple[int, int], *, size: int) -> Floats:
    """Draw a unit lower triangular matrix of whole numbers up to `size`."""
    return np.tril(rng.integers(-size, size + 1, shape), -1) + np.eye(*shape)


def with_test_task(truth: GroundTruth, *, independent: bool = True, seed: int = 0) -> GroundTruth:
    """Return the truth with another unseen task.

    Parameters
    ----------
    truth
        Truth of NumPy arrays, without batch axes.
    independent
        Whether the new factor's columns are independent of all retraining factors, at a distance of 1 from their
        span; otherwise they lie in it.
    seed
        Seed of the factor; 0 for an orthonormal one.

    Raises
    ------
    ValueError
        If `independent` is true and the retraining factors leave fewer than k dimensions.

    Examples
    --------
    >>> truth = truth_with_spectrum(d=4, k=1, T=2, spectrum=(1, 1, 2))
    >>> abs(with_test_task(truth).U_star[-1].T @ truth.U_retraining).max() < 1e-12
    np.True_
    """
    left, values, _ = np.linalg.svd(np.concatenate(list(truth.U_retraining), axis=1))
    spanned = int(np.sum(values > truth.d * np.finfo(float).eps * values[0]))
    room = truth.d - spanned if independent else spanned
    if room < truth.k:
        raise ValueError(f"independent: got True where only {room} dimensions are left, expected k = {truth.k}")
    inside, outside = left[:, :spanned], left[:, spanned:]
    rng = np.random.default_rng(seed)
    frame = orthogonal_matrix(room, seed=seed)[:, : truth.k]
    new = (outside if independent else inside) @ frame
    if independent and seed:
        new = new + inside @ rng.standard_normal((spanned, truth.k))
    return GroundTruth(truth.A_star, np.concatenate([truth.U_retraining, new[None]]))


def spectrum_of(length: int, largest: float = 1.0, shape: SpectrumShape = "even") -> tuple[float, ...]:
    """Construct a descending spectrum from `largest` to 1.

    Parameters
    ----------
    length, largest
        Number of values and the first of them.
    shape
        ``even`` on a log axis, or all but the first (``one large``) or the last (``one small``) equal.

    Examples
    --------
    >>> spectrum_of(3, 4.0), spectrum_of(3, 4.0, "one small")
    ((4.0, 2.0, 1.0), (4.0, 4.0, 1.0))
    """
    place = np.arange(length)
    exponents = {
        "even": np.linspace(1, 0, length),
        "one large": (place == 0).astype(float),
        "one small": (place < length - 1).astype(float),
    }[shape]
    return tuple(float(value) for value in largest**exponents)


def moments_with_spectrum(
    *,
    d_out: int,
    tasks: int | None,
    spectrum: Sequence[float],
    n: float | tuple[float, ...] = inf,
    seed: int = 0,
) -> Moments:
    r"""Construct moments whose every ``S_t`` has the eigenvalues `spectrum`; zeros make S singular.

    Seed 0 is the simplest: S diagonal, W of ones, no noise. Otherwise S has uniformly drawn eigenvectors, W
    is standard normal with rows in the range of S, as least squares leaves it, and the noise is between 0 and
    1.

    Parameters
    ----------
    d_out
        Number of outputs; there are ``len(spectrum)`` inputs.
    tasks
        Length of the task axis; None for a single task without one.
    spectrum
        Eigenvalues >= 0 of each S_t.
    n
        Number of samples that the moments state.
    seed
        Seed of S's eigenvectors, W and the noise.

    Examples
    --------
    >>> moments_with_spectrum(d_out=1, tasks=None, spectrum=(1.0, 2.0)).C
    array([[1., 2.]])
    """
    values, d_in = np.asarray(spectrum, dtype=float), len(spectrum)
    lead = () if tasks is None else (tasks,)
    count = 1 if tasks is None else tasks
    if seed == 0:
        Q, W, noise = np.eye(d_in) + np.zeros((count, 1, 1)), np.ones((count, d_out, d_in)), np.zeros(count)
    else:
        rng = np.random.default_rng(seed)
        Q = np.stack([orthogonal_matrix(d_in, seed=int(s)) for s in rng.integers(1, 2**32, count)])
        W, noise = rng.standard_normal((count, d_out, d_in)), rng.uniform(0, 1, count)
    S = (Q * values) @ np.swapaxes(Q, -1, -2)
    W = W @ (Q * (values > 0)) @ np.swapaxes(Q, -1, -2)
    return Moments(S.reshape(*lead, d_in, d_in), W.reshape(*lead, d_out, d_in), noise.reshape(lead), n)


def boost_with(rapidities: Sequence[float], *, seed: int = 0) -> Floats:
    """Construct an element of O(k, k), k = ``len(rapidities)``; the orthogonal factors are identities for
    seed 0.

    Examples
    --------
    >>> boost_with((0.0,))
    array([[1., 0.],
           [0., 1.]])
    """
    k = len(rapidities)
    factors = np.stack([orthogonal_matrix(k, seed=seed and 4 * seed + i) for i in range(4)])
    H: Floats = boost(np.asarray(rapidities, dtype=float), factors[:2], factors[2:])
    return H


def point(
    *,
    d_out: int,
    d_in: int,
    rank: int,
    tasks: int | None,
    base: bool = True,
    symmetric: bool = False,
    scale: float = 1.0,
    seed: int = 0,
) -> Parameters:
    """Construct parameters: zeros and unit vectors for seed 0, otherwise `scale` times standard normal
    numbers.

    Parameters
    ----------
    d_out, d_in, rank, tasks
        Sizes; ``tasks=None`` leaves the task axis out, as fine-tuning does.
    base
        Whether A is among the parameters.
    symmetric
        Whether V is left out.
    scale, seed
        Scale and seed of the entries.
    """
    lead = () if tasks is None else (tasks,)
    if seed == 0:
        A, U, V = np.zeros((d_out, d_in)), np.eye(d_out, rank), np.eye(d_in, rank)
        U, V = U + np.zeros((*lead, 1, 1)), V + np.zeros((*lead, 1, 1))
    else:
        rng = np.random.default_rng(seed)
        A, U, V = (rng.standard_normal(s) for s in ((d_out, d_in), (*lead, d_out, rank), (*lead, d_in, rank)))
    return Parameters(scale * A if base else None, scale * U, None if symmetric else scale * V)
