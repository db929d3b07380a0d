"""The spec of a sweep: a TOML file read into a frozen `Spec`, every value checked and in one spelling."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from hashlib import sha256
from importlib.resources import files
from json import dumps
from math import isinf, prod
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from loraml_theory.harness.input_files import read_toml, toml_document
from loraml_theory.harness.settings import As, Axis, Bounds, SettingsError, Several, Words, from_table
from loraml_theory.zoo import KINDS
from sims.engines.engine import Schedule
from sims.methods import TITLES

STARTED = ("lora-ml-gd", "lora-ml-newton")
STARTS = ("spectral", "truth")
RANKS = ("k", "3k", "k(T+1)", "needed")
FINE_TUNINGS = ("closed-form", "gd")
AXES = ("d", "k", "T", "N", "n", "sigma", "method", "start", "rank", "fine_tuning", "seeds")
MAX_ROWS = 10**7
MAX_ENTRIES = 10**8


Count: TypeAlias = Annotated[int, Bounds(0)]
Size: TypeAlias = Annotated[int, Bounds(1)]
Scale: TypeAlias = Annotated[float, Bounds(0)]
Positive: TypeAlias = Annotated[float, Bounds(0, above=True)]
Root: TypeAlias = Annotated[int, Bounds(0, 2**53)]
_Samples: TypeAlias = Annotated[int, Bounds(1, 10**15)] | Literal["inf"]
_Start: TypeAlias = Scale | Annotated[str, Words(STARTS)]
_Rank: TypeAlias = Count | Annotated[str, Words(RANKS)]
Samples: TypeAlias = Annotated[float, As(_Samples, float)]
Start: TypeAlias = Annotated[str, As(_Start, lambda value: str(value).removesuffix(".0"))]
Rank: TypeAlias = Annotated[str, As(_Rank, str)]


@dataclass(frozen=True)
class SweepSettings:
    """The settings of a whole sweep; the defaults of step counts and sizes are the paper's.

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

    outer_steps: Count = 3000
    outer_step_size: Positive = 3e-2
    inner_steps: Count = 10
    inner_step_size: Positive = 3e-3
    standard_steps: Count = 3000
    standard_step_size: Positive = 3e-2
    fine_tuning_steps: Count = 1000
    fine_tuning_step_size: Positive = 5e-3
    fine_tuning_start: Scale = 0.1
    newton_steps: Count = 300
    tolerance: Positive = 1e-12

    @property
    def schedule(self) -> Schedule:
        """LoRA-ML's descent."""
        return Schedule(self.outer_steps, self.outer_step_size, self.inner_steps, self.inner_step_size)


@dataclass(frozen=True)
class Spec:
    """The axes of a sweep, whose product is its cells, and the settings of all of them.

    `start` and `rank` are kept as words: ``"0.1"`` is a standard deviation, ``"3"`` a rank. ``math.inf`` among N
    and n is the population.
    """

    method: Axis[Annotated[str, Words(tuple(TITLES))]]
    d: Axis[Size] = (10,)
    k: Axis[Size] = (1,)
    T: Axis[Annotated[int, Bounds(2)]] = (3,)
    N: Axis[Samples] = (5000.0,)
    n: Axis[Samples] = (100.0,)
    sigma: Axis[Scale] = (0.1,)
    start: Axis[Start] = ("0.1",)
    rank: Axis[Rank] = ("needed",)
    fine_tuning: Axis[Annotated[str, Words(FINE_TUNINGS)]] = ("closed-form",)
    seeds: Annotated[tuple[Root, ...], Several(MAX_ROWS, "seeds")] = (0, 1, 2, 3, 4)
    seed: Root = 0
    kind: Annotated[str, Words(tuple(sorted(KINDS)))] = "generic"
    chunk: Annotated[int, Bounds(1, 4096)] = 64
    settings: SweepSettings = field(default_factory=SweepSettings)

    def __post_init__(self) -> None:
        rows = prod(len(getattr(self, axis)) for axis in AXES)
        if rows > MAX_ROWS:
            raise ValueError(f"{', '.join(AXES)}: got {rows} rows in all, expected at most {MAX_ROWS}")
        d, T = max(self.d), max(self.T)
        if d * d * (T + 1) > MAX_ENTRIES:
            raise ValueError(f"d, T: got {d} and {T}, expected d^2 (T+1) <= {MAX_ENTRIES}")

    @cached_property
    def hash(self) -> str:
        """Sixteen hexadecimal digits, equal exactly where two specs are equal."""
        return sha256(dumps(self.document(), sort_keys=True).encode()).hexdigest()[:16]

    def document(self) -> dict[str, Any]:
        """Return the spec in JSON's types and the TOML file's spelling."""
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        for key in ("N", "n"):
            plain[key] = ["inf" if isinf(value) else int(value) for value in plain[key]]
        if self.seeds == tuple(range(len(self.seeds))):
            plain["seeds"] = len(self.seeds)
        return plain


def example() -> str:
    """Return the text of the packaged example, which documents every key."""
    return files("sims.sweep").joinpath("example.toml").read_text("utf-8")


def read(path: Path) -> Spec:
    """Read a spec from a TOML file.

    Raises
    ------
    InputFileError
        If the file cannot be read or is not TOML.
    SettingsError
        If it is not a spec; the text begins with the file's name.
    """
    document = read_toml(path)
    try:
        return from_table(Spec, document)
    except SettingsError as problem:
        raise SettingsError(f"{path}: {problem}") from None


def parse(text: str) -> Spec:
    """Read a spec from the text of a TOML file.

    Examples
    --------
    >>> spec = parse('method = "sr"\\nN = ["inf", 100]\\nseeds = 2')
    >>> spec.N, spec.seeds
    ((inf, 100.0), (0, 1))
    >>> parse('method = "sr"\\nd = 0')
    Traceback (most recent call last):
    loraml_theory.harness.settings.SettingsError: d: got 0, expected a whole number >= 1, or a list of them
    """
    return from_table(Spec, toml_document("spec", text, expected="the text of a TOML file"))
