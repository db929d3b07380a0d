"""The depth of a pickle, found without loading it: hashing a tuple in a million tuples ends the process."""

from __future__ import annotations

import pickletools
from io import BytesIO
from mmap import mmap
from typing import IO, cast

from loraml_theory.harness.input_files import DEPTH

_GROWING = frozenset(("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"))
_GETTING = frozenset(("GET", "BINGET", "LONG_BINGET"))
_PUTTING = frozenset(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"))


def too_deep(stream: BytesIO | mmap) -> bool:
    """Return whether the next pickle of a stream nests more than `DEPTH` levels; the stream is then past it.

    Raises
    ------
    ValueError
        If it is not a pickle.
    """
    machine = _Depths()
    try:
        return any(
            machine.step(opcode, argument) > DEPTH
            for opcode, argument, _ in pickletools.genops(cast(IO[bytes], stream))
        )
    except (IndexError, TypeError, AttributeError) as problem:  # an empty stack, a misplaced mark
        raise ValueError(f"a damaged pickle ({problem})") from None


class _Depths:
    """The machine that runs a pickle, with the depth of each object instead of the object, and None for a mark."""

    def __init__(self) -> None:
        self._stack: list[int | None] = []
        self._memo: dict[object, int | None] = {}

    def step(self, opcode: pickletools.OpcodeInfo, argument: object) -> int:
        """Run one operation and return the depth of what is now on top."""
        if opcode.name == "MARK":
            self._stack.append(None)
        elif opcode.name in _GETTING:
            self._stack.append(self._memo.get(argument, 0))
        elif opcode.name in _PUTTING:
            self._memo[len(self._memo) if argument is None else argument] = self._stack[-1]
        else:
            self._combine(opcode)
        return (self._stack[-1] if self._stack else 0) or 0

    def _combine(self, opcode: pickletools.OpcodeInfo) -> None:
        taken, needed = [], list(opcode.stack_before)
        if pickletools.markobject in needed:
            while (depth := self._stack.pop()) is not None:
                taken.append(depth)
            needed = needed[: needed.index(pickletools.markobject)]
        first = [self._stack.pop() or 0 for _ in needed]
        if opcode.name in _GROWING:  # the container stays on the stack and grows
            container, *more = reversed(first)
            depth = max(container, 1 + max((*taken, *more), default=-1))
        else:
            depth = 1 + max((*taken, *first), default=-1)
        self._stack += [depth] * len(opcode.stack_after)
