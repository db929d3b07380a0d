r"""Patterns of module names in peft's configuration: regular expressions, matched in time linear in the name.

peft matches a key K of ``alpha_pattern`` as ``(.*\.)?(K)$``. Python's own matching may take time exponential in the
name's length, so it is not used: a key is read as names, ``.``, ``\d``, ``\w``, ``\.`` and ``[...]``, each with ``*``,
``+`` or ``?`` at most, and alternatives in parentheses that are not repeated. All possible ends are followed at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

LONGEST = 500
"""Largest number of characters of a pattern."""
MOST = 64
"""Largest number of alternatives from the parentheses of a pattern."""
_TOKEN = re.compile(r"(\\[.dw_/-]|\[\^?[\w.-]+\]|\.|[\w/-])([*+?]?)", re.ASCII)
_GROUP = re.compile(r"\((?:\?:)?([^()]*)\)(?![*+?{])")
_NAME = re.compile(r"\^?(?:[\w/-]|\\?\.)+\$?", re.ASCII)
PATTERNS = 64
"""Largest number of keys of a configuration that are not plain names."""


class _Atom(NamedTuple):
    """The allowed characters at one position, whether it is optional, and whether it repeats."""

    fits: Callable[[str], object]
    missing: bool
    again: bool


class ModulePattern:
    """A key of a pattern in peft's configuration.

    Raises
    ------
    ValueError
        If the pattern is not of the supported form.
    """

    def __init__(self, key: str) -> None:
        if len(key) > LONGEST:
            raise ValueError(f"is of {len(key)} characters, expected at most {LONGEST}")
        self._anchored = key.startswith("^")
        if self._anchored and "|" in _GROUP.sub("", key):
            raise ValueError("holds '^' and '|' outside of parentheses, expected one of them")
        self._ways = [_atoms(way) for way in _alternatives(key.removeprefix("^").removesuffix("$"))]

    def matches(self, module: str) -> bool:
        """Return whether peft would find the pattern at the end of a module's name, after a dot or from its start."""
        return any(_ends(atoms, module, anchored=self._anchored) for atoms in self._ways)


def _alternatives(pattern: str) -> list[str]:
    """Return the alternatives of a pattern without parentheses."""
    waiting, done = [pattern], []
    while waiting:
        text = waiting.pop()
        group = _GROUP.search(text)
        if group is None:
            done += text.split("|")
        else:
            waiting += [text[: group.start()] + way + text[group.end() :] for way in group[1].split("|")]
        if len(waiting) + len(done) > MOST:
            raise ValueError(f"has more than {MOST} alternatives")
    return done


def _atoms(way: str) -> list[_Atom]:
    found, at = [], 0
    while at < len(way):
        token = _TOKEN.match(way, at)
        if token is None:
            raise ValueError(f"holds {way[at : at + 8]!r}, expected names, '.', '\\d' or [...] with '*', '+' or '?'")
        try:
            fits = re.compile(token[1]).fullmatch
        except re.error as problem:
            raise ValueError(str(problem)) from None
        found.append(_Atom(fits, token[2] in ("*", "?"), token[2] in ("*", "+")))
        at = token.end()
    return found


def _ends(atoms: list[_Atom], module: str, *, anchored: bool) -> bool:
    """Follow all states at once: state i is before atom i."""
    states: set[int] = set()
    for i, character in enumerate(module):
        if i == 0 or (module[i - 1] == "." and not anchored):
            states.add(0)
        states = _skipped(states, atoms)
        nearer = {s for s in states if s < len(atoms) and atoms[s].fits(character)}
        states = {s + 1 for s in nearer} | {s for s in nearer if atoms[s].again}
    return len(atoms) in _skipped(states, atoms)


def _skipped(states: set[int], atoms: list[_Atom]) -> set[int]:
    """Return the states with those reached without a character."""
    found = set(states)
    for state in sorted(states):
        while state < len(atoms) and atoms[state].missing:
            state += 1
            found.add(state)
    return found


class ModulePatterns:
    """The keys of a pattern in peft's configuration, in order; the first match counts.

    A plain name is looked up among the endings of a module's name, so that thousands cost no more than one.

    Raises
    ------
    ValueError
        If a key is not of the supported form, with the key in front, or too many are not plain names.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._names: dict[tuple[str, bool], tuple[int, str]] = {}
        self._patterns: list[tuple[int, str, ModulePattern]] = []
        for number, key in enumerate(keys):
            if _NAME.fullmatch(key):
                name = key.strip("^$").replace("\\", "")
                self._names.setdefault((name, key.startswith("^")), (number, key))
                continue
            try:
                self._patterns.append((number, key, ModulePattern(key)))
            except ValueError as problem:
                raise ValueError(f"{key[:80]!r} {problem}") from None
        if len(self._patterns) > PATTERNS:
            raise ValueError(f"{len(self._patterns)} keys are not plain names, expected at most {PATTERNS}")

    def first(self, module: str) -> str | None:
        """Return the first key that matches a module's name."""
        parts = module.split(".")
        endings = [(".".join(parts[i:]), False) for i in range(len(parts))] + [(module, True)]
        found = [self._names[ending] for ending in endings if ending in self._names]
        found += [(number, key) for number, key, pattern in self._patterns if pattern.matches(module)]
        return min(found)[1] if found else None
