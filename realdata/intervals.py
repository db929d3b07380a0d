"""Means and paired differences with 95 % intervals, each with the population that its interval speaks of.

Two methods are compared run by run: with the same seed they see the same draws, on the same test examples, so only
differences within such pairs are averaged. What an interval says depends on what is thought to be drawn anew:

- `paired_difference`, over seeds: another training on the same data, judged on these very test examples;
- `crossed_difference`, over seeds and examples: another training, judged on other examples of the same kind;
- `group_difference`, over groups such as personas: the same training, judged on other groups of the same kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
EXACT_GROUPS = 20  # up to 2^19 sign patterns are enumerated, which takes milliseconds
FLIPS = 100_000  # drawn where there are more groups; the standard error of a p-value of 0.05 is then 0.0007


class Estimate(NamedTuple):
    """A number with a 95 % interval."""

    value: float
    low: float
    high: float


class MeanError(NamedTuple):
    """A mean with its standard error ``s / sqrt(m)``, s² with divisor m - 1; None where there is one value."""

    mean: float
    standard_error: float | None
    values: int


class SignFlip(NamedTuple):
    """The result of a sign-flip test.

    Parameters
    ----------
    p_value
        Two-sided; at least ``2 / 2^groups`` if no difference is 0.
    exact
        Whether all sign patterns were tried, or a random sample of them.
    """

    p_value: float
    exact: bool


@dataclass(frozen=True)
class Difference:
    """A mean paired difference.

    Parameters
    ----------
    estimate
        The mean with its interval, in the unit of the values.
    seeds
        Number of seeds averaged over.
    units
        Number of examples, or groups, of each seed; 1 where each seed has one value.
    over
        What the interval speaks of, in words.
    """

    estimate: Estimate
    seeds: int
    units: int
    over: str


def mean_with_error(values: ArrayLike) -> MeanError:
    """Return the mean of independent values and its standard error.

    Raises
    ------
    TypeError, ValueError
        If the values are not a list of finite numbers, at least one.
    """
    x = _numbers("values", values, axes=1, least=1)
    error = float(np.std(x, ddof=1)) / sqrt(x.size) if x.size > 1 else None
    return MeanError(float(np.mean(x)), error, x.size)


def mean_with_interval(values: ArrayLike) -> Estimate:
    """Return the mean of independent values and its interval by Student's t, ``mean ± t_{m-1} s / sqrt(m)``.

    Raises
    ------
    TypeError, ValueError
        If the values are not a list of finite numbers, at least two.
    """
    x = _numbers("values", values, axes=1, least=2)
    return _around(float(np.mean(x)), student(x.size - 1) ** 2 * float(np.var(x, ddof=1)) / x.size)


def paired_difference(values: ArrayLike, reference: ArrayLike) -> Difference:
    """Return the mean of ``values - reference`` over seeds, with Student's interval for the S differences.

    It speaks of other seeds on the same test examples: nothing is said about other examples.

    Parameters
    ----------
    values, reference
        ``(S,)``: one score per seed of either method, in the same order of seeds, S >= 2.

    Raises
    ------
    TypeError, ValueError
        If they are not two equally long lists of finite numbers, or there is one seed only.

    Examples
    --------
    >>> found = paired_difference([80, 78, 79], [77, 76, 78])
    >>> found.over, found.estimate.value, round(found.estimate.low, 2), round(found.estimate.high, 2)
    ('seeds, on these test examples', 2.0, -0.48, 4.48)
    """
    D = _paired(values, reference, axes=1)
    return Difference(mean_with_interval(D), D.size, 1, "seeds, on these test examples")


def crossed_difference(values: ArrayLike, reference: ArrayLike, *, unit: str = "examples") -> Difference:
    r"""Return the mean of ``values - reference`` over seeds × examples, both taken as drawn at random.

    The model of the differences is ``D_si = μ + a_s + b_i + c_si``, independent centred effects of seed, example and
    both, with variances σ_a², σ_b², σ_c². With the mean squares of the seeds' means and of the examples' means,

        MS_a = I Σ_s (D̄_s. - D̄)² / (S - 1),    E MS_a = I σ_a² + σ_c²,
        MS_b = S Σ_i (D̄_.i - D̄)² / (I - 1),    E MS_b = S σ_b² + σ_c²,

    the mean has ``Var D̄ = σ_a²/S + σ_b²/I + σ_c²/(SI)``, at most ``v = (E MS_a + E MS_b)/(SI)``. The interval is

        D̄ ± sqrt((t_{S-1}² MS_a + t_{I-1}² MS_b) / (S I)),    t_f the 97.5 % quantile of Student's t.

    For normal effects it covers μ with at least 95 % at every S, I >= 2 and all variances. Proof (after Banerjee 1960):
    MS_a and MS_b are independent of D̄. With F the distribution function of χ² with one degree of freedom, which is
    concave, and ``λ = E MS_a/(E MS_a + E MS_b)``, the coverage is at least
    ``E F(λ t_{S-1}² MS_a/E MS_a + (1-λ) t_{I-1}² MS_b/E MS_b)``, which is at least ``λ P(|t_{S-1}| <= its quantile) +
    (1-λ) P(|t_{I-1}| <= its quantile) = 0.95``.

    The interval contains the one of `paired_difference` and the one over examples alone. An unbiased estimate of the
    variance would subtract ``MS_c``, the mean square of the residuals: that can be negative, and with few seeds no
    degrees of freedom make its quantile safe. Not subtracting it makes the interval wider by at most the factor
    ``sqrt(1 + (t_{I-1}/t_{S-1})²)``: 1.10 for 3 seeds, 1.22 for 5 and many examples.

    Parameters
    ----------
    values, reference
        ``(S, I)``: a score of each of I >= 2 examples, such as 0 or 1, under each of S seeds. With S = 1 the interval
        is Student's over the examples and says nothing about other seeds; `over` says so.
    unit
        What the second axis is, in the plural.

    Raises
    ------
    TypeError, ValueError
        If they are not two tables of finite numbers of the same shape with at least two columns.

    References
    ----------
    S. K. Banerjee, Approximate confidence interval for linear functions of means of k populations when the population
    variances are not equal, Sankhyā 22 (1960) 357-358.
    """
    D = _paired(values, reference, axes=2)
    S, size = D.shape
    mean = float(np.mean(D))
    examples = student(size - 1) ** 2 * float(np.var(np.mean(D, axis=0), ddof=1)) / size
    if S == 1:
        return Difference(_around(mean, examples), 1, size, f"{unit}, at one seed")
    seeds = student(S - 1) ** 2 * float(np.var(np.mean(D, axis=1), ddof=1)) / S
    return Difference(_around(mean, seeds + examples), S, size, f"seeds and {unit}")


def group_difference(values: ArrayLike, reference: ArrayLike, *, unit: str = "groups") -> Difference:
    """Return the mean of ``values - reference`` over groups, each averaged over the seeds, with Student's interval.

    Every group counts the same, however many examples it has. The interval speaks of other groups of the same kind
    under these very seeds; for other seeds as well use `crossed_difference` with groups as the second axis.

    Parameters
    ----------
    values, reference
        ``(S, P)``: the mean score of each of P >= 2 groups under each of S >= 1 seeds.
    unit
        What the groups are, in the plural.

    Raises
    ------
    TypeError, ValueError
        If they are not two tables of finite numbers of the same shape with at least two columns.
    """
    D = _paired(values, reference, axes=2)
    S, groups = D.shape
    said = "at one seed" if S == 1 else f"at these {S} seeds"
    return Difference(mean_with_interval(np.mean(D, axis=0)), S, groups, f"{unit}, {said}")


def sign_flip_test(differences: ArrayLike, *, rng: np.random.Generator | None = None) -> SignFlip:
    """Test by random signs that independent differences are symmetric about 0, which they are if nothing differs.

    The p-value is the share of sign patterns e in {-1, 1}^P with ``|Σ e_p d_p| >= |Σ d_p|``. It is exact, whatever the
    distribution, for at most `EXACT_GROUPS` groups. For more it is ``(1 + hits)/(1 + FLIPS)`` over patterns drawn at
    random, which is valid as well: under the hypothesis it is at most α with a probability of at most α.

    Parameters
    ----------
    differences
        ``(P,)``: one paired difference per group, averaged over seeds.
    rng
        Needed for more than `EXACT_GROUPS` groups only.

    Raises
    ------
    TypeError, ValueError
        If the differences are not a list of finite numbers, at least two, or `rng` is needed and not given.

    Examples
    --------
    >>> sign_flip_test([1.0, 2.0, 3.0])
    SignFlip(p_value=0.25, exact=True)
    """
    d = _numbers("differences", differences, axes=1, least=2)
    sure = abs(float(np.sum(d))) - 1e-12 * float(np.sum(np.abs(d)))  # sums in another order differ by rounding
    if d.size <= EXACT_GROUPS:
        sums = d[:1]  # flipping all signs changes no |sum|: the first one stays
        for value in d[1:]:
            sums = np.concatenate([sums + value, sums - value])
        return SignFlip(float(np.mean(np.abs(sums) >= sure)), True)
    if rng is None:
        raise ValueError(f"rng: got None, expected a generator for more than {EXACT_GROUPS} groups, there are {d.size}")
    hits = sum(
        int(np.sum(np.abs((2.0 * rng.integers(0, 2, (FLIPS // 100, d.size)) - 1) @ d) >= sure)) for _ in range(100)
    )
    return SignFlip((1 + hits) / (1 + FLIPS), False)


def student(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def _around(value: float, square: float) -> Estimate:
    """Return an interval of half-width ``sqrt(square)`` around a value."""
    return Estimate(value, value - sqrt(square), value + sqrt(square))


def _paired(values: ArrayLike, reference: ArrayLike, *, axes: int) -> NDArray[np.float64]:
    a, b = _numbers("values", values, axes=axes, least=2), _numbers("reference", reference, axes=axes, least=2)
    if a.shape != b.shape:
        raise ValueError(f"values, reference: got shapes {a.shape} and {b.shape}, expected the same")
    return a - b


def _numbers(name: str, values: ArrayLike, *, axes: int, least: int) -> NDArray[np.float64]:
    """Return finite numbers as an array of so many axes, the last one of at least so many entries."""
    try:
        raw: NDArray[Any] = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name}: got rows of unequal length, expected a table") from None
    if raw.dtype.kind not in "biuf":
        raise TypeError(f"{name}: got {raw.dtype}, expected real numbers")
    if raw.ndim != axes or raw.size == 0 or raw.shape[-1] < least:
        shape = f"({least} or more,)" if axes == 1 else f"(1 or more, {least} or more)"
        raise ValueError(f"{name}: got the shape {raw.shape}, expected {shape}")
    x = raw.astype(np.float64)
    if not np.all(np.isfinite(x)):
        raise ValueError(f"{name}: got a number that is not finite")
    return x
