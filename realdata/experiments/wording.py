"""How scores, differences and numbers are written in tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from realdata.intervals import Difference, MeanError, SignFlip
from realdata.peft_ml.budget import Count

if TYPE_CHECKING:
    from realdata.experiments.tables import Comparison


class Scale(NamedTuple):
    """How a score is written: what it is multiplied by, its decimals, its unit, and that of differences."""

    factor: float
    digits: int
    unit: str
    of_differences: str

    def number(self, value: float) -> str:
        """Write a value."""
        return f"{self.factor * value:.{self.digits}f}".replace("-", "−")

    def signed(self, value: float) -> str:
        """Write a difference."""
        rounded = round(self.factor * value, self.digits) + 0.0  # never a negative zero
        return f"{0:.{self.digits}f}" if rounded == 0 else f"{rounded:+.{self.digits}f}".replace("-", "−")


PERCENT = Scale(100, 1, "percent", "percentage points")


def scale_of(unit: str) -> Scale:
    """Return how a score of this unit is written; without one it is a share.

    Examples
    --------
    >>> scale_of("").number(0.5), scale_of("nats").number(-1.25), scale_of("nats").signed(0.5)
    ('50.0', '−1.250', '+0.500')
    """
    return Scale(1, 3, unit, unit) if unit else PERCENT


def written(value: MeanError, scale: Scale = PERCENT) -> str:
    """Write a mean, with its standard error if there is one.

    Examples
    --------
    >>> written(MeanError(0.7642, 0.0061, 3)), written(MeanError(0.5, None, 1))
    ('76.4 ± 0.6', '50.0')
    """
    mean = scale.number(value.mean)
    return mean if value.standard_error is None else f"{mean} ± {scale.number(value.standard_error)}"


def points(found: Difference, scale: Scale = PERCENT) -> str:
    """Write a difference with its interval.

    Examples
    --------
    >>> from realdata.intervals import Estimate
    >>> points(Difference(Estimate(0.0123, -0.004, 0.0286), 3, 1, "seeds"))
    '+1.2 [−0.4, +2.9]'
    """
    value, low, high = map(scale.signed, found.estimate)
    return f"{value} [{low}, {high}]"


def latest(found: Comparison, scale: Scale = PERCENT) -> str:
    """Write the difference after the last epoch, with its interval over seeds if there is one."""
    return scale.signed(found.everything.estimate.value) if found.last is None else points(found.last, scale)


def selected(found: Comparison, scale: Scale = PERCENT) -> str:
    """Write the difference at the selected epoch, with its interval over seeds if there is one."""
    return scale.signed(found.selected) if found.best is None else points(found.best, scale)


def interval(found: Difference, scale: Scale = PERCENT) -> str:
    """Write the interval of a difference.

    Examples
    --------
    >>> from realdata.intervals import Estimate
    >>> interval(Difference(Estimate(0.0123, -0.004, 0.0286), 3, 2000, "seeds and test examples"))
    '[−0.4, +2.9]'
    """
    return f"[{scale.signed(found.estimate.low)}, {scale.signed(found.estimate.high)}]"


def p_value(found: SignFlip | None) -> str:
    """Write the p-value of a sign-flip test.

    Examples
    --------
    >>> p_value(SignFlip(0.0234375, True)), p_value(SignFlip(0.0001, True)), p_value(None)
    ('0.023', '< 0.001', '')
    """
    if found is None:
        return ""
    return "< 0.001" if found.p_value < 0.0005 else f"{found.p_value:.3f}"


def count(found: Sequence[Count]) -> str:
    """Write gradient steps and examples, or their range where runs differ.

    Examples
    --------
    >>> count([Count(600, 38400)]), count([Count(25, 2500), Count(50, 5000)])
    ('600 / 38 400', '25–50 / 2 500–5 000')
    """
    parts = [sorted({entry[i] for entry in found}) for i in range(2)]
    texts = ["–".join(dict.fromkeys((grouped(values[0]), grouped(values[-1])))) for values in parts]
    return " / ".join(texts)


def grouped(number: int) -> str:
    """Write a whole number with its digits in groups of three.

    Examples
    --------
    >>> grouped(38400)
    '38 400'
    """
    return f"{number:,}".replace(",", " ")
