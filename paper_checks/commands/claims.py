"""`loraml claims`: list the claims, or show some in full."""

from __future__ import annotations

from typing import Annotated

import typer

from loraml_theory.harness.errors import InputError
from paper_checks.commands.deferred import Exit, deferred
from paper_checks.commands.options import Group, Ids, claim_ids
from paper_checks.commands.output import rendered


@deferred
def claims(
    claim: Annotated[
        Ids | None,
        typer.Argument(
            metavar="ID,ID…",
            parser=claim_ids,
            help="Show these claims in full, with their controls.",
        ),
    ] = None,
    group: Group = "all",
    new: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Print a Python file that states a complete small claim under this id, to be changed."
        ),
    ] = None,
) -> Exit:
    """List the claims with their statements, assumptions and sources."""
    if new is not None:
        from paper_checks.own_claims import template

        if claim is not None:
            raise InputError(f"--new: got {','.join(claim)} with it, expected no other id")
        return 0, template(new)
    from paper_checks import registry
    from paper_checks.report.terminal import show_claims, show_list

    if claim is None:
        return 0, rendered(lambda console: show_list(console, registry.of_group(group)))
    chosen = registry.get(claim, known=registry.of_group(group))
    return 0, rendered(lambda console: show_claims(console, chosen))
