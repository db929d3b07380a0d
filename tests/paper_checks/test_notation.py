"""Formulas in the texts of claims: all are MathML in a page and plain Unicode elsewhere."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from loraml_theory import zoo
from paper_checks import legend, registry
from paper_checks.notation import mathml, unicode

TEXTS = [
    text
    for claim in registry.claims()
    for text in (claim.title, claim.statement, *claim.keys, *(a.what for a in claim.assumptions))
] + [text for pair in legend.SYMBOLS.items() for text in (f"${pair[0]}$", pair[1])]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_every_text_of_a_claim_can_be_shown(text: str) -> None:
    assert text.count("$") % 2 == 0
    assert not re.search(r"[\\$]|sigma|sum_|\^[A-Z]", unicode(text)), unicode(text)
    for formula in re.findall(r"<math.*?</math>", mathml(text)):
        ElementTree.fromstring(formula)
    assert "\\" not in re.sub(r"<[^>]*>", "", mathml(text))


@pytest.mark.parametrize(
    ("latex", "shown"),
    [
        (r"$W_{T+1} - A_{\mathrm{SR}}$", "W_{T+1} − A_SR"),
        (r"$\sigma_i^2$ of $U_t^\star$", "σᵢ² of Uₜ*"),
        (r"$S^{-1/2} \ge \sqrt{d/n}$", "S^{−1/2} ≥ √(d/n)"),
        (r"$\hat A$, $(\sum_t N_t)^{-1}$", "Â, (Σₜ Nₜ)⁻¹"),
        ("no formula, 3 < 4", "no formula, 3 < 4"),
    ],
)
def test_unicode(latex: str, shown: str) -> None:
    assert unicode(latex) == shown


def test_what_is_not_a_formula_is_escaped() -> None:
    assert mathml("<b> & $x$").startswith("&lt;b&gt; &amp; <math")


def test_an_unknown_command_is_an_error_rather_than_left_out() -> None:
    with pytest.raises(KeyError):
        unicode(r"$\unheard{x}$")


def test_every_kind_of_structure_has_a_line() -> None:
    assert set(legend.KINDS) == set(zoo.KINDS)
