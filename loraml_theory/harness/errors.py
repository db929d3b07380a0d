"""Errors that a user can cause, each one line."""

from __future__ import annotations


def one_line(text: str) -> str:
    r"""Return `text` with every unprintable character written as an escape, so that it stays on one line.

    Examples
    --------
    >>> print(one_line("two\nlines"))
    two\nlines
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def reason(problem: BaseException) -> str:
    """Return the reason of a failure in one line: the system's message, or else the library's first line."""
    text = getattr(problem, "strerror", None) or str(problem).strip() or type(problem).__name__
    return one_line(str(text).splitlines()[0])


LONGEST = 1000
"""Largest number of characters shown of an error; a longer one is cut in its middle."""


class InputError(ValueError):
    """Input from a user that cannot be used; the text is one line, and the exit status is 2."""

    def __init__(self, text: str) -> None:
        line = one_line(text)
        super().__init__(line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} … {line[-LONGEST // 2 :]}")


def install(extra: str) -> str:
    """Return how an optional part is installed: the package is not on an index.

    Examples
    --------
    >>> install("sims")
    "pip install '.[sims]' in a clone of loraml-theory"
    """
    return f"pip install '.[{extra}]' in a clone of loraml-theory"
