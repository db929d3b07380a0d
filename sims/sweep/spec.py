"""What a sweep is asked to do: a TOML file read into a frozen `Spec`, every value checked and in one spelling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from hashlib import sha256
from importlib.resources import files
from json import dumps
from math import inf, isinf, prod
from pathlib import Path
from typing import Any

from loraml_theory.harness.errors import InputError, one_line
from loraml_theory.harness.input_files import read_toml, toml_document
from loraml_theory.zoo import KINDS
from sims.engines.engine import Schedule

METHODS = ("sr", "sr-gd", "lora-ml-gd", "lora-ml-newton", "lora-ml-spectral", "lora-ml-exact")
STARTED = ("lora-ml-gd", "lora-ml-newton")
STARTS = ("spectral", "truth")
RANKS = ("k", "3k", "k(T+1)", "needed")
FINE_TUNINGS = ("closed-form", "gd")
AXES = ("d", "k", "T", "N", "n", "sigma", "method", "start", "rank", "fine_tuning", "seeds")
MAX_ROWS = 10**7
MAX_ENTRIES = 10**8


class SpecError(InputError):
    """A sweep that cannot be run as written: the key, what was got and what was expected."""


@dataclass(frozen=True)
class Settings:
    """What holds for a whole sweep; the step counts and sizes are the paper's.

    Parameters
    ----------
    outer_steps, outer_step_size, inner_steps, inner_step_size
        LoRA-ML by gradient descent, see `Schedule`.
    standard_steps, standard_step_size
        Standard retraining by gradient descent.
    fine_tuning_steps, fine_tuning_step_size, fine_tuning_start
        Fine-tuning by gradient descent, from U and V of this standard deviation.
    newton_steps
        Limit on trust-region steps.
    tolerance
        A retraining or fine-tuning has converged where the gradient norm is at most this times its scale.
    """

    outer_steps: int = 3000
    outer_step_size: float = 3e-2
    inner_steps: int = 10
    inner_step_size: float = 3e-3
    standard_steps: int = 3000
    standard_step_size: float = 3e-2
    fine_tuning_steps: int = 1000
    fine_tuning_step_size: float = 5e-3
    fine_tuning_start: float = 0.1
    newton_steps: int = 300
    tolerance: float = 1e-12

    @property
    def schedule(self) -> Schedule:
        """LoRA-ML's descent."""
        return Schedule(self.outer_steps, self.outer_step_size, self.inner_steps, self.inner_step_size)


@dataclass(frozen=True)
class Spec:
    """The axes of a sweep, whose product are its cells, and what holds for all of them.

    `start` and `rank` are kept as words: ``"0.1"`` is a standard deviation, ``"3"`` a rank. ``math.inf`` among N
    and n is the population.
    """

    method: tuple[str, ...]
    d: tuple[int, ...] = (10,)
    k: tuple[int, ...] = (1,)
    T: tuple[int, ...] = (3,)
    N: tuple[float, ...] = (5000.0,)
    n: tuple[float, ...] = (100.0,)
    sigma: tuple[float, ...] = (0.1,)
    start: tuple[str, ...] = ("0.1",)
    rank: tuple[str, ...] = ("needed",)
    fine_tuning: tuple[str, ...] = ("closed-form",)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    seed: int = 0
    kind: str = "generic"
    chunk: int = 64
    settings: Settings = field(default_factory=Settings)

    @cached_property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that are equal exactly where two specs are."""
        return sha256(dumps(self.document(), sort_keys=True).encode()).hexdigest()[:16]

    def document(self) -> dict[str, Any]:
        """Return the spec as JSON would hold it, in the TOML file's spelling."""
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        for key in ("N", "n"):
            plain[key] = ["inf" if isinf(value) else int(value) for value in plain[key]]
        if self.seeds == tuple(range(len(self.seeds))):
            plain["seeds"] = len(self.seeds)
        return plain


def example() -> str:
    """Return the text of the example that ships; it documents every key."""
    return files("sims.sweep").joinpath("example.toml").read_text("utf-8")


def read(path: Path) -> Spec:
    """Read a spec from a TOML file.

    Raises
    ------
    InputFileError
        If the file cannot be read or is not TOML.
    SpecError
        If it is not a spec; the text begins with the file's name.
    """
    document = read_toml(path)
    try:
        return _spec(document)
    except SpecError as problem:
        raise SpecError(f"{path}: {problem}") from None


def parse(text: str) -> Spec:
    """Read a spec from the text of a TOML file.

    Examples
    --------
    >>> spec = parse('method = "sr"\\nN = ["inf", 100]\\nseeds = 2')
    >>> spec.N, spec.seeds
    ((inf, 100.0), (0, 1))
    >>> parse('method = "sr"\\nd = 0')
    Traceback (most recent call last):
    sims.sweep.spec.SpecError: d: got 0, expected a whole number >= 1, or a list of them
    """
    return _spec(toml_document("spec", text, expected="the text of a TOML file"))


