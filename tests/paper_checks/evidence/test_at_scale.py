"""The runner: checks at scale join a claim's verdict where the profile asks for them and no instance is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from paper_checks.claim import AtScale, Profile, ScaleCheck, Verdict
from paper_checks.evidence.evidence import Evidence, Note
from paper_checks.evidence.instance import Instance
from paper_checks.verify import verify
from tests.paper_checks import fakes
from tests.paper_checks.conftest import Loraml

pytestmark = pytest.mark.libraries

FULL = replace(fakes.QUICK, structures=100)


def share(measured: float, predicted: float = 1.0) -> ScaleCheck:
    def check(_seed: int, profile: Profile) -> Iterator[Evidence | Note]:
        yield fakes.evidence(
            kind="statistical", instance=f"{profile.structures} x generic", measured=measured, predicted=predicted
        )
        yield Note("generic", "seen at scale")

    return check


MADE = fakes.claim(at_scale=AtScale(share(1.0), (("at scale: none do", share(1.0, 0.0)),)))


def test_ensembles_join_the_verdict_and_their_controls_the_others() -> None:
    (result,) = verify([MADE], FULL, seed=0).claims
    assert result.verdict is Verdict.SUPPORTED
    assert result.reason == "3 values on 2 instances and 1 ensemble as predicted."
    assert result.evidence[-1].instance == "100 x generic"
    assert result.notes[-1].text == "seen at scale"
    assert [(c.what, c.instance, c.verdict) for c in result.controls][1:-1] == [
        ("at scale: none do", "100 x generic", Verdict.REFUTED)
    ]


def test_one_ensemble_can_refute() -> None:
    broken = replace(MADE, at_scale=AtScale(share(0.5), ()))
    assert verify([broken], FULL, seed=0).exit_status == 1


def test_a_control_at_scale_that_is_not_refuted_fails_the_run() -> None:
    missed = replace(MADE, at_scale=AtScale(share(1.0), (("true after all", share(1.0)),)))
    assert verify([missed], FULL, seed=0).exit_status == 1


@pytest.mark.parametrize(("profile", "given"), [(fakes.QUICK, None), (FULL, [fakes.instance("mine")])])
def test_without_structures_or_on_given_instances_there_are_none(
    profile: Profile, given: list[Instance] | None
) -> None:
    (result,) = verify([MADE], profile, seed=0, given=given).claims
    assert all(item.kind == "exact" for item in result.evidence)
    assert not any("at scale" in control.what for control in result.controls)


def test_an_engine_that_is_not_there_is_one_line(loraml: Loraml) -> None:
    ended = loraml("verify", "--profile", "full", "--engine", "abacus")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == "loraml: error: --engine: got 'abacus', expected auto, cpu, torch or cupy\n"
