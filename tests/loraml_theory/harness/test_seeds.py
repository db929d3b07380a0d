"""Seeds by purpose."""

from __future__ import annotations

from loraml_theory.harness.seeds import derived_seed, generator


def test_a_seed_depends_on_its_root_and_on_every_word_of_its_purpose() -> None:
    seeds = {
        derived_seed(0, "adapter", "a"),
        derived_seed(1, "adapter", "a"),
        derived_seed(0, "adapter", "b"),
        derived_seed(0, "adaptera"),
        derived_seed(0, "adapter", "a", 0),
    }
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_are_those_of_records_written_before() -> None:
    assert derived_seed(3, "adapter", "cat-deer") == 8420138164448374142
    assert int(generator(3, "adapter", "cat-deer").integers(10**9)) == 912639028
