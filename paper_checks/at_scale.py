"""The claims on ensembles of random structures: what is drawn, what is asserted, and the false statements.

Every structure either meets the statement, or does not, or float64 cannot tell, or a solver did not get to a point
that the statement is about. A theorem's share of successes among those judged is 1, so that one failure refutes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from paper_checks.claim import AtScale, Evidence, Profile
from paper_checks.error_budget import FALSE_ALARM
from sims import claims_at_scale as claims
from sims import rates_at_scale as rates
from sims.ensembles import Block, Ensemble, noise, orbit, starts
from sims.masks import Masks, Tally
from sims.proportions import clopper_pearson
from sims.tallies import Draws, no_draws, tally

CONTROL = 1000  # structures are plenty to refute a false statement


@dataclass(frozen=True)
class Statement:
    """What holds on a share of the structures of some ensembles.

    Parameters
    ----------
    what
        The statement, in words.
    function
        Finds out on which structures of a batch it holds.
    ensembles
        Where.
    draws
        Random numbers that the function takes.
    options
        Further arguments of the function.
    share
        From an ensemble to the predicted share and its tolerance.
    """

    what: str
    function: Callable[..., Masks]
    ensembles: tuple[Ensemble, ...]
    draws: Draws = no_draws
    options: Mapping[str, Any] = field(default_factory=dict)
    share: Callable[[Ensemble], tuple[float, float]] = lambda _: (1.0, 0.0)

    def mutated(self, ensemble: int = 0, **options: Any) -> Statement:
        """Return the statement with other arguments, on one of the ensembles."""
        return replace(self, ensembles=(self.ensembles[ensemble],), options={**self.options, **options})


def check(
    seed: int, profile: Profile, *, statements: tuple[Statement, ...], most: int | None = None
) -> Iterator[Evidence]:
    """Count successes on the profile's number of structures, `most` at most, of every ensemble."""
    from sims import engines

    engine = engines.get(profile.engine, profile.device)
    structures = profile.structures if most is None else min(most, profile.structures)
    for each in statements:
        for ensemble in each.ensembles:
            counts = tally(
                engine, each.function, ensemble, structures=structures, seed=seed, draws=each.draws, **each.options
            )
            yield _evidence(each, ensemble, counts)


def _evidence(statement: Statement, ensemble: Ensemble, counts: Tally) -> Evidence:
    predicted, tolerance = statement.share(ensemble)
    low, high = clopper_pearson(counts.success, counts.judged, level=1 - FALSE_ALARM)
    apart = (
        (counts.undecided, "not decidable in float64"),
        (counts.unconverged, "not converged"),
        (counts.elsewhere, "ended stationary above the global minimum"),
    )
    said = "".join(f", {number} {what}" for number, what in apart if number)
    failed = f"; first failure: structure {counts.first_failure}" if predicted == 1 and counts.failure else ""
    return Evidence(
        "statistical",
        f"{counts.structures} x {ensemble}",
        f"share of structures: {statement.what}",
        counts.success / counts.judged if counts.judged else float("nan"),
        predicted,
        "equal",
        tolerance,
        f"{counts.success} of {counts.judged} judged structures{said}{failed}; Clopper-Pearson interval, false-alarm "
        f"probability {FALSE_ALARM:.2g}",
        interval=(low, high),
        decidable=2 * counts.judged >= counts.structures > 0,
        samples=counts.judged,
    )


def _at_scale(*statements: Statement, controls: Mapping[str, Statement]) -> AtScale:
    false = tuple(
        (f"at scale: {what}", partial(check, statements=(statement,), most=CONTROL))
        for what, statement in controls.items()
    )
    return AtScale(partial(check, statements=statements), false)


def _start(block: Block) -> tuple[Any, ...]:
    return (starts(block.rng, block.truth),)


def _orbit(block: Block) -> tuple[Any, ...]:
    return orbit(block.rng, block.truth)


def _noise(block: Block) -> tuple[Any, ...]:
    return (noise(block.rng, block.truth, 10 * block.truth.d, sigma_x=rates.SIGMA_X),)


def _noise_and_orbit(block: Block) -> tuple[Any, ...]:
    return (*_noise(block), *_orbit(block))


def _fit(block: Block, *, rank: claims.Count) -> tuple[Any, ...]:
    """Draw what SR-3 descends from and fits, at a rank."""
    truth, rng = block.truth, block.rng
    start = rng.standard_normal((2, len(truth.A_star), truth.d, rank(truth.k, truth.T)))
    return start, noise(rng, truth, 2 * truth.d)


def _k(k: int, _T: int) -> int:
    return k


def _one_below(k: int, T: int) -> int:
    return k * (T + 1) - 1


def _covered(rank: rates.Rank) -> Callable[[Ensemble], tuple[float, float]]:
    """Predict the share of errors in the central interval of rank `rank` fine-tuning."""
    return lambda e: (rates.COVERAGE, rates.coverage_tolerance(rank(e.k, e.T, e.d), e.d))


