"""CL-2: gradient descent on the full shift keeps a geometric mean of the tasks; the learning rate is a method."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from loraml_theory.continual.chains import descent, loss_matrix
from loraml_theory.continual.descents import shift_descent
from loraml_theory.continual.predictions import between, slope_at_convergence, slope_at_nothing
from loraml_theory.moments import Moments
from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.chains import NEAR_MISS, chain, equal_tasks, loss, over_q, regular_inputs, same, shifts, unit
from paper_checks.evidence.drawn import carry, with_integers
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.instance import Instance

AVERAGE = r"average loss after $m$ steps of $\eta$ on every task, over $\frac12$ mean $\|R_t^\star\|_F^2$"
SLOPE = r"derivative of the average loss in $\rho$ at $\rho = 0$, over $\frac12$ mean $\|R_t^\star\|_F^2$"
STEPS, STEP_SIZE = 3, 0.15
H = 1e-4  # step of the differences


def check(
    instance: Instance,
    _profile: Profile,
    *,
    steps: Callable[[int], int] = lambda m: m,
    displaced: float = 0.0,
    always: bool = False,
) -> Iterator[Evidence | Note]:
    """Compare descent, step by step, with the geometric mean; and the slopes at both ends of rho."""
    truth, R, moments = instance.truth, shifts(instance), chain(instance)

    def walk(moments: Moments) -> np.ndarray:
        return np.asarray(shift_descent(moments, truth.A_star, step_size=STEP_SIZE, steps=STEPS)[-1])

    rho = (1 - STEP_SIZE) ** steps(STEPS) * (1 + displaced)
    walked, formula = walk(moments), between(R, rho)
    yield same(instance, "the shift that descent ends at from sum_t (1 - rho) rho^(T-t) R_t", walked, formula)
    regular = chain(instance, regular_inputs(instance))
    closed = descent(regular, truth.A_star, step_size=STEP_SIZE, steps=STEPS)[-1]
    what = "the shift that descent ends at from its closed form, S_t regular"
    yield same(instance, what, walk(regular), closed, condition=4)
    found, predicted = average(instance, walked), average(instance, formula)
    yield loss(instance, "average loss after the chain", found, predicted, key=AVERAGE)
    yield from _slopes(instance, displaced, always=always)
    yield from _exact(instance, steps, displaced)


def average(instance: Instance, shift: np.ndarray) -> float:
    """Return the average loss of the chain's tasks at a shift."""
    return float(np.mean(loss_matrix(chain(instance), instance.truth.A_star, shift[None])[1]))


def _slopes(instance: Instance, displaced: float, *, always: bool) -> Iterator[Evidence | Note]:
    """Compare central differences of the average loss with its slopes; learning helps, and so may stopping early."""
    R, one = shifts(instance), unit(instance)

    def at(rho: float) -> float:
        return average(instance, between(R, rho)) / one

    names = ("rho = 0, converged", "rho = 1, nothing learnt")
    for centre, name, formula in zip((0, 1), names, (slope_at_convergence, slope_at_nothing), strict=True):
        slope = float(formula(R)) / one
        yield Evidence(
            "numerical",
            instance.name,
            f"slope of the average loss at {name}, over 1/2 mean||R_t||^2, by central differences",
            (8 * (at(centre + H) - at(centre - H)) - at(centre + 2 * H) + at(centre - 2 * H)) / (12 * H),
            slope * (1 + 1e3 * displaced),
            "equal",
            1e-9 * max(1.0, abs(slope)),
            f"five-point differences of step {H:g}: truncation of order 1e-16 T^5, rounding of eps over the step",
            key="" if centre else SLOPE,
            decidable=float(instance.truth.scale) ** 2 < 1e4 * one,
        )
    best = min((at(rho), rho) for rho in np.linspace(0, 1, 201))
    yield Note(instance.name, f"least average loss {best[0]:.3f} at rho = {best[1]:.3f}; converged {at(0):.3f}")
    if always:
        what, stop = "gain of the best rho over convergence, over 1/2 mean||R_t||^2", at(0) - best[0]
        yield Evidence("numerical", instance.name, what, stop, 1e-6, "at least", 0.0, "visibly positive")
    what, learn = "gain of the best rho over learning nothing, over 1/2 mean||R_t||^2", at(1) - best[0]
    yield Evidence("numerical", instance.name, what, learn, 1e-6, "at least", 0.0, "visibly positive")


def _exact(instance: Instance, steps: Callable[[int], int], displaced: float) -> Iterator[Evidence]:
    """Take the steps over Q, with S = I and with S_t = I + v v^T, v of whole numbers."""
    truth = over_q(instance)
    if truth is None:
        return
    from flint import fmpq

    from loraml_theory.exact import rationals

    eta, R = fmpq(1, 7), truth.R[:-1]
    shift = 0 * R[0]
    for task in R:
        for _ in range(2):
            shift = shift - eta * (shift - task)
    rho = (1 - eta) ** steps(2) * (1 + rationals([displaced])[0])
    yield exact_evidence.zero(instance, "descent less sum_t (1 - rho) rho^(T-t) R_t", shift - between(R, rho))


CLAIM = Claim(
    id="CL-2",
    title="The learning rate is a method: descent keeps a geometric mean of the tasks",
    statement=(
        r"Gradient descent on the full shift, $m$ steps of $\eta$ on every task, inputs of covariance $I$, ends "
        r"at $\Delta_T = \sum_t (1 - \rho) \rho^{T-t} R_t^\star$, $\rho = (1 - \eta)^m$; for covariances "
        r"$\Sigma_t$ the powers are of $I - \eta \Sigma_t$, on the right. For $0 < \eta < 1$ the $\rho$ of least "
        r"average loss is below 1, and above 0 wherever $\langle R_T^\star - \bar R, R_T^\star - R_{T-1}^\star "
        r"\rangle$ is positive, $\bar R$ the mean of the shifts: then to stop before convergence forgets less "
        "than it costs."
    ),
    source="ours; proof in docs/forgetting.md, CL-2",
    nature="theorem",
    group="continual",
    assumptions=(),
    check=check,
    controls=(
        Control("mutated: m + 1 for m", partial(check, steps=lambda m: m + 1), carry("generic", 10, 1, 3)),
        Control("near miss: rho too large by 1e-9", partial(check, displaced=NEAR_MISS), carry("generic", 10, 1, 3)),
        Control(
            "mutated: the best rho is above 0 for equal tasks too",
            partial(check, always=True),
            equal_tasks,
            on_given=False,
        ),
    ),
    instances=with_integers,
    keys=(AVERAGE, SLOPE),
)
