"""One name for each weight: wrappers and prefixes of base models are removed or added to match the reference.

torch.compile writes ``_orig_mod.``, FSDP ``_fsdp_wrapped_module.``, activation checkpointing
``_checkpoint_wrapped_module.`` wherever a module was wrapped: these are never part of a model's own names. DDP writes
``module.`` in front of every name, and a base model's head writes ``transformer.`` or ``bert.``, which may also be a
model's own name: such a prefix is removed or added only where the names then agree with another file's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

from loraml_theory.harness.errors import InputError

WRAPPERS = frozenset(("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"))


def unwrapped(path: Path, names: Iterable[str]) -> dict[str, str]:
    """Map each name without its wrappers to the full name.

    Raises
    ------
    InputError
        If two of them become one.
    """
    found: dict[str, str] = {}
    for name in names:
        plain = ".".join(part for part in name.split(".") if part not in WRAPPERS)
        if plain in found:
            raise InputError(f"{path}: has {found[plain]!r} and {name!r}, two names of one weight; expected one")
        found[plain] = name
    return found


def aligned(names: Collection[str], reference: Collection[str]) -> tuple[dict[str, str], str]:
    """Return names that the reference has with or without a prefix, with its names for them, and the prefix in words.

    A prefix is removed or added only if it is the one possibility.

    Examples
    --------
    >>> aligned(["module.a.w", "module.b.w"], ["a.w", "b.w"])
    ({'module.a.w': 'a.w', 'module.b.w': 'b.w'}, "without the prefix 'module.'")
    >>> aligned(["h.0.w", "head"], ["transformer.h.0.w", "head"])
    ({'h.0.w': 'transformer.h.0.w'}, "with the prefix 'transformer.'")
    >>> aligned(["text.0.w", "image.0.w"], ["0.w"])
    ({}, '')
    """
    ours, theirs = set(names).difference(reference), set(reference).difference(names)
    off = Counter(head for head, rest in map(_split, ours) if rest in theirs)
    on = Counter(head for head, rest in map(_split, theirs) if rest in ours)
    if len(off) + len(on) != 1:
        return {}, ""
    if off:
        (prefix,) = off
        plain = {name: name.removeprefix(prefix) for name in names if name in ours}
        return {name: other for name, other in plain.items() if other in theirs}, f"without the prefix {prefix!r}"
    (prefix,) = on
    longer = {name: prefix + name for name in names if name in ours}
    return {name: other for name, other in longer.items() if other in theirs}, f"with the prefix {prefix!r}"


def _split(name: str) -> tuple[str, str]:
    head, dot, rest = name.partition(".")
    return head + dot, rest
