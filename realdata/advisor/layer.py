"""The analysis of one matrix: rank of the shifts, chance, independence, ranks for a new task, and the base."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import Literal

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from loraml_theory.rates import adaptation_rank, degrees_of_freedom
from loraml_theory.statistics.adaptation import (
    LEAST,
    Apart,
    HeldOut,
    hold_out,
    independence,
    linear_surrogate,
    rank_for_share,
)
from loraml_theory.statistics.alignment import Alignment, Groups, alignment, distances, groups
from loraml_theory.statistics.noise_rank import Noise
from loraml_theory.statistics.shared_base import SharedBase, chance_of_share
from loraml_theory.statistics.shift_rank import Differences, ShiftRank, estimate_shift_rank, task_differences
from loraml_theory.statistics.task_span import EXACT, TaskSpan, span_of_factors, span_of_matrices
from realdata.advisor.task_weights import TaskWeights
from realdata.advisor.tasks import Tasks

Start = Literal["base", "sr", "ml"]
STARTS: tuple[Start, ...] = ("base", "sr", "ml")
"""The base that the tasks were fine-tuned from, the mean of the others, and the LoRA-ML base of the others."""
SHOWN = 64
"""Number of reported singular values of a difference, and of reported ranks."""
LARGEST_FIT = 16
"""Largest rank at which a base is fitted unless the user asks for another."""
LARGEST_TEST = 12
"""Largest rank at which the fit is compared with chance: the random matrices are small."""


@dataclass(frozen=True)
class AdviceSettings:
    """The settings of the analysis.

    Parameters
    ----------
    rank
        Rank of the user's adapters, in retraining and fine-tuning; None for the estimated one.
    share
        Share of the energy of a held-out task's difference from the closest known start that an adapter should reach.
    draws
        Number of random sets of shifts that the fit is compared with.
    size
        Number of directions of a large matrix that are examined on either side.
    seed
        Root of every random number.
    """

    rank: int | None = None
    share: float = 0.95
    draws: int = 99
    size: int = 256
    seed: int = 0


@dataclass(frozen=True, eq=False)
class LayerAdvice:
    """The results for one matrix; energies are squared Frobenius norms.

    Parameters
    ----------
    name, shape
        Name and shape of the weight; `matrix` is its shape as a matrix.
    by_adapters
        The largest rank of the tasks' adapters, None for full weights.
    energy
        Mean over tasks of ``||W_t - mean||_F^2``.
    share_apart
        `energy` over the largest ``||W_t||_F^2``; None for adapters, whose base need not be known.
    differences, shift_rank, noise
        See `loraml_theory.statistics.shift_rank`.
    null
        p-value, share left and share left by chance at `null_rank`; None where nothing differs.
    fit_rank
        Rank of the shifts of the fitted base, None where none was fitted.
    fit, share_left
        The base, and the share of the energy that base and shifts do not explain.
    clearness
        See `independence`; None with two tasks.
    held_out
        See `hold_out`.
    ranks_for_share
        Median rank that a held-out task needs for the share, from each start.
    aligned
        See `alignment`; None where the base is not known.
    apart
        See `distances`.
    """

    name: str
    shape: tuple[int, ...]
    matrix: tuple[int, int]
    T: int
    by_adapters: int | None
    energy: float
    share_apart: float | None
    differences: Differences
    shift_rank: ShiftRank
    noise: Noise
    null: tuple[float, float, float] | None = None
    null_rank: int | None = None
    fit_rank: int | None = None
    fit: SharedBase | None = None
    share_left: float | None = None
    clearness: float | None = None
    held_out: HeldOut | None = None
    ranks_for_share: Mapping[Start, int | None] = field(default_factory=lambda: dict.fromkeys(STARTS))
    aligned: Alignment | None = None
    apart: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def unchanged(self) -> bool:
        """Whether the tasks do not differ beyond rounding."""
        return self.shift_rank.k == 0

    @property
    def independent(self) -> bool | None:
        """Whether three tasks determine the base, as far as the noise permits; None with fewer tasks."""
        return None if self.clearness is None else self.clearness > 1

    @property
    def alike(self) -> Groups:
        """Groups of tasks that are much closer to one another; each task alone where there are none."""
        return groups(*self.apart, self.aligned) if self.apart is not None else tuple((t,) for t in range(self.T))

    @property
    def rank_base(self) -> int | None:
        """Median rank above the noise that a task needs from the base as it is; None where that is not known."""
        found = None if self.held_out is None else self.held_out.base
        return None if found is None else _median(found.ranks)

    @property
    def rank_sr(self) -> int | None:
        """Median rank above the noise that a held-out task needs from the mean of the others."""
        return self.shift_rank.k if self.held_out is None else _median(self.held_out.sr.ranks)

    @property
    def rank_ml(self) -> int | None:
        """The same from the LoRA-ML base of the others; theory's rank where there are fewer than three others."""
        if self.held_out is not None and self.held_out.ml is not None:
            return _median(self.held_out.ml.ranks)
        return self.predicted_ml if len(self.alike) <= LEAST or self.unchanged else None

    @property
    def rank_ml_from(self) -> str | None:
        """The source of `rank_ml`."""
        if self.rank_ml is None:
            return None
        return "held-out tasks" if self.held_out is not None and self.held_out.ml is not None else "theory"

    @property
    def predicted_sr(self) -> int | None:
        """Rank that a generic new task needs from the mean of all tasks: k(T + 1), or the full rank (SR-2)."""
        k = self.shift_rank.k
        return None if k is None else adaptation_rank("sr", k, self.T, min(self.matrix))

    @property
    def predicted_ml(self) -> int | None:
        """Rank that it needs from the LoRA-ML base: k if three tasks are independent (ML-3), otherwise 3k (ML-1)."""
        k = self.shift_rank.k
        if k is None:
            return None
        return adaptation_rank("lora-ml", k, self.T if self.independent else 2, min(self.matrix))

    def left(self, start: Start) -> np.ndarray | None:
        """Return the share of the closest start's energy that ranks 0, 1, .. leave of a held-out task, the mean."""
        if self.held_out is None or self.unchanged:
            return None
        apart = getattr(self.held_out, start)
        whole = float(np.sum(self.held_out.closest().left[:, 0]))
        return np.sum(apart.left, axis=0) / whole if apart is not None and whole > 0 else None

    def degrees(self, method: str) -> int | None:
        """Return ``r (p + q - r)``, the noise part of fine-tuning's error in units of sigma^2/n (FT-2)."""
        rank = self.predicted_sr if method == "sr" else self.predicted_ml
        return None if rank is None else degrees_of_freedom(rank, *self.matrix)


