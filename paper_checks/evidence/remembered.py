"""What checks compute from the same arguments is computed once: a claim, its false statements and others share it.

A control repeats a check with one part made wrong; what it draws and what descents it runs are mostly those of the
claim itself, to the last bit, since random numbers depend on the instance and the purpose alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from functools import wraps
from hashlib import blake2b
from inspect import signature
from typing import Any, ParamSpec, TypeAlias, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")

Memory: TypeAlias = dict[Any, tuple[Any, list[Any]]]
"""What was returned, and the states of the generators after it, by function and arguments."""
_memory: ContextVar[Memory | None] = ContextVar("memory", default=None)


@contextmanager
def remembering(memory: Memory | None = None) -> Iterator[None]:
    """Inside of the block `remembered` functions keep what they return: in this memory, or the outer block's, or one
    for this block alone.
    """
    if memory is None:
        memory = _memory.get()
    token = _memory.set({} if memory is None else memory)
    try:
        yield
    finally:
        _memory.reset(token)


def remembered(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that, inside of `remembering`, is called once for equal arguments.

    Arrays and numbers are equal by shape, type and bits, dataclasses and tuples by what they hold, functions if they
    are the same one. A generator is equal by its state, and is left in the state in which the call left it. Arrays of
    what is kept cannot be written to, since all callers share them.

    Raises
    ------
    TypeError
        When it is called inside of `remembering` with what has no such equality: a list, an array of objects, a
        generator inside of a tuple.
    """
    expected = signature(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        memory = _memory.get()
        if memory is None:
            return function(*args, **kwargs)
        given = expected.bind(*args, **kwargs)
        given.apply_defaults()
        generators = [value for value in given.arguments.values() if isinstance(value, np.random.Generator)]
        key = (
            function,
            *(
                repr(value.bit_generator.state) if isinstance(value, np.random.Generator) else _key(value)
                for value in given.arguments.values()
            ),
        )
        if key in memory:
            result, states = memory[key]
            for rng, state in zip(generators, states, strict=True):
                rng.bit_generator.state = state
        else:
            result = function(*args, **kwargs)
            _close(result)
            memory[key] = result, [rng.bit_generator.state for rng in generators]
        return result

    return call


def _key(value: Any) -> Any:
    """Return something hashable that is equal for equal arguments only."""
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.hasobject:
            raise TypeError(f"got an array of {value.dtype}, whose equality is not that of its bits")
        return value.shape, repr(value.dtype), blake2b(value.tobytes(), digest_size=16).digest()
    if isinstance(value, np.random.Generator):
        raise TypeError("got a generator inside of an argument, expected it as an argument of its own")
    if isinstance(value, float | complex):
        return type(value), repr(value)  # tells 0.0 from -0.0, and finds NaN
    if isinstance(value, tuple):
        return type(value), *map(_key, value)
    if is_dataclass(value) and not isinstance(value, type):
        return type(value), *(_key(getattr(value, field.name)) for field in fields(value))
    return type(value), value  # 1 is not True


def _close(value: Any) -> None:
    """Make the arrays of a result read-only."""
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    elif isinstance(value, tuple):
        for item in value:
            _close(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            _close(getattr(value, field.name))
