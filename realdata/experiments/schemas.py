"""The JSON schemas of the files that an experiment writes, and what a document has that its schema does not allow."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator

MOST = 1000  # problems that are looked at; a file may have millions


def first_problem(document: Any, kind: str) -> str | None:
    """Return where a document departs from its schema and how, None if nowhere.

    Parameters
    ----------
    document
        As read from JSON.
    kind
        ``experiment`` or ``record``.
    """
    errors = sorted(islice(_validator(kind).iter_errors(document), MOST), key=lambda error: list(map(str, error.path)))
    if not errors:
        return None
    where = ".".join(map(str, errors[0].absolute_path)) or "the file"
    return f"{where}: {errors[0].message[:200]}"


@cache
def _validator(kind: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(files("realdata.experiments").joinpath(f"{kind}.schema.json").read_text()))
