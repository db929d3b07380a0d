"""FT-2: the error of fine-tuning, with its constants and at finite n."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from loraml_theory import moments
from loraml_theory.rates import degrees_of_freedom, excess_rank_degrees, signal_to_noise
from loraml_theory.structure import GroundTruth
from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.assumptions import TEST_FACTOR_OF_FULL_RANK
from paper_checks.evidence.drawn import carry, draw, with_one_integer
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.measure import mean_evidence
from paper_checks.evidence.remembered import remembered
from paper_checks.evidence.trials import (
    BIAS,
    FIRST_ORDER,
    PAPER_SETTING,
    Drawer,
    Rate,
    Setting,
    a_fifth_more,
    fine_tuning_errors,
    first_order_bias,
    halved,
    predicted_parameter_error,
    rounding_errors,
    setting_for,
    trials_for,
    without_sigma_x,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IN_SAMPLE = r"$n\, \mathrm{E}\,\operatorname{tr}(\Delta S \Delta^\top)/\sigma^2$ at the rank $r$ of the residual"
ERROR = r"$\mathrm{E}\|\Delta\|_F^2$ over its prediction, at the same rank"


def check(
    instance: Instance,
    profile: Profile,
    *,
    rate: Rate = predicted_parameter_error,
    degrees: Callable[[int, int], int] = degrees_of_freedom,
    drawer: Drawer = moments.draw,
    residual_rank: Callable[[int], int] = lambda k: k,
) -> Iterator[Evidence | Note]:
    """Fine-tune rank k from A*, where the residual R_{T+1}* has rank exactly k; then at other ranks."""
    truth = instance.truth
    d, k = truth.d, truth.k
    settings = [setting_for(truth.R[-1], residual_rank(k), n=n) for n in (d, d + 4, 3 * d + 10, 20 * d)]
    if _ratio(instance, PAPER_SETTING, k) >= 30 and d <= PAPER_SETTING.n / 3:
        settings.append(PAPER_SETTING)
    for setting in settings:
        yield Note(instance.name, f"fine-tuning at rank {k}: {setting}")
        ratio = _ratio(instance, setting, residual_rank(k))
        yield from _true_rank(instance, profile, setting, rate, degrees, drawer, ratio)
    yield from _other_ranks(instance, profile, setting_for(truth.R[-1], residual_rank(k), n=10 * d), rate)
    yield from _exact(instance, degrees)


def _exact(instance: Instance, degrees: Callable[[int, int], int]) -> Iterator[Evidence]:
    """Decide over Q the degrees of freedom of the noise that survive: the dimension of the tangent space."""
    truth = exact_evidence.over_rationals(instance)
    if truth is None:
        return
    from loraml_theory.exact import rank, rationals

    U, eye = truth.U_star[-1], rationals(np.eye(truth.d, dtype=int))
    tangent = np.concatenate([np.kron(eye, U), np.kron(U, eye)], axis=1)  # of E U^T + U F^T, row by row
    what = "dimension over Q of the space {E U^T + U F^T} tangent to the matrices of rank k, U = U_{T+1}*"
    yield exact_evidence.evidence(instance, what, rank(tangent), degrees(truth.k, truth.d))


def _ratio(instance: Instance, setting: Setting, rank: int) -> float:
    """Return the signal-to-noise ratio of fine-tuning from A*, FT-2's condition."""
    truth = instance.truth
    return signal_to_noise(truth.R[-1], rank, setting.n, sigma=setting.sigma, sigma_x=setting.sigma_x)


def _true_rank(
    instance: Instance,
    profile: Profile,
    setting: Setting,
    rate: Rate,
    degrees: Callable[[int, int], int],
    drawer: Drawer,
    ratio: float,
) -> Iterator[Evidence]:
    """Check the in-sample error, robust down to n = d, and the parameter's where its tails are light, n >= 3d."""
    truth, k = instance.truth, instance.truth.k
    bias, reason = first_order_bias(ratio), f"first order in the squared noise-to-signal ratio {ratio**-2:.1g}"
    rng, trials = instance.rng(f"rank {k}, {setting}"), trials_for(profile, k, truth.d)
    errors = fine_tuning_errors(rng, truth.W_test, truth.A_star, k, setting, trials, drawer=drawer)
    rounding = rounding_errors(instance, truth.A_star, setting)
    normalisation, expected = setting.n / setting.sigma**2, degrees(k, truth.d)
    yield mean_evidence(
        instance,
        f"n tr(Delta S Delta^T) / sigma^2 at rank {k}, {setting}",
        normalisation * errors.in_sample,
        expected,
        bias=bias,
        rounding=normalisation * float(rounding.in_sample.max()) / expected,
        reason=reason,
    ).of(IN_SAMPLE)
    if setting.n >= 3 * truth.d:
        predicted = rate(k, truth.d, setting)
        yield mean_evidence(
            instance,
            f"||Delta||_F^2 over its prediction at rank {k}, {setting}",
            errors.parameter / predicted,
            1.0,
            bias=bias,
            rounding=float(rounding.parameter.max()) / predicted,
            reason=reason,
        ).of(ERROR)


