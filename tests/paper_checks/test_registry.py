from __future__ import annotations

import pickle
import re

import pytest

from loraml_theory.harness.errors import InputError
from paper_checks import registry
from tests.paper_checks import fakes


def test_claims_come_in_the_order_of_the_paper() -> None:
    shuffled = ["XX-1", "FT-2", "ML-10", "NL-vision", "SR-2", "ML-2", "SR-1", "NL-1", "NL-language", "FT-1"]
    found = registry.in_order(fakes.claim(id=name) for name in shuffled)
    theorems = ["SR-1", "SR-2", "ML-2", "ML-10", "FT-1", "FT-2"]
    assert [claim.id for claim in found] == [*theorems, "NL-1", "NL-language", "NL-vision", "XX-1"]


def test_a_claim_is_there_once() -> None:
    with pytest.raises(ValueError, match="two claims have the id SR-1: 'one' and 'other'"):
        registry.in_order([fakes.claim(title="one"), fakes.claim(title="other")])


def test_ids_select_claims_once_and_in_order() -> None:
    known = registry.in_order(fakes.claim(id=name) for name in ("SR-1", "SR-2", "ML-1"))
    assert [claim.id for claim in registry.get(["ML-1", "sr-1", "ml-1"], known=known)] == ["SR-1", "ML-1"]
    assert [claim.id for claim in registry.get(["NL-VISION"], known=[fakes.claim(id="NL-vision")])] == ["NL-vision"]


def test_an_unknown_id_is_named_beside_those_that_exist() -> None:
    expected = re.escape("claim: got 'ML-99', expected one of SR-1, SR-2")
    known = [fakes.claim(), fakes.claim(id="SR-2")]
    with pytest.raises(InputError, match=expected):
        registry.get(["SR-1", "ML-99"], known=known)


def test_every_claim_is_found_and_complete() -> None:
    found = registry.claims()
    assert found
    for claim in found:
        assert claim.controls, claim.id
        assert claim.statement.endswith("."), claim.id
        assert claim.source, claim.id
        assert claim.keys, claim.id


def test_a_claim_is_pickled_by_its_id() -> None:
    for claim in registry.claims():
        assert pickle.loads(pickle.dumps(claim)) is claim