def _spec(document: dict[str, Any]) -> Spec:
    """Check a document key by key."""
    _known(document, [f.name for f in fields(Spec)], "")
    if "method" not in document:
        raise SpecError(f"method: is missing, expected {_words(METHODS)}, or a list of them")
    values = {key: _READERS[key](key, value) for key, value in document.items()}
    spec = Spec(**values)
    rows = prod(len(getattr(spec, axis)) for axis in AXES)
    if rows > MAX_ROWS:
        raise SpecError(f"{', '.join(AXES)}: got {rows} rows in all, expected at most {MAX_ROWS}")
    d, T = max(spec.d), max(spec.T)
    if d * d * (T + 1) > MAX_ENTRIES:
        raise SpecError(f"d, T: got {d} and {T}, expected d^2 (T+1) <= {MAX_ENTRIES}")
    return spec


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return ``key: was .., is now ..`` for every key in which two documents of specs differ."""
    found = []
    for key in sorted({*old, *new}):
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += [f"{key}.{rest}" for rest in differences(before, now)]
        elif before != now:
            found.append(f"{key}: was {_short(before)}, is now {_short(now)}")
    return found


Reader = Callable[[str, Any], Any]


def _whole(low: int, high: int = 2**31 - 1) -> tuple[Callable[[Any], Any], str]:
    text = f"a whole number >= {low}" if high == 2**31 - 1 else f"a whole number in {low}..{high}"

    def read(value: Any) -> int | None:
        return value if type(value) is int and low <= value <= high else None

    return read, text


def _samples(value: Any) -> float | None:
    if value in ("inf", inf):
        return inf
    return float(value) if type(value) is int and 1 <= value <= 10**15 else None


def _number(*, zero: bool) -> tuple[Callable[[Any], Any], str]:
    def read(value: Any) -> float | None:
        number = type(value) in (int, float) and 0 <= value < 1e100
        return float(value) if number and (zero or value > 0) else None

    return read, f"a finite number {'>=' if zero else '>'} 0"


def _word(allowed: tuple[str, ...]) -> tuple[Callable[[Any], Any], str]:
    return lambda value: value if isinstance(value, str) and value in allowed else None, _words(allowed)


def _start(value: Any) -> str | None:
    scale = _number(zero=True)[0](value)
    return value if value in STARTS else None if scale is None else repr(scale).removesuffix(".0")


def _rank(value: Any) -> str | None:
    number = _whole(0)[0](value)
    return value if value in RANKS else None if number is None else str(number)


def _one(read: Callable[[Any], Any], expected: str) -> Reader:
    def reader(key: str, value: Any) -> Any:
        result = read(value)
        if result is None:
            raise SpecError(f"{key}: got {_short(value)}, expected {expected}")
        return result

    return reader


def _axis(read: Callable[[Any], Any], expected: str) -> Reader:
    def reader(key: str, value: Any) -> tuple[Any, ...]:
        one = _one(read, f"{expected}, or a list of them")
        values = tuple(one(key, item) for item in (value if isinstance(value, list) else [value]))
        if not values:
            raise SpecError(f"{key}: got an empty list, expected {expected}, or a list of them")
        if len(set(values)) < len(values):
            twice = next(item for i, item in enumerate(values) if item in values[:i])
            raise SpecError(f"{key}: got {_short(twice)} twice, expected every value once")
        return values

    return reader


def _seeds(key: str, value: Any) -> tuple[int, ...]:
    if isinstance(value, list):
        return _axis(*_whole(0, 2**53))(key, value)
    expected = f"a number of seeds in 1..{MAX_ROWS}, or a list of whole numbers >= 0"
    return tuple(range(_one(_whole(1, MAX_ROWS)[0], expected)(key, value)))


def _settings(key: str, value: Any) -> Settings:
    if not isinstance(value, dict):
        raise SpecError(f"{key}: got {_short(value)}, expected a table [settings]")
    _known(value, [f.name for f in fields(Settings)], f"{key}.")
    readers = {
        f.name: _one(*(_whole(0) if f.type == "int" else _number(zero=f.name == "fine_tuning_start")))
        for f in fields(Settings)
    }
    return Settings(**{name: readers[name](f"{key}.{name}", item) for name, item in value.items()})


def _known(table: dict[str, Any], allowed: list[str], prefix: str) -> None:
    for key in table:
        if key not in allowed:
            raise SpecError(f"{prefix}{one_line(key)}: is no key, expected one of {', '.join(allowed)}")


def _words(allowed: tuple[str, ...]) -> str:
    quoted = [f'"{word}"' for word in allowed]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _short(value: Any) -> str:
    text = one_line(f"{value!r}")
    return text if len(text) <= 80 else f"{text[:77]}..."


_SAMPLES = (_samples, 'a whole number in 1..10^15 or "inf"')
_READERS: dict[str, Reader] = {
    "d": _axis(*_whole(1)),
    "k": _axis(*_whole(1)),
    "T": _axis(*_whole(2)),
    "N": _axis(*_SAMPLES),
    "n": _axis(*_SAMPLES),
    "sigma": _axis(*_number(zero=True)),
    "method": _axis(*_word(METHODS)),
    "start": _axis(_start, f"a finite number >= 0, {_words(STARTS)}"),
    "rank": _axis(_rank, f"a whole number >= 0, {_words(RANKS)}"),
    "fine_tuning": _axis(*_word(FINE_TUNINGS)),
    "seeds": _seeds,
    "seed": _one(*_whole(0, 2**53)),
    "kind": _one(*_word(tuple(sorted(KINDS)))),
    "chunk": _one(*_whole(1, 4096)),
    "settings": _settings,
}
