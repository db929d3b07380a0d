"""All layers in one line: whether meta-learned retraining would help, and where to start instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

import numpy as np

from loraml_theory.statistics.adaptation import LEAST
from loraml_theory.statistics.alignment import Alignment, Groups, groups, together
from realdata.advisor.advising import Advice, uniform_rank
from realdata.advisor.layer import LayerAdvice, Start

CHANCE = 0.05
GAP = 2.0
"""Below this ratio the last singular value that counts has no gap to the next."""
CLEARLY = 0.9
"""A rank is called smaller if it is at most this share of the other."""
ALIGNED = 0.005
"""Tasks share a part of their shifts if random directions are as well aligned with at most this probability."""


class Overall(NamedTuple):
    """The layers in one line: medians over those whose k is known and not 0.

    Parameters
    ----------
    k, k_ci, null_p, rank_base, rank_sr, rank_ml
        Medians; None where no layer has one.
    independent
        Whether three tasks determine the base in every such layer; None with fewer tasks.
    rank_base_share, rank_sr_share, rank_ml_share
        One rank for all layers that reaches the share of their energy.
    aligned_p
        See `Alignment.chance`, of all layers together; None where the base is not known.
    groups
        See `loraml_theory.statistics.alignment.groups`, of all layers together.
    verdict
        ``helps``, ``expected to help``, ``no help``, ``no structure``, ``unchanged`` or ``cannot tell``.
    """

    k: int | None
    k_ci: tuple[int, int] | None
    null_p: float | None
    rank_base: int | None
    rank_sr: int | None
    rank_ml: int | None
    independent: bool | None
    rank_base_share: int | None
    rank_sr_share: int | None
    rank_ml_share: int | None
    aligned_p: float | None
    groups: Groups
    verdict: str

    @property
    def aligned(self) -> bool:
        """Whether most tasks share a part of their shifts from the base, by more than chance."""
        return self.aligned_p is not None and self.aligned_p <= ALIGNED

    @property
    def start(self) -> tuple[Start, int | None]:
        """The known start from which a held-out task needs the smaller rank for the share, and that rank."""
        base, sr = self.rank_base_share, self.rank_sr_share
        return ("base", base) if base is not None and (sr is None or base <= sr) else ("sr", sr)

    @property
    def advised(self) -> tuple[Start, int | None]:
        """The start that is advised, the LoRA-ML base where it helps, and the rank from there."""
        if self.verdict not in ("helps", "expected to help"):
            return self.start
        return "ml", self.rank_ml_share if self.verdict == "helps" else self.k


def overall(advice: Advice) -> Overall:
    """Sum up the layers."""
    layers = structured(advice.layers)
    share = advice.settings.share
    asked = [layer.independent for layer in layers if layer.independent is not None]
    lows = [layer.shift_rank.low for layer in layers if layer.shift_rank.low is not None]
    highs = [layer.shift_rank.high for layer in layers if layer.shift_rank.high is not None]
    alike = _groups(advice)
    found = Overall(
        k=_middle([layer.shift_rank.k for layer in layers]),
        k_ci=(_middle(lows) or 0, _middle(highs) or 0) if lows and highs else None,
        null_p=_middle_number([layer.null[0] for layer in advice.layers if layer.null is not None]),
        rank_base=_middle([layer.rank_base for layer in layers]),
        rank_sr=_middle([layer.rank_sr for layer in layers]),
        rank_ml=_middle([layer.rank_ml for layer in layers]),
        independent=all(asked) if asked else None,
        rank_base_share=uniform_rank(advice.layers, "base", share),
        rank_sr_share=uniform_rank(advice.layers, "sr", share),
        rank_ml_share=uniform_rank(advice.layers, "ml", share),
        aligned_p=_chance(advice, alike),
        groups=alike,
        verdict="",
    )
    return found._replace(verdict=_verdict(advice, found))


def structured(layers: Sequence[LayerAdvice]) -> list[LayerAdvice]:
    """Return the layers whose tasks differ by shifts of some rank."""
    return [layer for layer in layers if layer.shift_rank.k]


def shared_cosine(advice: Advice, alike: Groups) -> float | None:
    """Return the median cosine between two shifts from the base, of one task of each group; None without a base."""
    found = _aligned(advice)
    chosen = [group[0] for group in alike]
    if found is None or len(chosen) < 2:
        return None
    return float(np.median(found.cosines()[np.ix_(chosen, chosen)][np.triu_indices(len(chosen), 1)]))


def _aligned(advice: Advice) -> Alignment | None:
    return together([layer.aligned for layer in advice.layers if layer.aligned is not None])


def _chance(advice: Advice, alike: Groups) -> float | None:
    found = _aligned(advice)
    return None if found is None else found.chance([group[0] for group in alike])


def _groups(advice: Advice) -> Groups:
    """Return the groups of tasks by their distances in all layers together."""
    known = [layer.apart for layer in advice.layers if layer.apart is not None]
    apart, energies = (np.sum(each, axis=0) for each in zip(*known, strict=True))
    return groups(apart, energies, _aligned(advice))


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
    if len(found.groups) < LEAST:
        return "cannot tell"
    return _expected(advice, found) if len(found.groups) == LEAST else _tried(advice, found)


def _tried(advice: Advice, found: Overall) -> str:
    """Return the verdict where LoRA-ML bases were tried on held-out tasks."""
    if found.rank_ml_share is None:
        return "cannot tell"
    if not _smaller(found.rank_ml_share, found.rank_base_share, found.rank_sr_share):
        return "cannot tell" if found.aligned and trivial(advice) else "no help"
    determined = mostly(structured(advice.layers), lambda layer: bool(layer.independent))
    return "helps" if found.aligned and determined else "cannot tell"


def _expected(advice: Advice, found: Overall) -> str:
    """Return the verdict by theory: from a base that three independent tasks determine a new one needs rank k."""
    if found.rank_base is None or found.k is None:
        return "cannot tell"
    if not found.aligned:
        return "no help" if found.independent and not _smaller(found.k, found.rank_base) else "cannot tell"
    ranks = found.rank_base, found.rank_sr, found.rank_base_share, found.rank_sr_share
    known = found.independent and _fits(structured(advice.layers))
    return "expected to help" if known and _smaller(found.k, *ranks) else "cannot tell"


def _smaller(rank: int, *others: int | None) -> bool:
    """Return whether a rank is clearly smaller than all that are known."""
    return all(rank <= CLEARLY * other and rank < other for other in others if other is not None)


def trivial(advice: Advice) -> bool:
    """Return whether the requested base is that of the adapters, which ML-3 recovers at their own rank."""
    return advice.adapters and all((layer.fit_rank or 0) >= (layer.by_adapters or 0) for layer in advice.layers)


def mostly(layers: Sequence[LayerAdvice], holds: Callable[[LayerAdvice], bool]) -> bool:
    """Return whether something holds for more than half of the layers."""
    return 2 * sum(map(holds, layers)) > len(layers)


def _fits(layers: Sequence[LayerAdvice]) -> bool:
    """Return whether most layers are far from chance with a spectrum that has a gap."""
    return mostly(layers, lambda layer: layer.null is not None and layer.null[0] <= CHANCE and gap(layer) >= GAP)


def gap(layer: LayerAdvice) -> float:
    """Return the ratio of the last singular value that counts to the next."""
    return layer.shift_rank.gap or 0.0
