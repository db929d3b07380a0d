"""Self-contained pages, which load nothing from outside; every text in them is escaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def page(package: str, template: str, values: Mapping[str, Any], *, filters: Mapping[str, Callable[..., Any]]) -> str:
    """Return the page of a template that extends ``page.html.j2``.

    Parameters
    ----------
    package
        Package whose folder holds the template.
    template
        File name of the template.
    values, filters
        Variables and filters of the template, by name.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=ChoiceLoader([PackageLoader(name, ".") for name in (package, "loraml_theory.harness")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(filters)
    return pages.get_template(template).render(values)