TWO, TWO_2, TWO_4 = Ensemble("generic", 10, 1, 2), Ensemble("asymmetric", 12, 2, 2), Ensemble("generic", 20, 4, 2)
THREE, FIVE = Ensemble("generic", 10, 1, 3), Ensemble("generic", 10, 1, 5)
THREE_2, FOUR_2 = Ensemble("asymmetric", 12, 2, 3), Ensemble("asymmetric", 12, 2, 4)
THREE_3 = Ensemble("generic", 10, 3, 3)
FIVE_3, FIVE_SCALED = Ensemble("generic", 20, 3, 5), Ensemble("scaled", 12, 1, 5)
REPEATED = Ensemble("repeated-task", 10, 1, 3)

_INERTIA = Statement("W_{T+1} - A_SR has inertia (k, kT)", claims.sr_2, (THREE, FOUR_2, FIVE_SCALED, FIVE_3))
SR_2 = _at_scale(_INERTIA, controls={"rank kT in place of k(T+1)": _INERTIA.mutated(rank=lambda k, T: k * T)})

_FLOOR = Statement(
    "no shift of rank k(T+1) - 1 from Newton or samples is below the positive floor, the closed form attains it",
    claims.sr_3,
    (THREE,),
    partial(_fit, rank=_one_below),
    {"rank": _one_below},
)
_FLOOR_K = Statement(
    "no shift of rank k from Newton or samples is below the positive floor, the closed form attains it",
    claims.sr_3,
    (THREE, THREE_2),
    partial(_fit, rank=_k),
    {"rank": _k},
)
SR_3 = _at_scale(
    _FLOOR,
    _FLOOR_K,
    controls={"the tail from i >= r": _FLOOR.mutated(rank_of_floor=lambda k, T: _one_below(k, T) - 1)},
)

_RANKS = Statement(
    "rank(A - A*) <= 2k and rank(W_{T+1} - A) <= 3k at the minimiser Newton finds",
    claims.ml_1,
    (TWO, THREE, FOUR_2),
    _start,
)
ML_1 = _at_scale(_RANKS, controls={"rank(W_{T+1} - A) <= 2k at T = 2": _RANKS.mutated(residual_rank=2)})

_ORBIT = Statement(
    "a drawn orbit point is a minimiser, A - A* has inertia (k, k), W_3 - A (2k, k)",
    claims.ml_2_orbit,
    (TWO, TWO_2, TWO_4),
    _orbit,
)
_CONVERSE = Statement(
    "the minimiser Newton finds is [U_1*, U_2*] H with H in O(k, k)", claims.ml_2_converse, (TWO, TWO_2), _start
)
ML_2 = _at_scale(_ORBIT, _CONVERSE, controls={"rank(W_3 - A) = 2k": _ORBIT.mutated(needed=2)})

_SPECTRAL = Statement(
    "base and shifts of the spectral form are the truth to rounding", claims.ml_3_spectral, (THREE, FOUR_2, THREE_3)
)
_RANDOM = Statement("the minimiser Newton finds from a random start is the truth", claims.ml_3, (THREE, FOUR_2), _start)
ML_3 = _at_scale(
    _SPECTRAL,
    _RANDOM,
    controls={
        "a base 10^-4 off": replace(_SPECTRAL, options={"factor": 1.0001}),
        "broken assumption, a repeated task": replace(_RANDOM, ensembles=(REPEATED,), options={"condition": 1.0}),
    },
)

_GROWTH = Statement(
    f"error at rank k(T+1) in FT-2's central {rates.COVERAGE:.0%} interval of that rank",
    rates.sr_4,
    (TWO, THREE, FIVE, THREE_2),
    _noise,
    share=_covered(rates.standard_rank),
)
_STAYS = Statement("error at rank k above sum_{i>k} sigma_i^2", rates.sr_4_floor, (TWO, THREE, FIVE), _noise)
SR_4 = _at_scale(
    _GROWTH,
    _STAYS,
    controls={
        "rank kT in place of k(T+1)": _GROWTH.mutated(rank=lambda k, T, d: min(d, k * T)),
        "the floor holds for the base A* too": _STAYS.mutated(from_truth=True),
    },
)

_FLAT = Statement(
    f"error at rank k in FT-2's central {rates.COVERAGE:.0%} interval of that rank",
    rates.ml_7,
    (THREE, FIVE, FOUR_2),
    _noise,
    share=_covered(rates.shared_rank),
)
_FLAT_AT_TWO = Statement(
    f"error at rank 3k from two tasks in FT-2's central {rates.COVERAGE:.0%} interval of that rank",
    rates.ml_7_two_tasks,
    (TWO, TWO_2),
    _noise_and_orbit,
    share=_covered(rates.shared_rank),
)
ML_7 = _at_scale(
    _FLAT,
    _FLAT_AT_TWO,
    controls={
        "error of rank k(T+1), growing with T": _FLAT.mutated(rank=rates.standard_rank),
        "the same of the base of standard retraining": _FLAT.mutated(standard=True),
        "rank 2k at T = 2": _FLAT_AT_TWO.mutated(rank=lambda k, _T, _d: 2 * k),
    },
)
