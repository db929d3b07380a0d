"""`verdicts.json`: all results of a run, in a stable form for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from enum import Enum
from math import isfinite
from typing import Any

import numpy as np

from loraml_theory.harness.json_schema import validator
from paper_checks.evidence import error_budget
from paper_checks.evidence.evidence import Evidence
from paper_checks.evidence.phrasing import headline
from paper_checks.evidence.resolution import resolution
from paper_checks.mutation.noticed import Matrix
from paper_checks.notation import unicode
from paper_checks.verify import ClaimResult, ControlResult, Run

SCHEMA = 1
INTERNAL = ("rounding", "displaced", "coarser")
DECIDED = ("kind", "measured", "predicted", "interval", "relation", "tolerance")


def document(run: Run, environment: dict[str, Any]) -> dict[str, Any]:
    """Return the content of `verdicts.json`, checked against its schema; non-finite numbers are null.

    Parameters
    ----------
    run
        The results.
    environment
        Versions and platform, see `loraml_theory.harness.versions.environment`.

    Raises
    ------
    jsonschema.ValidationError
        If a claim or a study returned a value that the schema does not allow.
    """
    made = plain(
        {
            "schema": SCHEMA,
            "seed": run.seed,
            "profile": run.profile.name,
            "environment": environment,
            "notes": run.notes,
            "claims": [_claim(result) for result in run.claims],
            "structure": [
                {"what": unicode(fact.what), "value": fact.value, "beside": unicode(fact.beside)} for fact in run.facts
            ],
            "real": run.real,
            "statistics": _statistics(run),
            **({} if run.mutants is None else {"mutants": _mutants(run.mutants)}),
        }
    )
    validator("paper_checks.report", "verdicts").validate(made)
    return dict(made)


def dumps(made: dict[str, Any]) -> str:
    """Write a document as text."""
    return json.dumps(made, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Return a value in JSON's types: lists, no NumPy types, null for numbers that are not finite.

    Examples
    --------
    >>> plain({"a": (1.0, float("nan")), "b": np.float64(2)})
    {'a': [1.0, None], 'b': 2.0}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return value if isfinite(value) else None
    return value


def _claim(result: ClaimResult) -> dict[str, Any]:
    claim, key = result.claim, headline(result.evidence, result.claim.keys)
    return {
        "id": claim.id,
        "title": unicode(claim.title),
        "group": claim.group,
        "nature": claim.nature,
        "statement": unicode(claim.statement),
        "key": None if key is None else _evidence(key),
        "source": claim.source,
        "verdict": result.verdict,
        "reason": result.reason,
        "assumptions": [{**vars(found), "what": unicode(found.what)} for found in result.assumptions],
        "evidence": [_evidence(item) for item in result.evidence],
        "controls": [_control(control) for control in result.controls],
        "kinds": Counter(item.kind for item in result.evidence),
        "notes": [{"instance": n.instance, "text": n.text, "certificate": n.file} for n in result.notes],
        "seconds": round(result.seconds, 3),
    }


def _statistics(run: Run) -> dict[str, Any]:
    shares = [error_budget.share(result.claim.id, result.evidence) for result in run.claims]
    return {
        "budget": error_budget.BUDGET,
        "false_alarm_of_each_interval": error_budget.FALSE_ALARM,
        "power": error_budget.POWER,
        "detectable": {
            name: error_budget.detectable(run.profile, degrees) for name, degrees in error_budget.DEGREES.items()
        },
        "shares": [vars(found) for found in shares if found],
    }


def _mutants(found: Matrix) -> dict[str, Any]:
    return {
        "sound": found.sound,
        "unmutated": found.unmutated,
        "mutants": [{**vars(mutant), "caught": mutant.caught} for mutant in found.mutants],
    }


def _evidence(item: Evidence) -> dict[str, Any]:
    """Return a value with what it uses of its tolerance, and its resolution."""
    fine = resolution(item)
    return {
        **{name: value for name, value in vars(item).items() if name not in INTERNAL},
        "key": unicode(item.key),
        "outcome": item.outcome,
        "used": item.share,
        "resolution": fine.value,
        "resolution_reason": fine.reason,
    }


def _control(control: ControlResult) -> dict[str, Any]:
    """Return a control's verdict with the evidence that decided it."""
    found = control.evidence
    decided = {name: getattr(found, name, None) for name in DECIDED}
    return {
        "what": unicode(control.what),
        "instance": control.instance,
        "verdict": control.verdict,
        "quantity": None if found is None else found.what,
        **decided,
    }
