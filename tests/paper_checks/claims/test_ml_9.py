"""ML-9's settings: how many, and how sharp."""

from __future__ import annotations

import pytest

from paper_checks.claim import PROFILES
from paper_checks.claims.ml_9 import CLAIM, LARGEST, SHARP, _sample


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_constant_is_judged_to_five_percent_at_twenty_settings(seed: int) -> None:
    fitted = [i.truth for i in CLAIM.instances(seed) if i.truth.d <= LARGEST]
    sharp = [truth for truth in fitted if _sample(truth, PROFILES["quick"])[1] == SHARP]
    assert len(sharp) >= 20
    assert {truth.k for truth in sharp} == {1, 2, 3}
