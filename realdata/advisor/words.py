"""The results and their limits, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from loraml_theory.solvers import Status
from loraml_theory.statistics.adaptation import LEAST
from realdata.advisor.advising import Advice
from realdata.advisor.layer import LayerAdvice, Start
from realdata.advisor.verdict import CHANCE, GAP, Overall, gap, mostly, shared_cosine, structured, trivial

NARROW = 4
"""A matrix with fewer rows or columns has too few singular values to estimate the noise."""
UNRELATED = 0.25
"""Tasks that share nothing are at a distance of 1 - 1/T of their energy from their mean, at least a half."""
NAMES: dict[Start, str] = {"base": "the base as it is", "sr": "the average of the tasks", "ml": "the LoRA-ML base"}


def advice_sentence(advice: Advice, found: Overall) -> str:
    """Return what to do, in one sentence."""
    start, rank = found.start
    others = " and ".join(f"rank {r} from {NAMES[s]}" for s, r in _known_ranks(found) if s != "ml")
    use = _use(start, rank)
    return {
        "unchanged": "Use one model for all tasks: they do not differ in any analysed weight.",
        "no structure": "Do not retrain by LoRA-ML: no shift of low rank stands above the noise.",
        "no help": f"{use}; meta-learned retraining would not help.",
        "helps": f"Retrain by LoRA-ML, then use rank {found.rank_ml_share}: a new task needs {others}.",
        "expected to help": f"Retrain by LoRA-ML: theory expects rank {found.k}, where a new task needs {others}.",
        "cannot tell": f"{use}; {_to_learn_more(advice, found)}.",
    }[found.verdict]


def _use(start: Start, rank: int | None) -> str:
    if rank is None:
        return f"Use a large rank from {NAMES[start]}"
    return f"Use rank {rank} from {NAMES[start]}" if rank else f"Use {NAMES[start]} without an adapter"


def _to_learn_more(advice: Advice, found: Overall) -> str:
    """Return what would let one tell whether retraining helps."""
    learn = "to learn whether meta-learned retraining would help"
    if len(found.groups) < min(len(advice.tasks), LEAST + 1):
        return f"give more tasks that differ, or each group of tasks by itself, {learn}"
    if len(advice.tasks) == 2:
        return f"give three or more tasks {learn}"
    if found.aligned_p is None:
        return f"give the base of the tasks with --base {learn}"
    if not found.aligned:
        return "that the LoRA-ML base would do with a smaller rank may be chance"
    if trivial(advice):
        return f"ask with a smaller --rank {learn}"
    return "whether meta-learned retraining would help cannot be told: no base is clearly determined by these tasks"


def _known_ranks(found: Overall) -> list[tuple[Start, int]]:
    """Return the starts with the rank that each needs for the share, where it is known."""
    ranks: list[tuple[Start, int | None]] = [
        ("base", found.rank_base_share),
        ("sr", found.rank_sr_share),
        ("ml", found.rank_ml_share),
    ]
    return [(start, rank) for start, rank in ranks if rank is not None]


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
    elif gap(layer) < GAP:
        parts[0] += f", but the spectrum has no gap there (ratio {gap(layer):.2g}): another noise level, another rank"
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
    """Return what to do, and the results that speak for it."""
    first = advice_sentence(advice, found)
    if found.verdict == "unchanged":
        return [first]
    if found.k is None:
        return [
            first,
            "In no layer does anything stand above the noise: the tasks' differences look like random matrices of full "
            "rank, and the model of one base and shifts of low rank does not describe them.",
            "Nothing here speaks for meta-learned retraining; averaging is enough.",
        ]
    said = [first, *_by_share(advice, found), *_by_noise(advice, found), *_shared(advice, found)]
    return [*said, *_shifts(advice)]


def _by_share(advice: Advice, found: Overall) -> list[str]:
    known = ", ".join(f"{rank} from {NAMES[start]}" for start, rank in _known_ranks(found))
    if not known:
        return []
    share = f"{100 * advice.settings.share:g} %"
    return [f"One rank for all layers that reaches {share} of the energy of a held-out task: {known}."]


def _by_noise(advice: Advice, found: Overall) -> list[str]:
    ranks: list[tuple[Start, int | None]] = [("base", found.rank_base), ("sr", found.rank_sr), ("ml", found.rank_ml)]
    theory = any(layer.rank_ml_from == "theory" for layer in structured(advice.layers))
    known = [
        f"{rank} from {NAMES[start]}{', by theory' if start == 'ml' and theory else ''}"
        for start, rank in ranks
        if rank is not None and (start != "ml" or len(advice.tasks) >= LEAST)
    ]
    return [f"Above the noise it needs, in the median layer, rank {'; '.join(known)}."] if known else []


def _shared(advice: Advice, found: Overall) -> list[str]:
    cosine = shared_cosine(advice, found.groups)
    if found.aligned_p is None or cosine is None:
        return []
    share = "share a part" if found.aligned else "share no part that is clear of chance"
    return [
        f"The tasks' shifts from the base {share}: the median cosine of two is {cosine:.2g}, and random directions are "
        f"as well aligned with probability {found.aligned_p:.1g}."
    ]


def _shifts(advice: Advice) -> list[str]:
    """Return what the differences of the tasks are like."""
    layers = structured(advice.layers)
    where = f"In {len(layers)} of {len(advice.layers)} layers"
    which = f"k = {median([layer.shift_rank.k or 0 for layer in layers]):g} in the median"
    which += f" ({_range([layer.shift_rank.k for layer in layers])})"
    said = [f"{where} the tasks differ by shifts of low rank, {which}."]
    if mostly(layers, lambda layer: layer.shift_rank.censored or gap(layer) < GAP):
        said = [
            f"{where} the tasks' shifts stand above the noise, with {which}, but mostly without a gap in the singular "
            "values: they are of no clear low rank."
        ]
    far = sum(layer.null is not None and layer.null[0] <= CHANCE for layer in layers)
    said.append(
        f"One base and shifts of that rank fit better than random shifts of the same norms (p ≤ {CHANCE:g}) "
        f"in {far} of {len(layers)} layers."
    )
    tied = sum(layer.independent is False for layer in layers)
    if tied:
        said.append(
            f"In {tied} of {len(layers)} layers no three tasks are independent: their shifts use the same rows or "
            "columns as far as the noise shows, and determine no base."
        )
    return said


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


def _close(advice: Advice, found: Overall) -> list[str]:
    """Say which tasks are the same, or nearly so."""
    twins = _twins(advice)
    said = [
        f"{advice.tasks[t]} and {advice.tasks[s]} are the same: they count as one task, held out together."
        for t, s in twins
    ]
    near = [group for group in found.groups if len(group) > 1 and (group[0], group[1]) not in twins]
    if not near:
        return said
    if len(found.groups) == 2:
        both = " | ".join(", ".join(advice.tasks[t] for t in group) for group in found.groups)
        return [
            *said,
            f"The tasks fall into two groups, much closer within than between: {both}. Ask about each group by itself.",
        ]
    return said + [
        f"{_and([advice.tasks[t] for t in group])} are much closer to one another than to the rest, as adapters "
        "trained twice on one task are: they count as one task, held out together."
        for group in near
    ]


def _and(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _unrelated(advice: Advice) -> list[str]:
    """Say where the tasks look like models of different bases: far apart, and not by shifts of low rank."""
    far = [layer for layer in advice.layers if layer.share_apart is not None and layer.aligned is None]
    shares = [layer.share_apart or 0.0 for layer in far]
    low = [layer for layer in far if layer.shift_rank.k and 4 * layer.shift_rank.k <= min(layer.matrix)]
    if not far or median(shares) <= UNRELATED or 2 * len(low) > len(far):
        return []
    return [
        f"In the median layer the tasks are {100 * median(shares):.0f} % of the largest one's energy away from their "
        "mean, as models that have nothing in common are, and rotated or permuted copies of one. If they are not "
        "fine-tuned from one base, there is no shift to ask about."
    ]


def cannot_tell(advice: Advice, found: Overall) -> list[str]:
    """Return what the weights cannot tell."""
    T = len(advice.tasks)
    said = []
    if T == 2:
        said.append(
            "Two tasks do not determine a base (ML-2): a new task needs up to rank 3k from either. Give three or more; "
            "with two the base is not fitted by theory but averaged."
        )
    if len(found.groups) == LEAST:
        said.append(
            "With three tasks that differ, holding one out leaves two, which determine no base: the rank from the "
            "LoRA-ML base is theory's k for independent tasks, not one that was tried."
        )
    if found.aligned_p is None and found.verdict != "unchanged":
        said.append(
            "The base that the tasks were fine-tuned from is not known. The LoRA-ML base may be that base (ML-3), "
            "which retraining would then not improve."
        )
    said += _close(advice, found)
    left = [each for each in advice.skipped if not each.compared]
    if left:
        said.append(
            f"{_named([each.name for each in left])} cannot be compared and {'does' if len(left) == 1 else 'do'} not "
            "count: the list of what was not analysed says why."
        )
    said += _unrelated(advice)
    if advice.adapters:
        said.append(
            "The tasks are low-rank adapters: k is bounded by their rank by construction, and that it is small says "
            "nothing about the tasks. The share of the energy does."
        )
        if trivial(advice):
            said.append(
                "At the adapters' own rank the LoRA-ML base of three independent tasks is the base that they are on "
                "(ML-3). Name a smaller rank with --rank to ask whether another base would do with less."
            )
    if any(layer.shift_rank.k and not layer.shift_rank.censored and gap(layer) < GAP for layer in advice.layers):
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
