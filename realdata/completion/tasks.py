"""Tasks of real data, and the two ways of retraining on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loraml_theory.closed_forms import standard_retraining
from loraml_theory.moments import Moments, from_samples
from loraml_theory.solvers.base import Solution, Status
from loraml_theory.solvers.block import block_descent
from loraml_theory.structure import Array


@dataclass(frozen=True, eq=False)
class Task:
    """One task's samples.

    Parameters
    ----------
    name
        What the task is called in results.
    X, Y
        Inputs ``(d_in, N)`` and targets ``(d_out, N)``, one sample a column, float64.
    """

    name: str
    X: Array
    Y: Array

    @property
    def N(self) -> int:
        """Number of samples."""
        return int(self.X.shape[-1])


def joint_moments(tasks: Sequence[Task]) -> Moments:
    """Return the moments of several tasks, ``(T, ...)``, which weigh every sample alike in retraining."""
    each = [from_samples(task.X, task.Y) for task in tasks]
    S, W, noise = (np.stack([getattr(m, name) for m in each]) for name in ("S", "W", "noise"))
    return Moments(S, W, noise, tuple(float(task.N) for task in tasks))


def without(moments: Moments, left_out: Sequence[int]) -> Moments:
    """Return the moments of all tasks but those left out (0-based)."""
    keep = [t for t in range(len(moments.S)) if t not in left_out]
    n = moments.n if isinstance(moments.n, float) else tuple(moments.n[t] for t in keep)
    return Moments(moments.S[keep], moments.W[keep], moments.noise[keep], n)


@dataclass(frozen=True, eq=False)
class Retrained:
    """What both methods make of the same tasks with the same ridge.

    Parameters
    ----------
    ridge
        Strength lambda for losses summed over samples.
    standard
        Base of standard retraining, ``(d_out, d_in)``.
    lora_ml
        Solution of LoRA-ML for every adapter rank.
    """

    ridge: float
    standard: Array
    lora_ml: dict[int, Solution]

    def bases(self, rank: int) -> Array:
        """Return both bases, standard retraining's first, ``(2, d_out, d_in)``."""
        return np.stack([self.standard, self.lora_ml[rank].parameters.A])

    def status(self, rank: int) -> str:
        """Return how the solver of LoRA-ML ended, as in 'converged'."""
        return Status(int(self.lora_ml[rank].status)).name.lower()


def retrain(
    moments: Moments,
    ranks: Sequence[int],
    *,
    ridge: float,
    relative_tolerance: float,
    stop_without_ridge: int,
) -> Retrained:
    r"""Retrain on the given tasks by both methods.

    With ``L_t`` the loss summed over task t's samples, lambda the ridge and R_t of rank k,

        SR:       min_A         sum_t [ L_t(A) + (lambda_t/2) ||A||^2 ]
        LoRA-ML:  min_{A, R_t}  sum_t [ L_t(A + R_t) + (lambda_t/2) (||A||^2 + ||R_t||^2) ],

    where ``lambda_t = lambda N_t / mean(N)`` (one strength for the means over samples).

    Parameters
    ----------
    moments
        ``(T, ...)``, of the retraining tasks only.
    ranks
        Adapter ranks k of LoRA-ML.
    ridge
        lambda; fine-tuning on n samples uses the same one beside the loss summed over them.
    relative_tolerance
        Of the gradient of LoRA-ML.
    stop_without_ridge
        Sweeps of plain block descent at lambda = 0, where LoRA-ML need not have a minimiser to converge to.

    Notes
    -----
    One lambda for sums over samples is one Gaussian prior, whatever the number of samples: that is what lets
    the same number serve retraining on many samples and fine-tuning on few.
    """
    strength = ridge / float(np.mean(moments.n))
    standard = standard_retraining(moments, ridge=strength)
    solutions = {
        rank: block_descent(
            moments,
            rank,
            base=standard,
            ridge=strength,
            memory=20 if ridge else 0,
            max_iterations=3000 if ridge else stop_without_ridge,
            relative_tolerance=relative_tolerance,
        )
        for rank in ranks
    }
    return Retrained(ridge, standard, solutions)
