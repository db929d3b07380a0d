r"""Scores of continual adaptation from the matrix of accuracies.

``a[i, j]`` is the accuracy on task j after learning task i, in ``(..., T+1, T)``: row 0 is measured on the plain model
before anything is learnt, and row i after the i-th task, so that task j is column ``j - 1`` in Python. For losses pass
their negatives. Leading axes are a batch, such as seeds and orders.
"""

from __future__ import annotations

from array_api_compat import device

from loraml_theory.libraries import array_namespace
from loraml_theory.structure import Array


def average_accuracy(a: Array, *, sizes: tuple[int, ...] | None = None) -> Array:
    r"""Return the average accuracy after the last task, ``mean_j a[T, j]``, ``(...)``.

    Parameters
    ----------
    a
        ``(..., T+1, T)``.
    sizes
        The number of test examples of each task, for the micro-average over all examples,
        ``sum_j n_j a[T, j] / sum_j n_j``. Without it, the macro-average over tasks. The public codes of O-LoRA and
        DEAL report the former, their papers speak of the latter.

    Raises
    ------
    ValueError
        If `a` is not a matrix of T + 1 rows and T columns, or `sizes` are not T positive numbers.
    """
    T = _tasks(a, least=1)
    xp, last = array_namespace(a), a[..., T, :]
    if sizes is None:
        return xp.mean(last, axis=-1)
    if len(sizes) != T or any(size <= 0 for size in sizes):
        raise ValueError(f"sizes: got {sizes}, expected {T} positive numbers of examples")
    weights = xp.asarray([size / sum(sizes) for size in sizes], dtype=a.dtype, device=device(a))
    return xp.sum(weights * last, axis=-1)


def forgetting(a: Array) -> Array:
    r"""Return each earlier task's forgetting, ``max_{j <= i < T} a[i, j] - a[T, j]`` for j < T, ``(..., T-1)``.

    Row 0 does not count: a task that was never learnt is not forgotten. Negative where the last task helped.

    Raises
    ------
    ValueError
        If `a` is not a matrix of T + 1 rows and T >= 2 columns.
    """
    T = _tasks(a, least=2)
    xp = array_namespace(a)
    return xp.stack([xp.max(a[..., j + 1 : T, j], axis=-1) - a[..., T, j] for j in range(T - 1)], axis=-1)


def backward_transfer(a: Array) -> Array:
    r"""Return ``mean_{j < T} (a[T, j] - a[j, j])``, ``(...)``: the change of earlier tasks since each was learnt.

    Raises
    ------
    ValueError
        If `a` is not a matrix of T + 1 rows and T >= 2 columns.
    """
    T = _tasks(a, least=2)
    return _mean([a[..., T, j] - a[..., j + 1, j] for j in range(T - 1)])


def forward_transfer(a: Array) -> Array:
    r"""Return ``mean_{j > 1} (a[j-1, j] - a[0, j])``, ``(...)``: what earlier tasks gave to one not yet learnt.

    Raises
    ------
    ValueError
        If `a` is not a matrix of T + 1 rows and T >= 2 columns.
    """
    T = _tasks(a, least=2)
    return _mean([a[..., j, j] - a[..., 0, j] for j in range(1, T)])


def _mean(terms: list[Array]) -> Array:
    xp = array_namespace(terms[0])
    return xp.mean(xp.stack(terms, axis=-1), axis=-1)


def _tasks(a: Array, *, least: int) -> int:
    """Return T of a matrix of T + 1 rows and T columns."""
    if a.ndim < 2 or a.shape[-2] != a.shape[-1] + 1 or a.shape[-1] < least:
        raise ValueError(
            f"a: got shape {tuple(a.shape)}, expected (..., T + 1, T) with T >= {least}: row 0 is the start"
        )
    return int(a.shape[-1])
