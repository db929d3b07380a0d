"""The settings of `loraml continual`, as in its TOML files; importing this loads nothing heavy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

from loraml_theory.harness.input_files import toml_document
from loraml_theory.harness.settings import Table, from_table, overlaid
from realdata.experiments.grid import LARGEST_SEED, MOST_SEEDS
from realdata.experiments.profiles import profile_text
from realdata.peft_ml.settings import FineTuningSettings, RetrainingSettings
from realdata.text.settings import DataSettings

ModelKind: TypeAlias = Literal["features", "encoder", "seq2seq", "causal-lm"]
MethodName: TypeAlias = Literal[
    "sequential",
    "incremental",
    "o-lora",
    "o-lora-exact",
    "deal-released",
    "deal-as-written",
    "deal-preserving",
    "replay",
    "ewc",
    "per-task",
    "joint",
    "no-training",
]
METHODS: tuple[MethodName, ...] = get_args(MethodName)
FactorName: TypeAlias = Literal["down", "up"]
FilterName: TypeAlias = Literal["haar", "diagonal", "wiener", "heat"]
QuirkName: TypeAlias = Literal["drop-mlp-on-load", "freeze-b", "no-penalty", "fresh-mlp"]
StartName: TypeAlias = Literal["plain", "lora-ml", "sr"]
PROFILES = ("features", "cpu", "paper")


@dataclass(frozen=True)
class ModelSettings:
    """The table ``[model]``.

    Parameters
    ----------
    kind
        ``features``: one square map of an encoder's frozen features is adapted. ``encoder``: the encoder itself. Both
        choose the label whose text is nearest to the sentence. ``seq2seq``, ``causal-lm``: a model that writes the
        label after a prompt.
    name
        A folder with a model and its tokenizer, a packaged model, or a name on a hub.
    targets
        Names of the linear layers that are adapted; of ``features`` there is one, ``map``.
    rows_at_once
        Rows of a forward pass in evaluation.
    temperature
        Cosines are divided by it in the loss; of ``features`` and ``encoder``.
    new_tokens
        The most tokens of an answer; of models that write.
    """

    kind: ModelKind
    name: str
    targets: tuple[str, ...]
    rows_at_once: int = 64
    temperature: float = 0.05
    new_tokens: int = 10

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.targets:
            raise ValueError("name, targets: one of them is empty, expected a model and the names of its layers")
        if self.kind == "features" and self.targets != ("map",):
            raise ValueError(f"targets: got {list(self.targets)}, expected ['map'], the one layer of features")
        if self.rows_at_once < 1 or self.new_tokens < 1 or not self.temperature > 0:
            raise ValueError("rows_at_once, new_tokens, temperature: one is too small, expected >= 1, >= 1 and > 0")


@dataclass(frozen=True)
class OLoraSettings:
    """The table ``[o_lora]``: the weights of its two penalties, as in its code, and which factors the first compares.

    Parameters
    ----------
    orthogonality
        Weight of ``Σ |A_earlier A_newᵀ|`` over modules, the sum of absolute entries.
    norm
        Weight of the sum of the Frobenius norms of the new factors.
    factor
        ``down``: lora_A, as released; ``up``: lora_B.
    """

    orthogonality: float = 0.5
    norm: float = 0.0
    factor: FactorName = "down"

    def __post_init__(self) -> None:
        _not_negative(self, "orthogonality", "norm")


@dataclass(frozen=True)
class DealSettings:
    """The table ``[deal]``.

    Parameters
    ----------
    filter
        Of ``deal-as-written`` and ``deal-preserving``; ``deal-released`` has ``haar``.
    filter_weight, network_weight
        λ1 and λ2 of eq. 12.
    filter_power, network_power
        Its exponents a and b, a >= b.
    quirks
        What ``deal-released`` does as its code: drop the network when a model is loaded, freeze lora_B after the first
        task, have no penalty, and draw a network anew that is not the identity.
    """

    filter: FilterName = "diagonal"
    filter_weight: float = 0.01
    network_weight: float = 0.001
    filter_power: float = 2.0
    network_power: float = 1.0
    quirks: tuple[QuirkName, ...] = get_args(QuirkName)

    def __post_init__(self) -> None:
        _not_negative(self, "filter_weight", "network_weight")
        if not self.filter_power >= self.network_power >= 1:
            raise ValueError(
                f"filter_power, network_power: got {self.filter_power:g} and {self.network_power:g}, expected the "
                "first at least the second, and both at least 1"
            )
        _once(self, "quirks", empty=True)


@dataclass(frozen=True)
class ReplaySettings:
    """The table ``[replay]``: rows of each earlier task that are kept and trained on again."""

    rows: int = 32

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ValueError(f"rows: got {self.rows}, expected a whole number >= 1")


@dataclass(frozen=True)
class EwcSettings:
    """The table ``[ewc]``: the weight of the penalty, and the rows of a task that give its Fisher information."""

    weight: float = 100.0
    rows: int = 64

    def __post_init__(self) -> None:
        _not_negative(self, "weight")
        if self.rows < 1:
            raise ValueError(f"rows: got {self.rows}, expected a whole number >= 1")


@dataclass(frozen=True)
class TuningSettings:
    """The table ``[tuning]``: the rates that ``--tune`` tries for every method, and on which orders and seeds."""

    learning_rates: tuple[float, ...]
    orders: tuple[int, ...] = (1,)
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        for name in ("learning_rates", "orders", "seeds"):
            _once(self, name)
        if not min(self.learning_rates) > 0:
            raise ValueError(f"learning_rates: got {min(self.learning_rates):g}, expected numbers > 0")


@dataclass(frozen=True)
class ContinualGrid:
    """The table ``[grid]``: methods, starts, orders by their number, and seeds.

    Parameters
    ----------
    starts
        ``plain``: the model as it is; ``lora-ml`` and ``sr``: a base retrained on the tasks of ``[start]``.
    """

    methods: tuple[MethodName, ...]
    orders: tuple[int, ...]
    seeds: tuple[int, ...]
    starts: tuple[StartName, ...] = ("plain",)

    def __post_init__(self) -> None:
        for name in ("methods", "orders", "seeds", "starts"):
            _once(self, name)
        if len(self.seeds) > MOST_SEEDS or not 0 <= min(self.seeds) <= max(self.seeds) <= LARGEST_SEED:
            raise ValueError(f"seeds: expected at most {MOST_SEEDS} whole numbers in 0..{LARGEST_SEED}")


@dataclass(frozen=True)
class StartSettings:
    """The table ``[start]``: the tasks that the starts ``lora-ml`` and ``sr`` are retrained on, none of any order."""

    tasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class ContinualSettings:
    """All tables of a settings file, and the orders of tasks."""

    orders: tuple[tuple[str, ...], ...]
    data: DataSettings
    model: ModelSettings
    training: FineTuningSettings
    retraining: RetrainingSettings
    start: StartSettings
    o_lora: OLoraSettings
    deal: DealSettings
    replay: ReplaySettings
    ewc: EwcSettings
    tuning: TuningSettings
    grid: ContinualGrid

    def __post_init__(self) -> None:
        for number, order in enumerate(self.orders, start=1):
            if len(order) < 2 or len(set(order)) < len(order):
                raise ValueError(
                    f"orders: number {number} is {', '.join(order)}, expected two tasks or more, once each"
                )
            if set(order) & set(self.start.tasks):
                both = next(name for name in order if name in self.start.tasks)
                raise ValueError(f"start.tasks: got {both}, which order {number} adapts to, expected other tasks")
        for where, numbers in (("grid", self.grid.orders), ("tuning", self.tuning.orders)):
            for number in numbers:
                if not 1 <= number <= len(self.orders):
                    raise ValueError(f"{where}.orders: got {number}, expected numbers from 1 to {len(self.orders)}")
        if len({len(self.orders[number - 1]) for number in self.grid.orders}) > 1:
            raise ValueError("grid.orders: are of different lengths, expected orders of equally many tasks")
        if set(self.grid.starts) - {"plain"} and (self.model.kind != "features" or len(self.start.tasks) < 2):
            raise ValueError(
                "grid.starts: lora-ml and sr need features and two tasks or more in start.tasks; for an encoder "
                "retrain it with loraml retrain, and give its base as --model"
            )

    def document(self) -> dict[str, Any]:
        """Return everything that results depend on in JSON's types: the tables except the grid and the orders."""
        return {name: table for name, table in asdict(self).items() if name not in ("grid", "orders", "tuning")}


def _once(settings: object, name: str, *, empty: bool = False) -> None:
    values = getattr(settings, name)
    if not values and not empty:
        raise ValueError(f"{name}: got an empty list, expected one value or more")
    if len(set(values)) < len(values):
        twice = next(value for at, value in enumerate(values) if value in values[:at])
        raise ValueError(f"{name}: got {twice!r} twice, expected every value once")


def _not_negative(settings: object, *names: str) -> None:
    for name in names:
        if not getattr(settings, name) >= 0:
            raise ValueError(f"{name}: got {getattr(settings, name)}, expected a number >= 0")


example = partial(profile_text, "realdata.continual")
"""Return the text of the file of a profile: ``features``, ``cpu``, ``paper`` or ``made``."""


def settings(profile: str, changes: Table | None = None) -> ContinualSettings:
    """Return the settings of a profile, with some keys replaced.

    Raises
    ------
    SettingsError
        If a key is unknown, or its value is invalid.
    """
    return from_table(ContinualSettings, overlaid(toml_document(f"{profile}.toml", example(profile)), changes or {}))
