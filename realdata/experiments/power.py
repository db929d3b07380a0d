r"""What a design of an experiment can detect: the variances of paired differences, and the least difference seen.

Two methods are compared by ``D_sti``, the difference of their scores of example i of task t under seed s. Its model is

    D_sti = μ + a_s + b_t + c_st + e_ti + f_sti,

independent centred effects of seed, task, both, example, and seed and example. A design of S seeds, T tasks and m
examples a task has ``Var D̄ = σ_a²/S + σ_b²/T + σ_c²/(ST) + σ_e²/(Tm) + σ_f²/(STm)``. With one task, a, b and c are not
told apart: σ_a² stands for ``σ_a² + σ_c²``, and nothing is said of other tasks.

A difference is *detected* where the interval of `realdata.intervals.crossed_difference` lies on its side of 0: that is
a test of level 0.05 whose mean squares are multiples of independent χ² variables for normal effects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from realdata.experiments.tables import Results
from realdata.intervals import student

DRAWS = 20_000  # the quantile of 0.8 of a normal variable is then known to 1 % of its standard deviation
MOST_SEEDS = 1000
MOST_TASKS = 4  # times those that were run


class Variances(NamedTuple):
    """The variances of the effects in a paired difference; 0 where one was estimated below it.

    Parameters
    ----------
    seed
        σ_a²; None with one seed, where it is not known.
    task
        σ_b²; None with one task.
    seed_task
        σ_c²; None with one seed or one task.
    example
        σ_e²; with one seed ``σ_e² + σ_f²``, which are not told apart.
    seed_example
        σ_f²; None with one seed.
    """

    seed: float | None
    task: float | None
    seed_task: float | None
    example: float
    seed_example: float | None


class Design(NamedTuple):
    """A number of seeds, of tasks to adapt to, and of test examples of each."""

    seeds: int
    tasks: int
    examples: float


@dataclass(frozen=True)
class Power:
    """What the records of one comparison say of designs.

    Parameters
    ----------
    what
        The two that are compared.
    difference
        Mean of the paired differences after the last epoch, in the score's unit.
    run
        The design that was run; its number of examples is the harmonic mean over tasks.
    variances
        Of its differences.
    retraining_seconds, fine_tuning_seconds
        Of one process: of both methods' retraining with one seed, and of both methods' fine-tuning on one task; 0 where
        the records do not tell.
    unit
        What stands in the place of a test example, in the singular; None where there is only one difference a seed.
    """

    what: str
    difference: float
    run: Design
    variances: Variances
    retraining_seconds: float
    fine_tuning_seconds: float
    unit: str | None = "test example"

    def seconds(self, design: Design) -> float:
        """Return what a design costs, in seconds of one process."""
        return design.seeds * (self.retraining_seconds + design.tasks * self.fine_tuning_seconds)

    def detectable(self, design: Design, *, power: float) -> float | None:
        """Return the least difference that a design detects with some probability; None if a variance is not known.

        Parameters
        ----------
        design
            At least two seeds, and at least two tasks or one task with two examples.
        power
            The probability.
        """
        squares = self._mean_squares(design)
        if squares is None:
            return None
        seeds, units, residual = squares
        S, count = design.seeds, design.tasks if self.run.tasks > 1 else design.examples
        rng = np.random.default_rng(0)  # for a number that depends on nothing but the variances and the design
        normal = rng.standard_normal(DRAWS)
        drawn_seeds, drawn_units = (rng.chisquare(free, DRAWS) / free for free in (S - 1, count - 1))
        half = np.sqrt(
            (student(S - 1) ** 2 * seeds * drawn_seeds + student(round(count) - 1) ** 2 * units * drawn_units)
            / (S * count)
        )
        deviation = np.sqrt(max(0.0, seeds + units - residual) / (S * count))
        return float(np.quantile(half - deviation * normal, power))

    def cheapest(self, difference: float, *, power: float) -> Design | None:
        """Return the cheapest design that detects a difference; None if there is none among those that are tried.

        They have 2 to `MOST_SEEDS` seeds, and tasks from those that were run up to `MOST_TASKS` times as many where
        several were.
        """
        found: list[Design] = []
        several = self.run.tasks > 1
        for factor in range(1, (MOST_TASKS if several else 1) + 1):
            tasks = factor * self.run.tasks
            low, high = 1, MOST_SEEDS  # more seeds detect no less
            if not self._detects(Design(high, tasks, self.run.examples), difference, power):
                continue
            while high - low > 1:
                middle = (low + high) // 2
                detects = self._detects(Design(middle, tasks, self.run.examples), difference, power)
                low, high = (low, middle) if detects else (middle, high)
            found.append(Design(high, tasks, self.run.examples))
        return min(found, key=self.seconds, default=None)

    def _detects(self, design: Design, difference: float, power: float) -> bool:
        least = self.detectable(design, power=power)
        return least is not None and least <= difference

    def _mean_squares(self, design: Design) -> tuple[float, float, float] | None:
        """Return the expected mean squares of seeds, of units and of residuals, see `crossed_difference`."""
        seed, task, both, example, seed_example = self.variances
        if seed is None or seed_example is None:
            return None
        if task is None or both is None:
            return design.examples * seed + seed_example, design.seeds * example + seed_example, seed_example
        residual = both + seed_example / design.examples
        return (
            design.tasks * seed + residual,
            design.seeds * (task + example / design.examples) + residual,
            residual,
        )


def powers(results: Results) -> Iterator[Power]:
    """Yield what every comparison with the reference method says, for the score that is known of every example.

    A cell without a seed in common with the reference is left out.
    """
    for cell in results.cells:
        other = cell._replace(method=results.reference)
        if cell.method == results.reference or other not in results.cells:
            continue
        tables = results.example_differences(cell, other)
        if tables is None:
            continue
        examples = len(tables) / sum(1 / table.shape[1] for table in tables)
        means = np.array([table.mean(axis=1) for table in tables]).T  # (seeds, tasks)
        runs = [*results.runs(cell), *results.runs(other)]
        setting = f"fine-tuning by {cell.finetune}, n = {'all' if cell.n is None else cell.n}, rank {cell.rank}"
        yield Power(
            f"{cell.method} − {results.reference}, {setting}",
            float(means.mean()),
            Design(means.shape[0], means.shape[1], examples),
            variances(tables),
            2 * float(np.mean([record.provenance.get("retraining_seconds", 0.0) for record in runs])),
            2 * float(np.mean([record.provenance.get("seconds", 0.0) for record in runs])),
        )


def of_differences(
    what: str,
    differences: NDArray[np.float64],
    *,
    retraining_seconds: float = 0.0,
    fine_tuning_seconds: float = 0.0,
    unit: str = "run",
) -> Power:
    """Return what differences say that are not of single examples.

    Parameters
    ----------
    what
        As in `Power`.
    differences
        One for every seed and unit, ``(seeds, units)``.
    retraining_seconds, fine_tuning_seconds, unit
        As in `Power`.
    """
    several = differences.shape[1] > 1
    table = differences if several else np.repeat(differences, 2, axis=1)  # equal ones have no variance of their own
    return Power(
        what,
        float(table.mean()),
        Design(len(table), 1, float(table.shape[1])),
        variances([table]),
        retraining_seconds,
        fine_tuning_seconds,
        unit if several else None,
    )


def variances(tables: Sequence[NDArray[np.float64]]) -> Variances:
    """Estimate the variances by the method of moments.

    Parameters
    ----------
    tables
        The differences of every task, ``(seeds, examples)``; the numbers of examples may differ.
    """
    S, T = len(tables[0]), len(tables)
    examples = T / sum(1 / table.shape[1] for table in tables)
    means = np.array([table.mean(axis=1) for table in tables]).T
    between = float(np.mean([np.var(table.mean(axis=0), ddof=1) for table in tables]))  # σ_e² + σ_f²/S
    of_tasks = float(np.var(means.mean(axis=0), ddof=1)) if T > 1 else None  # σ_b² + σ_c²/S + (σ_e² + σ_f²/S)/m
    if S == 1:
        return Variances(None, _positive(of_tasks, between / examples), None, between, None)
    within = float(np.mean([_residual(table) for table in tables]))  # σ_f²
    example = max(0.0, between - within / S)
    of_seeds = float(np.var(means.mean(axis=1), ddof=1))  # σ_a² + σ_c²/T + σ_f²/(Tm)
    if of_tasks is None:
        return Variances(max(0.0, of_seeds - within / examples), None, None, example, within)
    residual = _residual(means)  # σ_c² + σ_f²/m
    return Variances(
        max(0.0, of_seeds - residual / T),
        _positive(of_tasks, residual / S + example / examples),
        max(0.0, residual - within / examples),
        example,
        within,
    )


def _positive(whole: float | None, part: float) -> float | None:
    return None if whole is None else max(0.0, whole - part)


def _residual(table: NDArray[np.float64]) -> float:
    """Return the mean square of what rows and columns leave."""
    left = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    return float(np.sum(left**2)) / ((table.shape[0] - 1) * (table.shape[1] - 1))
