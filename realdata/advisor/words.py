"""The results and their limits, in sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

from loraml_theory.solvers import Status
from realdata.advisor.advising import Advice, uniform_rank
from realdata.advisor.layer import LayerAdvice

CHANCE = 0.05
GAP = 2.0
"""Below this ratio the last singular value that counts has no gap to the next."""
NARROW = 4
"""A matrix with fewer rows or columns has too few singular values to estimate the noise."""
UNRELATED = 0.25
"""Tasks that share nothing are at a distance of 1 - 1/T of their energy from their mean, at least a half."""
CLEARLY = 0.9
"""A rank is called smaller if it is at most this share of the other."""


class Overall(NamedTuple):
    """The layers in one line: medians over those whose k is known and not 0.

    Parameters
    ----------
    k, k_ci, null_p, rank_sr, rank_ml
        Medians; None where no layer has one.
    independent
        Whether three tasks determine the base in every such layer; None with fewer tasks.
    rank_sr_share, rank_ml_share
        One rank for all layers that reaches the share of their energy.
    verdict
        ``helps``, ``expected to help``, ``no help``, ``no structure``, ``unchanged`` or ``cannot tell``.
    """

    k: int | None
    k_ci: tuple[int, int] | None
    null_p: float | None
    rank_sr: int | None
    rank_ml: int | None
    independent: bool | None
    rank_sr_share: int | None
    rank_ml_share: int | None
    verdict: str


def overall(advice: Advice) -> Overall:
    """Sum up the layers."""
    layers = structured(advice.layers)
    share = advice.settings.share
    asked = [layer.independent for layer in layers if layer.independent is not None]
    lows = [layer.shift_rank.low for layer in layers if layer.shift_rank.low is not None]
    highs = [layer.shift_rank.high for layer in layers if layer.shift_rank.high is not None]
    found = Overall(
        k=_middle([layer.shift_rank.k for layer in layers]),
        k_ci=(_middle(lows) or 0, _middle(highs) or 0) if lows and highs else None,
        null_p=_middle_number([layer.null[0] for layer in advice.layers if layer.null is not None]),
        rank_sr=_middle([layer.rank_sr for layer in layers]),
        rank_ml=_middle([layer.rank_ml for layer in layers]),
        independent=all(asked) if asked else None,
        rank_sr_share=uniform_rank(advice.layers, "sr", share),
        rank_ml_share=uniform_rank(advice.layers, "ml", share),
        verdict="",
    )
    return found._replace(verdict=_verdict(advice, found))


def structured(layers: Sequence[LayerAdvice]) -> list[LayerAdvice]:
    """Return the layers whose tasks differ by shifts of some rank."""
    return [layer for layer in layers if layer.shift_rank.k]


def _middle(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return round(median(known)) if known else None


def _middle_number(values: Sequence[float]) -> float | None:
    return float(median(values)) if values else None


def _verdict(advice: Advice, found: Overall) -> str:
    if all(layer.unchanged for layer in advice.layers):
        return "unchanged"
    if found.k is None:
        return "no structure"
    T = len(advice.tasks)
    if T == 2:
        return "cannot tell"
    if T == 3:
        known = found.independent and not _trivial(advice) and _fits(structured(advice.layers))
        return "expected to help" if known else "cannot tell"
    layers = structured(advice.layers)
    if _trivial(advice) or not _mostly(layers, lambda layer: layer.null is not None and layer.null[0] <= CHANCE):
        return "cannot tell"
    pairs = [(found.rank_sr_share, found.rank_ml_share)]
    if _mostly(layers, lambda layer: (layer.fit_rank or 0) >= (layer.shift_rank.k or 0)):
        pairs.append((found.rank_sr, found.rank_ml))
    less = [b <= CLEARLY * a for a, b in pairs if a is not None and b is not None]
    return "cannot tell" if not less else "helps" if all(less) else "no help" if not any(less) else "cannot tell"


def _trivial(advice: Advice) -> bool:
    """Return whether the requested base is that of the adapters, which ML-3 recovers at their own rank."""
    return advice.adapters and all((layer.fit_rank or 0) >= (layer.by_adapters or 0) for layer in advice.layers)


def _mostly(layers: Sequence[LayerAdvice], holds: Callable[[LayerAdvice], bool]) -> bool:
    return 2 * sum(map(holds, layers)) > len(layers)


def _fits(layers: Sequence[LayerAdvice]) -> bool:
    """Return whether most layers are far from chance with a spectrum that has a gap."""
    return _mostly(layers, lambda layer: layer.null is not None and layer.null[0] <= CHANCE and _gap(layer) >= GAP)


def _gap(layer: LayerAdvice) -> float:
    return layer.shift_rank.gap or 0.0


def layer_sentence(layer: LayerAdvice) -> str:
    """Return the results of one layer in words."""
    found = layer.shift_rank
    if found.k == 0:
        return "The tasks do not differ beyond rounding."
    if found.k is None and min(layer.matrix) < NARROW:
        return "Too narrow to tell shifts from noise."
    if found.k is None:
        p = f"; p = {layer.null[0]:.2g} against random shifts" if layer.null else ""
        return f"Nothing stands above the noise: no rank of the shifts can be told{p}."
    interval = "" if found.low == found.high else f" ({found.low} to {found.high})"
    parts = [f"Shifts of rank {found.k}{interval}"]
    if found.censored:
        parts[0] += ", or more: all directions that could count do"
    elif layer.by_adapters is not None and found.k >= layer.by_adapters:
        parts[0] += ", the rank of the adapters, which bounds it"
    elif _gap(layer) < GAP:
        parts[0] += f", but the spectrum has no gap there (ratio {_gap(layer):.2g}): another noise level, another rank"
    if layer.null is not None and layer.null[0] > CHANCE:
        parts.append(f"random shifts of these norms fit as well (p = {layer.null[0]:.2g})")
    if layer.independent is False:
        parts.append("no three tasks are independent as far as the noise shows: the base is not determined")
    if layer.fit is not None and layer.fit.status.name != "CONVERGED":
        parts.append(f"the base's descent ended as {layer.fit.status.name.lower()}")
    open_ends = [] if layer.held_out is None else [s for s in layer.held_out.statuses if s is not Status.CONVERGED]
    if open_ends:
        parts.append(f"{len(open_ends)} of {layer.T} descents with a task held out did not converge")
    return "; ".join(parts) + "."


def _span(low: int | None, high: int | None) -> str:
    return f"{low}" if low == high else f"{low} to {high}"


def findings(advice: Advice, found: Overall) -> list[str]:
    """Return the results in words."""
    T, share = len(advice.tasks), f"{100 * advice.settings.share:g} %"
    layers = structured(advice.layers)
    if found.verdict == "unchanged":
        return ["The tasks do not differ in any analysed weight."]
    said = []
    if found.k is None:
        return [
            "In no layer does anything stand above the noise: the tasks' differences look like random matrices of full "
            "rank, and the model of one base and shifts of low rank does not describe them.",
            "Nothing here speaks for meta-learned retraining; averaging is enough.",
        ]
    where = f"In {len(layers)} of {len(advice.layers)} layers"
    which = f"k = {found.k} in the median ({_range([layer.shift_rank.k for layer in layers])})"
    if _mostly(layers, lambda layer: layer.shift_rank.censored or _gap(layer) < GAP):
        said.append(
            f"{where} the tasks' shifts stand above the noise, with {which}, but mostly without a gap in the singular "
            "values: they are of no clear low rank."
        )
    else:
        said.append(f"{where} the tasks differ by shifts of low rank, {which}.")
    far = sum(layer.null is not None and layer.null[0] <= CHANCE for layer in layers)
    said.append(
        f"One base and shifts of that rank fit better than random shifts of the same norms (p ≤ {CHANCE:g}) "
        f"in {far} of {len(layers)} layers."
    )
    if found.rank_sr is not None:
        sr = f"from the average a held-out task needs rank {found.rank_sr} in the median layer"
        if T >= 4 and found.rank_ml is not None:
            said.append(f"Above the noise, {sr}, from the LoRA-ML base of the other tasks rank {found.rank_ml}.")
        elif T == 3 and found.rank_ml is not None:
            said.append(
                f"Above the noise, {sr}; from the LoRA-ML base of all three tasks theory expects rank {found.rank_ml}."
            )
        else:
            said.append(f"Above the noise, {sr}.")
    if found.rank_sr_share is not None:
        sentence = f"One rank for all layers that reaches {share} of the energy: {found.rank_sr_share} from the average"
        ml = "" if found.rank_ml_share is None else f", {found.rank_ml_share} from the LoRA-ML base"
        said.append(f"{sentence}{ml}.")
    return [*said, CONCLUSIONS[found.verdict]]


CONCLUSIONS = {
    "helps": "By these weights meta-learned retraining would let a new task do with a smaller rank.",
    "expected to help": "By theory meta-learned retraining would let a new task do with a smaller rank; a fourth task "
    "would let that be tried on a task held out.",
    "no help": "By these weights meta-learned retraining would not let a new task do with a smaller rank.",
    "cannot tell": "Whether meta-learned retraining would help cannot be told from these weights.",
}


def _range(values: Sequence[int | None]) -> str:
    known = [value for value in values if value is not None]
    return _span(min(known), max(known)) if min(known) != max(known) else "the same in all"


def _twins(advice: Advice) -> list[tuple[int, int]]:
    """Return the pairs of tasks that do not differ beyond rounding in any layer, though others do."""
    if all(layer.unchanged for layer in advice.layers):
        return []
    found = [layer.differences for layer in advice.layers]
    return [
        pair for i, pair in enumerate(found[0].pairs) if all(float(each.values[i, 0]) <= each.floor for each in found)
    ]


def _named(names: Sequence[str]) -> str:
    """Name one of several weights.

    Examples
    --------
    >>> _named(["head.weight"]), _named(["head.weight", "head.bias"])
    ('head.weight', '2 weights, such as head.weight,')
    """
    return names[0] if len(names) == 1 else f"{len(names)} weights, such as {names[0]},"


def cannot_tell(advice: Advice) -> list[str]:
    """Return what the weights cannot tell."""
    T = len(advice.tasks)
    said = []
    if T == 2:
        said.append(
            "Two tasks do not determine a base (ML-2): a new task needs up to rank 3k from either. Give three or more; "
            "with two the base is not fitted by theory but averaged."
        )
    if T == 3:
        said.append(
            "With three tasks, holding one out leaves two, which determine no base: the rank from the LoRA-ML base is "
            "theory's k for independent tasks, not one that was tried."
        )
    left = [each for each in advice.skipped if not each.compared]
    if left:
        said.append(
            f"{_named([each.name for each in left])} cannot be compared and {'does' if len(left) == 1 else 'do'} not "
            "count: the list of what was not analysed says why."
        )
    said += [
        f"{advice.tasks[t]} and {advice.tasks[s]} are the same: when one is held out, the other is still there."
        for t, s in _twins(advice)
    ]
    far = [layer.share_apart for layer in advice.layers if layer.share_apart is not None]
    if far and median(far) > UNRELATED:
        said.append(
            f"In the median layer the tasks are {100 * median(far):.0f} % of the largest one's energy away from their "
            "mean, as models that have nothing in common are. If they are not fine-tuned from one base, there is no "
            "shift to ask about."
        )
    if advice.adapters:
        said.append(
            "The tasks are low-rank adapters: k is bounded by their rank by construction, and that it is small says "
            "nothing about the tasks. The share of the energy does."
        )
        if _trivial(advice):
            said.append(
                "At the adapters' own rank the LoRA-ML base of three independent tasks is the base that they are on "
                "(ML-3). Name a smaller rank with --rank to ask whether another base would do with less."
            )
    if any(layer.shift_rank.k and not layer.shift_rank.censored and _gap(layer) < GAP for layer in advice.layers):
        said.append(
            "Where the singular values fall off without a gap, k is where they reach a floor of white noise, which "
            "trained weights need not have: take the ranks for a share of the energy instead."
        )
    if any(layer.noise.sigma > 0 for layer in advice.layers):
        said.append("Shifts whose singular values are below the noise's edge are not seen, and not counted.")
    if any(layer.null for layer in advice.layers):
        draws = advice.settings.draws
        against = "random adapters of the same ranks" if advice.adapters else "shifts in all directions alike"
        said.append(
            f"p compares with {against}, with a resolution of 1/{draws + 1}: a small one says that the differences are "
            "concentrated in fewer directions, and not by itself that tasks share a base."
        )
    said.append(
        "All of this is about the weights as a linear map: a direction counts by its energy, not by what it does to "
        "the loss. The error of fine-tuning on n samples has, besides, a part r(p + q − r) σ²/n (FT-2), where σ and n "
        "are yours."
    )
    return said
