"""What a search for a counterexample found, as a Python program that shows it again."""

from __future__ import annotations

import numpy as np

from loraml_theory.harness.errors import one_line
from paper_checks.evidence.phrasing import comparison, plural
from paper_checks.falsify import Search, strain
from paper_checks.report.html import percent

PROGRAM = """\
import numpy as np

from loraml_theory.structure import GroundTruth
from paper_checks import registry
from paper_checks.claim import PROFILES
from paper_checks.evidence.instance import Instance
from paper_checks.verify import check

truth = GroundTruth(
    A_star=np.array({A_star}),
    U_star=np.array({U_star}),
)
(claim,) = registry.get([{id!r}]{known})
result = check(claim, [Instance({name!r}, truth, seed={seed})], PROFILES[{profile!r}], seed={seed})
print(result.verdict, result.reason, sep=": ")
"""


def text(found: Search) -> str:
    """Return the counterexample as a program, or, as comments, how hard the search tried."""
    return "".join(f"# {one_line(sentence)}\n" for sentence in _sentences(found)) + _program(found)


def _sentences(found: Search) -> list[str]:
    unmet = f"; {found.unmet} others did not meet the assumptions" if found.unmet else ""
    tried = f"{plural(found.checked, 'structure')} checked{unmet}."
    if found.counterexample is not None:
        said = [f"{found.claim.id}: counterexample, {found.counterexample.name}; {tried}"]
        return said if found.nearest is None else [*said, f"{comparison(found.nearest)}."]
    said = [f"{found.claim.id}: no counterexample; {tried}"]
    if not found.checked:
        return [*said, "Nothing is known of the claim: no structure that was drawn meets its assumptions."]
    if found.nearest is None:
        return [*said, "On none of them could the check decide anything."]
    used = percent(strain(found.nearest))
    return [*said, f"The nearest to one, at {used} of what is tolerated: {comparison(found.nearest)}."]


def _program(found: Search) -> str:
    instance = found.counterexample
    if instance is None:
        return ""
    return PROGRAM.format(
        A_star=_array(instance.truth.A_star),
        U_star=_array(instance.truth.U_star),
        id=found.claim.id,
        known=f", known=registry.of_file({found.claim.file!r})" if found.claim.file else "",
        name=instance.name,
        profile=found.profile.name,
        seed=found.seed,
    )


def _array(values: np.ndarray) -> str:
    """Write an array with all digits, aligned below ``A_star=np.array(``."""
    return np.array2string(
        values, separator=", ", threshold=values.size + 1, floatmode="unique", max_line_width=100, prefix=" " * 20
    )