def _median(values: tuple[int, ...]) -> int:
    return int(np.ceil(np.median(values)))


def look_at(tasks: Tasks, weight: str, settings: AdviceSettings) -> tuple[LayerAdvice, TaskSpan]:
    """Analyse one weight of all tasks.

    Raises
    ------
    InputError
        If it holds NaN or infinity.
    """
    rng = np.random.default_rng([settings.seed, *hashlib.sha256(weight.encode()).digest()[:8]])
    span = _span(tasks, weight, rng, settings.size)
    with threadpool_limits(limits=1, user_api="blas"):  # the matrices below are small and many
        return _advice(tasks, weight, span, rng=rng, settings=settings), span


def _advice(
    tasks: Tasks, weight: str, span: TaskSpan, *, rng: np.random.Generator, settings: AdviceSettings
) -> LayerAdvice:
    """Ask everything of a weight's span."""
    T, energy = span.T, float(np.trace(span.gram)) / span.T
    differences = task_differences(span, floor_at=_rounding(tasks, weight, span))
    found = LayerAdvice(
        name=weight,
        shape=tasks.described[weight].shape,
        matrix=span.shape,
        T=T,
        by_adapters=tasks.adapter_rank(weight),
        energy=energy,
        share_apart=energy / span.scale**2 if not tasks.by_factors(weight) and span.scale > 0 else None,
        differences=differences,
        shift_rank=estimate_shift_rank(differences, T),
        noise=differences.noise,
        aligned=alignment(span),
        apart=distances(span),
    )
    if found.shift_rank.k == 0:
        return _of_equal_tasks(found, span, settings)
    k = settings.rank or found.shift_rank.k
    fit_rank = None if k is None else min(k, settings.rank or LARGEST_FIT, min(span.shape))
    null_rank = min(k or 1, LARGEST_TEST, max(1, min(span.probe.shape[1:]) // 3))
    fit, share_left = (None, None) if fit_rank is None else linear_surrogate(span, fit_rank, noise=found.noise)
    held = hold_out(span, fit_rank, noise=found.noise, alike=found.alike)
    return replace(
        found,
        null=chance_of_share(rng, span.probe, null_rank, draws=settings.draws, rank=found.by_adapters),
        null_rank=null_rank,
        fit_rank=fit_rank,
        fit=fit,
        share_left=share_left,
        clearness=independence(span, fit_rank, noise=found.noise) if T >= 3 and fit_rank else None,
        held_out=held,
        ranks_for_share=_ranks_for_share(held, span.shape, settings.share),
    )


def _of_equal_tasks(found: LayerAdvice, span: TaskSpan, settings: AdviceSettings) -> LayerAdvice:
    """Return the advice where any one of the tasks is a start that leaves nothing of the others."""
    base = hold_out(span, None, noise=found.noise).base
    rank = None if base is None else _rank_for_share(base, base.signal(span.shape), span.shape, settings.share)
    return replace(found, ranks_for_share={"base": rank, "sr": 0, "ml": 0})


def _span(tasks: Tasks, weight: str, rng: np.random.Generator, size: int) -> TaskSpan:
    if tasks.by_factors(weight):
        factors = [task.factors(weight, tasks.described[weight].matrix) for task in tasks.tasks]
        return span_of_factors(rng, [U for U, _ in factors], [V for _, V in factors])
    return span_of_matrices(
        rng,
        lambda t, rows: tasks.tasks[t].rows(weight, rows),
        len(tasks.tasks),
        shape=tasks.described[weight].matrix,
        base=tasks.base_rows(weight),
        size=size,
    )


def _rounding(tasks: Tasks, weight: str, span: TaskSpan) -> float:
    r"""Return the bound of rounding in a singular value of a difference.

    It is the rounding of the stored weights, ``eps/2`` of their root mean square in each entry, which as noise of both
    tasks reaches ``sqrt(p) + sqrt(q)`` times as much, or that of an adapter's factors; and that of the computation.
    """
    (p, q), apart = span.shape, float(np.sqrt(np.max(np.diag(span.gram))))
    exact = tasks.by_factors(weight)
    working = np.finfo(np.float64 if exact or p * q <= EXACT else np.float32).eps
    computed = 8 * sqrt(min(p, q)) * float(working) * (apart if not exact else span.scale)
    if exact:
        return max(computed, max(_rounding_of_factors(task, weight, span.shape) for task in tasks.tasks))
    stored = max(torch.finfo(task.described()[weight].dtype).eps for task in tasks.tasks)
    rms = span.scale / sqrt(p * q)
    return max(computed, float(stored) / 2 * rms * (sqrt(p) + sqrt(q)))


def _rounding_of_factors(task: TaskWeights, weight: str, shape: tuple[int, int]) -> float:
    """Return the bound for ``U V^T`` that float32 leaves if its factors are turned; 0 where the task has none."""
    if task.adapter is None or not task.has_factors(weight):
        return 0.0
    U, V = task.factors(weight, shape)
    eps = min(torch.finfo(each).eps for each in (task.adapter.dtype(weight).dtype, torch.float32))
    return float(8 * eps * np.linalg.norm(U) * np.linalg.norm(V))


def _ranks_for_share(held: HeldOut, shape: tuple[int, int], share: float) -> dict[Start, int | None]:
    whole = held.closest().signal(shape)
    return {start: _rank_for_share(getattr(held, start), whole, shape, share) for start in STARTS}


def _rank_for_share(apart: Apart | None, whole: np.ndarray, shape: tuple[int, int], share: float) -> int | None:
    """Return the median over held-out tasks, None where the known ranks do not suffice for all of them."""
    if apart is None:
        return None
    ranks = [
        rank_for_share(row, shape, share=share, variance=apart.variance, whole=float(energy))
        for row, energy in zip(apart.left, whole, strict=True)
    ]
    known = tuple(rank for rank in ranks if rank is not None)
    return _median(known) if len(known) == len(ranks) else None
