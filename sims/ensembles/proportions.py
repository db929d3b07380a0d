"""Exact confidence intervals of proportions, of independent trials and of trials that share a structure."""

from __future__ import annotations

import numpy as np


def clopper_pearson(successes: float, trials: float, *, level: float = 0.95) -> tuple[float, float]:
    r"""Return the exact interval of a proportion (Clopper and Pearson 1934).

    Its bounds are the p at which the binomial tail at `successes` has probability ``(1 - level)/2``; without successes
    the lower bound is 0, without failures the upper one is 1.

    Parameters
    ----------
    successes, trials
        Counts; fractions are interpolated through the beta distribution.
    level
        Least coverage.

    Returns
    -------
    Lower and upper bound, (0, 1) without trials.

    Raises
    ------
    ValueError
        If not ``0 <= successes <= trials`` or ``0 < level < 1``.

    Examples
    --------
    >>> low, high = clopper_pearson(0, 10)
    >>> round(low, 4), round(high, 4)
    (0.0, 0.3085)
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"successes, trials: got {successes} and {trials}, expected 0 <= successes <= trials")
    if not 0 < level < 1:
        raise ValueError(f"level: got {level}, expected 0 < level < 1")
    from scipy import special  # slower to import than NumPy

    tail, failures = (1 - level) / 2, trials - successes
    low = float(special.betaincinv(successes, failures + 1, tail)) if successes > 0 else 0.0
    high = float(special.betaincinv(successes + 1, failures, 1 - tail)) if failures > 0 else 1.0
    return low, high


def korn_graubard(shares: np.ndarray, *, trials: int, level: float = 0.95) -> tuple[float, float]:
    r"""Return the interval of a proportion when trials share structures (Korn and Graubard 1998).

    The variance of the mean of the structures' shares, ``s^2 / m``, measures how much the trials of one structure
    agree. The Clopper-Pearson interval is taken at the effective number of trials ``p (1 - p) / (s^2 / m)``, which lies
    between the number of structures m (trials of one structure all agree) and ``m trials`` (they are independent),
    times the squared ratio of Student quantiles with ``m trials - 1`` and ``m - 1`` degrees of freedom.

    Parameters
    ----------
    shares
        Share of successes of every structure, ``(m,)``; all with the same number of trials.
    trials
        Trials of each structure.
    level
        Coverage.

    Returns
    -------
    Lower and upper bound. Where all shares are 0, or all 1, the agreement cannot be measured, and the number of
    structures is used: the conservative end.

    Raises
    ------
    ValueError
        If there are no structures or no trials, or a share is outside [0, 1].

    Examples
    --------
    >>> korn_graubard(np.zeros(10), trials=5) == clopper_pearson(0, 10)
    True
    """
    m = len(shares)
    if m < 1 or trials < 1 or not np.all((shares >= 0) & (shares <= 1)):
        raise ValueError(
            f"shares, trials: got {m} shares and {trials} trials, expected at least 1 and shares in [0, 1]"
        )
    p = float(np.mean(shares))
    variance = float(np.var(shares, ddof=1)) / m if m > 1 else 0.0
    if not 0 < p < 1 or variance == 0 or trials == 1:
        return clopper_pearson(p * m, m, level=level)
    effective = min(max(p * (1 - p) / variance, m), m * trials)
    from scipy import special

    upper = (1 + level) / 2
    effective *= float(special.stdtrit(m * trials - 1, upper) / special.stdtrit(m - 1, upper)) ** 2
    return clopper_pearson(p * effective, effective, level=level)
