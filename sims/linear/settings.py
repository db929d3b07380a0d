"""The settings of the paper's linear experiments, and the two ways to read them."""

from __future__ import annotations

from dataclasses import dataclass, field

from sims.engines.engine import Schedule
from sims.one_axis import one_axis

VALUES: dict[str, tuple[int, int, int]] = {
    "d": (5, 10, 20),
    "T": (2, 3, 5),
    "N": (100, 1000, 10000),
    "n": (100, 1000, 10000),
    "k": (1, 2, 3),
}
FINE_TUNING_STEPS: dict[str, int] = {"d": 1400, "T": 10_000, "N": 1000, "n": 1000, "k": 1000}


@dataclass(frozen=True)
class LinearCell:
    """One setting: sizes, samples, noise and steps; the defaults are the paper's.

    Parameters
    ----------
    d, k, T
        Dimension, rank of each task's shift, retraining tasks.
    N, n
        Samples of each retraining task, of the test task.
    sigma
        Noise scale of the paper, a standard deviation; see `Variant.noise`.
    schedule
        LoRA-ML's retraining; standard retraining takes its outer steps.
    steps, step_size
        Fine-tuning's steps and their size.
    """

    d: int = 10
    k: int = 1
    T: int = 3
    N: int = 5000
    n: int = 100
    sigma: float = 0.1
    schedule: Schedule = field(default_factory=Schedule)
    steps: int = 1000
    step_size: float = 5e-3

    @property
    def rank(self) -> int:
        """Rank of the fine-tuned adapter, for both methods: k, and 3k at T = 2."""
        return min(self.d, 3 * self.k if self.T == 2 else self.k)


def cells(vary: str, base: LinearCell | None = None) -> dict[int, LinearCell]:
    """Return the cells of one figure by the value of what varies; `base` holds everything else."""
    return one_axis(base or LinearCell(steps=FINE_TUNING_STEPS.get(vary, 0)), vary, VALUES)


@dataclass(frozen=True)
class Variant:
    """A reading of the experiment.

    Parameters
    ----------
    name
        ``paper`` or ``reference``.
    quantity
        What is plotted, in words, for the CSV.
    label
        The quantity as an axis label.
    in_sample
        Plot ``||(W_hat - W) X||_F^2``, a sum over the fine-tuning samples, instead of ``||W_hat - W||_F^2``.
    noise_power
        The noise is drawn with standard deviation ``sigma**noise_power``.
    one_truth
        All runs share one truth and LoRA-ML's fine-tuning start.
    frozen_adapters
        Standard retraining's gradient carries the mean of fixed random adapters, its step is T times larger.
    """

    name: str
    quantity: str
    label: str
    in_sample: bool
    noise_power: int
    one_truth: bool
    frozen_adapters: bool

    def noise(self, cell: LinearCell) -> float:
        """Return the standard deviation of the noise."""
        return float(cell.sigma**self.noise_power)

    def scale(self, cell: LinearCell) -> float:
        """Return the factor that turns ``tr(Delta S Delta^T)``, or ``||Delta||_F^2``, into the plotted quantity."""
        return float(cell.n) if self.in_sample else 1.0


VARIANTS: dict[str, Variant] = {
    "paper": Variant(
        name="paper",
        quantity="squared Frobenius distance of the fine-tuned to the true parameter",
        label=r"test error  $\|\hat W - W\|_F^2$",
        in_sample=False,
        noise_power=1,
        one_truth=False,
        frozen_adapters=False,
    ),
    "reference": Variant(
        name="reference",
        quantity="squared error on the fine-tuning inputs, noise-free targets, summed over samples",
        label=r"in-sample loss  $\|(\hat W - W)X\|_F^2$",
        in_sample=True,
        noise_power=2,
        one_truth=True,
        frozen_adapters=True,
    ),
}
