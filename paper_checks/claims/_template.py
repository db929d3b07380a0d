"""OWN-1: how two retraining tasks differ."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from loraml_theory.spectra import congruence_floor, rounding_level
from loraml_theory.structure import Array, GroundTruth, joint_factor
from paper_checks.claim import Claim, Control, Profile
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.assumptions import RETRAINING_PAIR_INDEPENDENT
from paper_checks.evidence.at_scale import Statement, at_scale
from paper_checks.evidence.drawn import carry, with_integers
from paper_checks.evidence.evidence import Evidence
from paper_checks.evidence.instance import Instance
from paper_checks.evidence.measure import inertia_evidence
from sims.ensembles.ensembles import Ensemble
from sims.ensembles.masks import Masks, inertia_masks, masks

RANK = "rank of $W_1 - W_2$"


def check(instance: Instance, _profile: Profile, *, negative: int = 1) -> Iterator[Evidence]:
    """Count the positive and the negative eigenvalues of W_1 - W_2; predict k and `negative` times k."""
    truth = instance.truth
    what, predicted, pair = "W_1 - W_2", (truth.k, negative * truth.k), joint_factor(truth.U_star[:2])
    M = truth.W[0] - truth.W[1]
    yield from inertia_evidence(instance, what, M, factor=pair, smallest=1.0, predicted=predicted, key=RANK)
    exactly = exact_evidence.over_rationals(instance)
    if exactly is not None:
        W = exactly.W_retraining
        yield from exact_evidence.signs(instance, what, W[0] - W[1], predicted, key=RANK)


def has_inertia(A_star: Array, U_star: Array, *, negative: int = 1) -> Masks:
    """Count the same eigenvalues for a whole batch of structures."""
    truth = GroundTruth(A_star, U_star)
    W, cut = truth.W, rounding_level(truth.scale, truth.d)
    floor = congruence_floor(joint_factor(U_star[..., :2, :, :]), 1.0)
    predicted = truth.k, negative * truth.k
    return masks(*inertia_masks(W[..., 0, :, :] - W[..., 1, :, :], cut, floor, predicted))


INERTIA = Statement("W_1 - W_2 has inertia (k, k)", has_inertia, (Ensemble("generic", 10, 1, 3),))

CLAIM = Claim(
    id="OWN-1",
    title="Two tasks differ by an indefinite matrix of rank $2k$",
    statement=(
        r"If $[U_1^\star, U_2^\star]$ has full column rank $2k$, then $W_1 - W_2$ has exactly $k$ positive and $k$ "
        "negative eigenvalues."
    ),
    source="Sylvester's law of inertia",
    nature="theorem",
    assumptions=(RETRAINING_PAIR_INDEPENDENT,),
    check=check,
    controls=(Control("mutated: W_1 - W_2 has rank k", partial(check, negative=0), carry("generic", 10, 1, 3)),),
    at_scale=at_scale(INERTIA, controls={"W_1 - W_2 has rank k": INERTIA.mutated(negative=0)}),
    instances=with_integers,
    keys=(RANK,),
)
