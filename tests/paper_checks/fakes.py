"""Small claims about small instances, so that the runner is tested without the theory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from loraml_theory.structure import GroundTruth
from paper_checks.claim import PROFILES, Assumption, Check, Claim, Control, Finding, Profile
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.instance import Instance

QUICK = PROFILES["quick"]


def instance(name: str = "small", size: float = 1.0) -> Instance:
    """Return a truth whose largest entry is `size`."""
    return Instance(name, GroundTruth(np.zeros((3, 3)), np.full((3, 3, 1), size)), seed=0)


def size(of: Instance) -> float:
    return float(np.max(of.truth.U_star))


def evidence(**changes: Any) -> Evidence:
    """Return evidence that one is one."""
    made = Evidence(
        kind="exact",
        instance="small",
        what="largest entry",
        measured=1.0,
        predicted=1.0,
        relation="equal",
        tolerance=0.1,
        reason="a tenth",
        rounding=1e-3,
    )
    return replace(made, **changes)


def measures_size(predicted: float, **changes: Any) -> Check[Instance]:
    """Return a check that the largest entry is `predicted`, with one note."""

    def check(on: Instance, _profile: Profile) -> Iterator[Evidence | Note]:
        yield evidence(**{"instance": on.name, "measured": size(on), "predicted": predicted, **changes})
        yield Note(on.name, "seen")

    return check


def says_nothing(_on: Instance, _profile: Profile) -> Iterator[Evidence | Note]:
    yield from ()


def assumption(holds: bool | Callable[[Instance], bool | None] | None) -> Assumption[Instance]:
    def test(on: Instance) -> Finding:
        return Finding(holds(on) if callable(holds) else holds, size(on))

    return Assumption("entries of size one", test)


def control(predicted: float = 2.0, *, own: Instance | None = None, on_given: bool = True) -> Control[Instance]:
    carried = own or instance("own")
    return Control(f"the largest entry is {predicted:g}", measures_size(predicted), lambda _: carried, on_given)


def claim(**changes: Any) -> Claim:
    """Return a claim that holds on its two instances, with one control."""
    made = Claim(
        id="SR-1",
        title="largest entry",
        statement="The largest entry is one.",
        source="nowhere, section 1",
        nature="theorem",
        assumptions=(assumption(True),),
        check=measures_size(1.0),
        controls=(control(),),
        instances=lambda _: [instance("first"), instance("second")],
    )
    return replace(made, **changes)
