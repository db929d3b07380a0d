"""The common part of claims on the order of methods: the check, its controls, and words for settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from loraml_theory.harness.errors import one_line
from loraml_theory.harness.settings import differences
from paper_checks.claim import Control, Profile
from paper_checks.evidence.empirical import Order, Setting, order_evidence, uncounted, untrained_evidence
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.experiment import RecordedExperiment

States = Callable[..., Iterable[Evidence | Note]]
MARGIN = 30.0  # percentage points; the retrained methods differ by a few

PAPERS_ORDERS = (
    Order("lora-ml", "standard", "lora"),
    Order("lora-ml", "reptile", "lora"),
    Order("last-layer-ml", "standard", "last-layer"),
)
"""Which method the paper finds ahead of which, after which fine-tuning, on images and on dialogues."""


def check_orders(
    experiment: RecordedExperiment,
    _profile: Profile,
    *,
    orders: Iterable[Order],
    claimed: Setting,
    states: States = order_evidence,
) -> Iterator[Evidence | Note]:
    """Compare the methods pairwise in the claimed setting, which decides, and in all others."""
    for order in orders:
        yield from states(experiment, order, claimed=claimed)
    yield from uncounted(experiment)


def mutations(
    check: Callable[..., Iterable[Evidence | Note]],
    orders: Sequence[Order],
    *,
    drawn: Callable[[int], RecordedExperiment],
) -> tuple[Control[RecordedExperiment], ...]:
    """Return controls of a check of orders: a margin too large, the opposite, and better before than after."""
    return (
        Control(
            f"mutated: ahead by more than {MARGIN:g} percentage points",
            partial(check, states=partial(order_evidence, margin=MARGIN)),
            drawn,
        ),
        Control("mutated: the opposite order", partial(check, orders=[order.opposite for order in orders]), drawn),
        Control(
            "mutated: more accurate before fine-tuning than after",
            partial(check, states=untrained_evidence),
            drawn,
        ),
    )


def settings_said(held: Mapping[str, Any], profiles: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the profile of an experiment's settings, or the keys in which they differ from the paper's.

    Parameters
    ----------
    held
        The settings in experiment.json.
    profiles
        Settings by profile, ``paper`` among them.
    """
    plain = {name: json.loads(json.dumps(document)) for name, document in profiles.items()}
    own = next((name for name in plain if held == plain[name]), None)
    if own == "paper":
        return "with the paper's settings"
    if own:
        return f"with the settings of the profile {own}, not the paper's"
    changed = [line.partition(":")[0] for line in differences(plain["paper"], held)]
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return one_line(f"with settings that are not the paper's ({', '.join(changed[:3])}{more})")
