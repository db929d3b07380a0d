"""`report.html`: one self-contained page, which loads nothing from outside."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, isfinite, isnan, log10
from typing import Any

from markupsafe import Markup, escape

from loraml_theory.harness.page import page
from paper_checks import legend
from paper_checks.claim import Verdict
from paper_checks.evidence import error_budget
from paper_checks.evidence.evidence import Evidence, Outcome
from paper_checks.evidence.phrasing import expected, headline, measured, number, plural
from paper_checks.evidence.resolution import resolution
from paper_checks.notation import mathml
from paper_checks.report.real import section
from paper_checks.report.terminal import NOTICES, by_group
from paper_checks.verify import AssumptionResult, ClaimResult, Run

VERDICTS = {
    Verdict.SUPPORTED: ("✓", "supported"),
    Verdict.REFUTED: ("✗", "refuted"),
    Verdict.ASSUMPTIONS_NOT_MET: ("–", "assumptions not met"),
    Verdict.INCONCLUSIVE: ("?", "inconclusive"),
}
OUTCOMES = {Outcome.AGREES: "✓", Outcome.DISAGREES: "✗", Outcome.UNDECIDED: "?", None: "–"}
KINDS = {
    "proved": "by identities between polynomials that hold whatever the numbers: true of every structure that meets "
    "the assumptions, drawn or not. A program that shares no code with the one that found them expands them.",
    "exact": "over the rational numbers, compared without a tolerance: true of exactly this structure. It depends on "
    "the program and on the structure's numbers, not on rounding.",
    "certified": "with bounds on every rounding: true of the number that the bounds enclose. Where a certificate is "
    "linked, a program that shares no code with the one that found it can check it.",
    "numerical": "in floating point, to a tolerance with a reason. Agreement is not a proof, but a wrong formula "
    "would be unlikely to agree.",
    "statistical": "the mean of a sample in an interval of stated level. It may be wrong by chance with the stated "
    "probability.",
}
RELATIONS = {"equal": "=", "slope": "=", "at most": "≤", "at least": "≥", "above": ">"}
WORST_FIRST = (Outcome.DISAGREES, Outcome.UNDECIDED, Outcome.AGREES)

SCRIPT = re.compile(r"(?<=[^\s_])(?P<sign>[_^])(?:\{(?P<braced>[^{}]+)\}|(?P<short>-?\d+|[A-Za-z]{1,2})(?![A-Za-z\d]))")
POWER_OF_TEN = re.compile(r"(?<=\d)e([+-]?\d+)\b")
SYMBOLS = {
    r"\bsum(?=_)": "Σ",
    r"\bsigma(?![a-z])": "σ",
    r"\blambda(?![a-z])": "λ",
    r"\bDelta(?![a-z])": "Δ",
    r"\|\|": "‖",
    r"\bsqrt(?=\()": "√",
    r"&gt;&gt;": "≫",
    r"&lt;=": "≤",
    r"&gt;=": "≥",
    r"(?<=\s)-(?=\s|\d)": "−",
}


def render(run: Run, environment: dict[str, Any], *, unfolded: bool = False) -> str:
    """Return the page; every text in it is escaped.

    Parameters
    ----------
    run
        The results.
    environment
        Versions and platform, see `loraml_theory.harness.versions.environment`.
    unfolded
        Whether all evidence is open.
    """
    controls = [control for result in run.claims for control in result.controls]
    claims = [(result, headline(result.evidence, result.claim.keys)) for result in run.claims]
    values = {
        "run": run,
        "environment": environment,
        "unfolded": unfolded,
        "groups": by_group(claims, lambda pair: pair[0].claim.group),
        "real": section(run.real),
        "counts": Counter(result.verdict for result in run.claims),
        "controls": controls,
        "controls_refuted": sum(control.verdict is Verdict.REFUTED for control in controls),
        "places": places,
        "verdicts": VERDICTS,
        "outcomes": OUTCOMES,
        "relations": RELATIONS,
        "kinds": KINDS,
        "kinds_of": _kinds_of,
        "symbols": legend.SYMBOLS,
        "structures": legend.KINDS,
        "shares": [found for r in run.claims if (found := error_budget.share(r.claim.id, r.evidence))],
        "budget": error_budget,
        "notices": NOTICES,
    }
    filters = {f.__name__: f for f in (formula, expected, measured, typeset, plural, kind_of, percent, resolution)}
    return page("paper_checks.report", "report.html.j2", values, filters=filters)


@dataclass(frozen=True)
class Place:
    """What was found on one instance: its assumptions, and its evidence, of which `share` is the largest used.

    `missing` is the assumption that it does not meet, or that cannot be told.
    """

    name: str
    assumptions: list[AssumptionResult]
    evidence: list[Evidence]

    @property
    def missing(self) -> AssumptionResult | None:
        """The first assumption that does not hold, or cannot be told."""
        return next((found for found in self.assumptions if not found.holds), None)

    @property
    def outcome(self) -> Outcome | None:
        """The outcome of all its evidence that decides, None without any."""
        found = {item.outcome for item in self.evidence if item.decides}
        return next((outcome for outcome in WORST_FIRST if outcome in found), None)

    @property
    def of_all(self) -> bool:
        """Whether it is not one instance but all of them, by a proof."""
        return any(item.kind == "proved" for item in self.evidence)

    @property
    def share(self) -> float:
        """The largest share of what is tolerated that a value which decides uses."""
        return max((item.share for item in self.evidence if item.decides and not isnan(item.share)), default=0.0)


def places(result: ClaimResult) -> list[Place]:
    """Return what was found on every instance: what disagrees first, then proofs, then by the share used."""
    names = dict.fromkeys([*(a.instance for a in result.assumptions), *(e.instance for e in result.evidence)])
    found = [
        Place(
            name,
            [a for a in result.assumptions if a.instance == name],
            [e for e in result.evidence if e.instance == name],
        )
        for name in names
    ]
    order = {outcome: position for position, outcome in enumerate((*WORST_FIRST, None))}
    return sorted(found, key=lambda at: (bool(at.missing), order[at.outcome], not at.of_all, -at.share))


def kind_of(instance: str) -> str | None:
    """Return the kind of structure that an instance is named after, None for any other name."""
    return next((word for word in re.split(r"\W*[\s]\W*", instance) if word in legend.KINDS), None)


def percent(share: float) -> str:
    """Write a share in percent with two digits, rounded up, and in full where it is not small.

    Examples
    --------
    >>> percent(0.0), percent(0.00012), percent(0.234), percent(float("inf")), percent(float("nan"))
    ('0 %', '0.012 %', '24 %', 'all', '–')
    """
    if not isfinite(share):
        return "–" if isnan(share) else "all"
    power = min(0, floor(log10(100 * share)) - 1) if share else 0
    return f"{number(ceil(100 * share * 10.0**-power) * 10.0**power, 2)} %"


def typeset(value: float | str | None) -> Markup:
    """Write a number, or a text with numbers in it, as in print: true minus signs and powers of ten.

    Examples
    --------
    >>> print(typeset(-1.5e-13))
    −1.5&thinsp;×&thinsp;10<sup>−13</sup>
    """
    text = str(escape(value if isinstance(value, str) else number(value)))
    text = re.sub(r"(?<!\w)-(?=\d)", "−", text)
    return Markup(POWER_OF_TEN.sub(_power_of_ten, text))


def _power_of_ten(found: re.Match[str]) -> str:
    return f"&thinsp;×&thinsp;10<sup>{str(int(found[1])).replace('-', '−')}</sup>"


def formula(text: str) -> Markup:
    """Typeset the formulas in a text: LaTeX between dollar signs; elsewhere ``W_{T+1}``, ``sum_t``, ``10^-9``, ``<=``.

    Examples
    --------
    >>> print(formula("||W_{T+1} - A_SR|| <= 10^-9, not A_star"))
    ‖W<sub>T+1</sub> − A<sub>SR</sub>‖ ≤ 10<sup>−9</sup>, not A_star
    """
    return mathml(text, words=_words)


def _words(text: str) -> Markup:
    shown = str(escape(text))
    for pattern, symbol in SYMBOLS.items():
        shown = re.sub(pattern, symbol, shown)
    return Markup(POWER_OF_TEN.sub(_power_of_ten, SCRIPT.sub(_script, shown)))


def _script(found: re.Match[str]) -> str:
    tag = "sub" if found["sign"] == "_" else "sup"
    content = (found["braced"] or found["short"]).replace("-", "−")
    return f"<{tag}>{content}</{tag}>"


def _kinds_of(evidence: Iterable[Evidence]) -> list[tuple[str, int]]:
    """Count evidence of each kind, the strongest first."""
    counts = Counter[str](item.kind for item in evidence)
    return [(kind, counts[kind]) for kind in KINDS if counts[kind]]
