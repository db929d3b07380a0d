"""`report.html`: one self-contained page, which loads nothing from outside."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from markupsafe import Markup, escape

from loraml_theory.harness.page import page
from paper_checks.claim import Evidence, Outcome, Verdict
from paper_checks.evidence import error_budget
from paper_checks.evidence.phrasing import expected, headline, measured, number, plural
from paper_checks.report.figures import picture
from paper_checks.report.real import section
from paper_checks.report.terminal import NOTICES
from paper_checks.verify import AssumptionResult, Run

VERDICTS = {
    Verdict.SUPPORTED: ("✓", "supported"),
    Verdict.REFUTED: ("✗", "refuted"),
    Verdict.ASSUMPTIONS_NOT_MET: ("–", "assumptions not met"),
    Verdict.INCONCLUSIVE: ("?", "inconclusive"),
}
OUTCOMES = {Outcome.AGREES: "✓", Outcome.DISAGREES: "✗", Outcome.UNDECIDED: "?"}
KINDS = {
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
HOLDS = {True: ("✓", "holds"), False: ("✗", "does not hold"), None: ("?", "cannot be told")}

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


def render(run: Run, environment: dict[str, Any]) -> str:
    """Return the page; every text in it is escaped.

    Parameters
    ----------
    run
        The results.
    environment
        Versions and platform, see `loraml_theory.harness.versions.environment`.
    """
    controls = [control for result in run.claims for control in result.controls]
    values = {
        "run": run,
        "environment": environment,
        "claims": [(result, headline(result.evidence), picture(result)) for result in run.claims],
        "real": section(run.real),
        "counts": Counter(result.verdict for result in run.claims),
        "controls": controls,
        "controls_refuted": sum(control.verdict is Verdict.REFUTED for control in controls),
        "by_instance": _by_instance,
        "by_assumption": _by_assumption,
        "verdicts": VERDICTS,
        "outcomes": OUTCOMES,
        "holds": HOLDS,
        "relations": RELATIONS,
        "kinds": KINDS,
        "kinds_of": _kinds_of,
        "shares": [found for r in run.claims if (found := error_budget.share(r.claim.id, r.evidence))],
        "budget": error_budget,
        "notices": NOTICES,
    }
    filters = {f.__name__: f for f in (formula, expected, measured, typeset, plural)}
    return page("paper_checks.report", "report.html.j2", values, filters=filters)


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
    """Typeset the formulas in a claim's text: ``W_{T+1}``, ``sum_t``, ``10^-9``, ``<=``.

    Examples
    --------
    >>> print(formula("||W_{T+1} - A_SR|| <= 10^-9, not A_star"))
    ‖W<sub>T+1</sub> − A<sub>SR</sub>‖ ≤ 10<sup>−9</sup>, not A_star
    """
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


def _by_instance(evidence: Iterable[Evidence]) -> list[tuple[str, list[Evidence]]]:
    """Group evidence by instance."""
    return [(name, list(items)) for name, items in groupby(evidence, key=lambda item: item.instance)]


def _by_assumption(found: Iterable[AssumptionResult]) -> dict[str, list[AssumptionResult]]:
    groups: dict[str, list[AssumptionResult]] = {}
    for item in found:
        groups.setdefault(item.what, []).append(item)
    return groups
