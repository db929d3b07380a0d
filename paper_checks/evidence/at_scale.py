"""Claims on ensembles of random structures: statements about a batch, their counts and exact intervals.

The statements and their ensembles are in each claim's file. A structure meets its statement, or does not, or float64
cannot tell, or a solver did not reach a point that the statement is about. A theorem's share of successes among those
judged is 1, so that one failure refutes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from paper_checks.claim import AtScale, Profile
from paper_checks.evidence.error_budget import FALSE_ALARM
from paper_checks.evidence.evidence import Evidence
from sims.ensembles.ensembles import Ensemble
from sims.ensembles.masks import Masks, Tally
from sims.ensembles.proportions import clopper_pearson
from sims.ensembles.tallies import Draws, no_draws, tally

CONTROL = 1000  # structures suffice to refute a false statement


@dataclass(frozen=True)
class Statement:
    """A statement that holds on a share of the structures of some ensembles.

    Parameters
    ----------
    what
        The statement, in words.
    function
        Maps A* ``(B, d, d)``, U* ``(B, T+1, d, k)`` and random numbers drawn for them to `Masks`, which say where it
        holds. Array-API code that any engine evaluates; mutated through keyword arguments.
    ensembles
    The ensembles.
    purpose
        Name of the random stream of `draws`.
    draws
        Random numbers that the function takes.
    options
        Further arguments of the function.
    share
        Maps an ensemble to the predicted share and its tolerance.
    """

    what: str
    function: Callable[..., Masks]
    ensembles: tuple[Ensemble, ...]
    purpose: str = ""
    draws: Draws = no_draws
    options: Mapping[str, Any] = field(default_factory=dict)
    share: Callable[[Ensemble], tuple[float, float]] = lambda _: (1.0, 0.0)

    def mutated(self, ensemble: int = 0, **options: Any) -> Statement:
        """Return the statement with other arguments, on one of the ensembles."""
        return replace(self, ensembles=(self.ensembles[ensemble],), options={**self.options, **options})


def check(
    seed: int, profile: Profile, *, statements: tuple[Statement, ...], most: int | None = None
) -> Iterator[Evidence]:
    """Count successes on the profile's number of structures, at most `most`, of every ensemble."""
    from sims import engines

    engine = engines.get(profile.engine, profile.device)
    structures = profile.structures if most is None else min(most, profile.structures)
    for each in statements:
        for ensemble in each.ensembles:
            counts = tally(
                engine,
                each.function,
                ensemble,
                purpose=each.purpose,
                structures=structures,
                seed=seed,
                draws=each.draws,
                **each.options,
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


def at_scale(*statements: Statement, controls: Mapping[str, Statement]) -> AtScale:
    """Return the check of statements on ensembles, and the checks of false ones by name."""
    false = tuple(
        (f"at scale: {what}", partial(check, statements=(statement,), most=CONTROL))
        for what, statement in controls.items()
    )
    return AtScale(partial(check, statements=statements), false)
