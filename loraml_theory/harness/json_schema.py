"""The packaged JSON schemas of the files that the project writes."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

MOST = 1000  # problems that are looked at; a file may have millions


@cache
def validator(package: str, kind: str) -> Draft202012Validator:
    """Return the validator of ``KIND.schema.json`` of a package."""
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(files(package).joinpath(f"{kind}.schema.json").read_text("utf-8")))


def first_problem(document: Any, package: str, kind: str) -> str | None:
    """Return where a document, as read from JSON, departs from its schema and how, None if nowhere."""
    found = islice(validator(package, kind).iter_errors(document), MOST)
    errors = sorted(found, key=lambda error: list(map(str, error.path)))
    if not errors:
        return None
    where = ".".join(map(str, errors[0].absolute_path)) or "the file"
    return f"{where}: {errors[0].message[:200]}"
