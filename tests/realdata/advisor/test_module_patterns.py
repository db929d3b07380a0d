"""Keys of alpha_pattern match as peft matches them, in time linear in the name; the rest is refused."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest

from realdata.advisor.module_patterns import ModulePattern, ModulePatterns

KEYS = [
    "q_proj",
    "^model.layers.0.q",
    "layers.[0-3].*q_proj",
    "(q|k)_proj",
    r".*\.\d+\.mlp",
    "a+b*c?",
    r"model\.(a|b(?:c|d))x$",
    ".*q.*",
    "x?x?y",
]


def by_peft(key: str, module: str) -> bool:
    return re.match(rf"(.*\.)?({key})$", module) is not None


def modules(count: int) -> list[str]:
    draw = np.random.default_rng(0)
    parts = ["a", "b", "c", "x", "y", "q", "k", "_proj", ".", "0", "model", "layers", "mlp"]
    drawn = ["".join(draw.choice(parts, size=draw.integers(1, 8))) for _ in range(count)]
    return [*drawn, "model.layers.0.q", "model.layers.0.attn.q_proj", "model.bdx", "a.b.3.mlp"]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_matches_what_peft_matches(key: str) -> None:
    names, pattern = modules(2000), ModulePattern(key)
    expected = [by_peft(key, name) for name in names]
    assert [pattern.matches(name) for name in names] == expected
    assert any(expected)


def test_the_first_key_counts() -> None:
    patterns = ModulePatterns(["v_proj", "(q|v)_proj", "layers.0.q_proj", "^q_proj"])
    for name in ("model.layers.0.q_proj", "v_proj", "q_proj", "model.layers.0.k_proj", "xq_proj"):
        expected = next(
            (key for key in ("v_proj", "(q|v)_proj", "layers.0.q_proj", "^q_proj") if by_peft(key, name)), None
        )
        assert patterns.first(name) == expected


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("(a+)+b", r"holds '\(a\+\)\+b'"),
        ("(a*)*", "holds"),
        ("a{2,}", "holds"),
        ("(?=x)", "holds"),
        ("[", "holds"),
        ("[z-a]", "bad character range"),
        ("^a|b", "holds '\\^' and '\\|'"),
        ("a" * 501, "is of 501 characters"),
        ("(a|b)" * 7, "more than 64 alternatives"),
    ],
)
def test_other_patterns_are_refused(key: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        ModulePattern(key)


def test_many_names_and_few_patterns() -> None:
    patterns = ModulePatterns(f"layers.{i}.q_proj" for i in range(50_000))
    assert patterns.first("model.layers.49999.q_proj") == "layers.49999.q_proj"
    with pytest.raises(ValueError, match="65 keys are not plain names, expected at most 64"):
        ModulePatterns(f"a*{i}" for i in range(65))


def test_matching_takes_no_exponential_time() -> None:
    start = time.process_time()
    assert not ModulePattern(".*a.*a.*a.*a.*b").matches("a" * 2000)  # Python's own takes the length to the fifth power
    assert time.process_time() - start < 5
