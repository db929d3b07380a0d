"""Commands that only bind their arguments, so that `main` does the work outside of Typer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import ParamSpec, TypeAlias

P = ParamSpec("P")

Exit: TypeAlias = tuple[int, str]
"""The exit status and the text for standard output."""

Work: TypeAlias = Callable[[], Exit]


def deferred(command: Callable[P, Exit]) -> Callable[P, Work]:
    """Return a function of the same signature, which Typer reads, that returns the command's work as a callable."""

    @wraps(command)
    def bound(*arguments: P.args, **options: P.kwargs) -> Work:
        return partial(command, *arguments, **options)

    return bound