def _other_ranks(instance: Instance, profile: Profile, setting: Setting, rate: Rate) -> Iterator[Evidence]:
    """Check the full fit, which is exact, and a rank above the true one, where truncation selects noise."""
    truth = instance.truth
    d, k = truth.d, truth.k
    share = float(rounding_errors(instance, truth.A_star, setting).parameter.max()) / rate(k, d, setting)
    full = fine_tuning_errors(
        instance.rng("full fit"), truth.W_test, truth.A_star, d, setting, trials_for(profile, k, d)
    )
    yield mean_evidence(
        instance,
        f"||Delta||_F^2 over its prediction, full fit, {setting}",
        full.parameter / rate(d, d, setting),
        1.0,
        bias=0.0,
        rounding=share,
        reason="exact: sigma^2 d^2 / (sigma_x^2 (n - d - 1))",
    )
    if k + 1 < d <= 20:
        rank, rng = k + 1, instance.rng("excess rank")
        errors = fine_tuning_errors(rng, truth.W_test, truth.A_star, rank, setting, trials_for(profile, rank, d))
        predicted, error = _excess_degrees(rng, k, rank, d)
        yield mean_evidence(
            instance,
            f"n tr(Delta S Delta^T) / sigma^2 at rank {rank}, one above the true rank, {setting}",
            setting.n / setting.sigma**2 * errors.in_sample,
            predicted,
            bias=BIAS,
            rounding=share,
            reason=FIRST_ORDER,
            predicted_error=error,
        )


@remembered
def _excess_degrees(rng: np.random.Generator, k: int, rank: int, d: int) -> tuple[float, float]:
    return excess_rank_degrees(rng, k, rank, d)


def figure(ax: Axes, instance: Instance) -> None:
    """Draw the error against n, measured and predicted."""
    truth = instance.truth
    d, k = truth.d, truth.k
    sizes = np.unique(np.geomspace(d + 4, 100 * d, 9).astype(int))
    sigma = setting_for(truth.R[-1], k, n=int(sizes[0])).sigma
    settings = [Setting(int(n), sigma, 1.0) for n in sizes]
    for rank, label, colour in ((k, f"rank k = {k}", "C0"), (d, f"rank d = {d}", "C1")):
        measured = [
            fine_tuning_errors(instance.rng(f"figure {rank} {s}"), truth.W_test, truth.A_star, rank, s, 100).parameter
            for s in settings
        ]
        ax.loglog(sizes, [m.mean() for m in measured], "o", color=colour, label=label)
        ax.loglog(sizes, [predicted_parameter_error(rank, d, s) for s in settings], color=colour)
    ax.set(xlabel="test samples n", ylabel=r"$\|\Delta\|_F^2$ (points: mean of 100, line: FT-2)")
    ax.legend(frameon=False)


def draw_with_wrong_root(rng: np.random.Generator, W: np.ndarray, n: int, **kwargs: Any) -> moments.Moments:
    """Draw moments with ``C = W S + (sigma/sqrt(n)) G L`` instead of ``G L^T``: a mutant."""
    right = moments.draw(rng, W, n, **kwargs)
    L = np.linalg.cholesky(right.S)
    noise = (right.W - W) @ L  # G sigma / sqrt(n), since W_ls - W = (sigma / sqrt(n)) G L^{-1}
    return moments.Moments(right.S, W + noise @ L @ np.linalg.inv(right.S), right.noise, right.n)


def deficient(seed: int) -> Instance:
    """Draw a test task whose shift has rank 1, not k = 3."""
    drawn = draw("generic", 20, 3, 3, seed)
    U = drawn.truth.U_star.copy()
    U[-1] = U[-1][:, :1] * np.array([1.0, 0.5, -2.0])
    return Instance("U_{T+1}* of rank 1 d=20 k=3 T=3", GroundTruth(drawn.truth.A_star, U), seed)


CLAIM = Claim(
    id="FT-2",
    title="The rate of fine-tuning",
    statement=(
        r"With Gaussian data, a residual of rank exactly $r$ and $\sigma_r(\mathrm{residual}) \gg 2 "
        r"(\sigma/\sigma_x) \sqrt{d/n}$: $\mathrm{E}\|\Delta\|_F^2 = \frac{\sigma^2}{\sigma_x^2} "
        r"\left[\frac{rd}{n - d - 1} + \frac{r(d - r)}{n - r - 1}\right]$ and "
        r"$n\,\mathrm{E}\,\operatorname{tr}(\Delta S \Delta^\top)/\sigma^2 = r(2d - r)$ to first order; the full "
        r"fit has exactly $\mathrm{E}\|\Delta\|_F^2 = \sigma^2 d^2 / (\sigma_x^2 (n - d - 1))$."
    ),
    source="beyond arXiv 2410.22264, which states the order; proof in docs/theory.md, FT-2",
    nature="theorem",
    assumptions=(TEST_FACTOR_OF_FULL_RANK,),
    check=check,
    controls=(
        Control(
            "mutated: without sigma_x",
            partial(check, rate=without_sigma_x),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "mutated: with a factor 1/2",
            partial(check, rate=halved),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "near miss: an error 20 % too large",
            partial(check, rate=a_fifth_more),
            carry("generic", 10, 1, 3),
            key=ERROR,
        ),
        Control(
            "near miss: 20 % more degrees of freedom",
            partial(check, degrees=lambda r, d: round(1.2 * degrees_of_freedom(r, d))),
            carry("generic", 10, 3, 3),
            key=IN_SAMPLE,
        ),
        Control(
            "mutated: r(2d - r)/n without the finite-n form",
            partial(check, rate=lambda r, d, s: (s.sigma / s.sigma_x) ** 2 * degrees_of_freedom(r, d) / s.n),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "mutated: 2rd degrees of freedom",
            partial(check, degrees=lambda r, d: 2 * r * d),
            carry("generic", 10, 3, 3),
        ),
        Control(
            "mutated: moments drawn with G L for G L^T",
            partial(check, drawer=draw_with_wrong_root),
            carry("generic", 10, 1, 3),
        ),
        Control(
            "broken assumption: U_{T+1}* of rank 1, k = 3",
            partial(check, residual_rank=lambda _k: 1),
            deficient,
            on_given=False,
        ),
    ),
    instances=with_one_integer,
    figure=figure,
    keys=(IN_SAMPLE, ERROR),
)
