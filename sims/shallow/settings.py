"""The settings of the shallow-network experiments, and the plotted quantities."""

from __future__ import annotations

from dataclasses import dataclass

from sims.one_axis import one_axis

VALUES: dict[str, tuple[int, ...]] = {
    "d": (5, 10, 20),
    "T": (2, 3, 5, 10),
    "N": (100, 1000, 10_000),
    "n": (100, 1000, 10_000),
    "k": (1, 2, 3),
}
"""The paper's values for d and T; those of N, n and k are this project's choice, since the public code fixes none."""

SOLVERS = ("adamw", "second-order")
"""Solvers of retraining: AdamW from one start, as in the paper; or the best of several second-order descents."""

RUNS = 10


@dataclass(frozen=True)
class AdamW:
    """The settings of AdamW; the defaults are the paper's, and torch's.

    Parameters
    ----------
    step_size, weight_decay
        Every step first multiplies the trained weights by ``1 - step_size * weight_decay``.
    mean_rate, square_rate
        Decay rates of the averages of the gradient and of its square.
    epsilon
        Added to the root of the average square.
    """

    step_size: float = 1e-3
    weight_decay: float = 0.01
    mean_rate: float = 0.9
    square_rate: float = 0.999
    epsilon: float = 1e-8


@dataclass(frozen=True)
class ShallowCell:
    """One setting: sizes, samples, noise and steps; the defaults are the paper's.

    Parameters
    ----------
    d, k, T
        Dimension and hidden units, rank of each task's shift, retraining tasks.
    N, n
        Samples of each retraining task, of the test task.
    sigma
        Standard deviation of the noise.
    epochs, tuning_epochs
        Full-batch steps of retraining and of fine-tuning.
    """

    d: int = 10
    k: int = 1
    T: int = 3
    N: int = 1000
    n: int = 100
    sigma: float = 0.1
    epochs: int = 40_000
    tuning_epochs: int = 15_000

    @property
    def ranks(self) -> tuple[int, ...]:
        """Ranks of the fine-tuned adapter for both methods: k, and at T = 2 also 3k."""
        ranks = (self.k, 3 * self.k) if self.T == 2 else (self.k,)
        return tuple(sorted({min(rank, self.d) for rank in ranks}))


def cells(vary: str, base: ShallowCell | None = None) -> dict[int, ShallowCell]:
    """Return the cells of one figure by the value of what varies; `base` holds everything else."""
    return one_axis(base or ShallowCell(), vary, VALUES)


@dataclass(frozen=True)
class Variant:
    """The plotted quantity; every run holds both.

    Parameters
    ----------
    name
        ``paper`` or ``reference``.
    column
        Its name in the table of runs.
    quantity, label
        The quantity in words for the table, and as an axis label.
    lower_median
        The median of an even number of runs is the lower of the middle two, as in the public code.
    """

    name: str
    column: str
    quantity: str
    label: str
    lower_median: bool


VARIANTS: dict[str, Variant] = {
    "paper": Variant(
        name="paper",
        column="fresh_error",
        quantity="mean squared distance of the fitted to the true function on fresh inputs",
        label=r"test error  $E_x(\hat f(x) - f(x))^2$",
        lower_median=False,
    ),
    "reference": Variant(
        name="reference",
        column="in_sample_error",
        quantity="mean squared distance of the fitted to the true function on the fine-tuning inputs",
        label=r"in-sample error  $\frac{1}{n}\sum_j(\hat f(x_j) - f(x_j))^2$",
        lower_median=True,
    ),
}
