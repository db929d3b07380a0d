"""Which runs an experiment has: the product of its axes, and which of them are the same work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple, Protocol, get_args

from realdata.experiments.records import RunKey, safe_name
from realdata.peft_ml.settings import ADAPTED, FineTune, MethodName

NO_RETRAINING: Literal["no-retraining"] = "no-retraining"
"""The model as it begins, fine-tuned directly: what there is to gain by retraining."""
WAYS = (NO_RETRAINING, *get_args(MethodName))
"""How a base comes about: the methods of retraining, and none."""
FINETUNES: tuple[FineTune, ...] = get_args(FineTune)
MOST_SEEDS, LARGEST_SEED, LARGEST = 1000, 10**18 - 1, 10**6


@dataclass(frozen=True)
class GridSettings:
    """The table ``[grid]``: values of the axes.

    Parameters
    ----------
    methods, finetune, seeds, rank
        As in `RunKey`.
    n
        As in `RunKey`; "all" for all examples.
    quirks
        Switches of the public reference code that are on in every run.

    Raises
    ------
    ValueError
        If an axis is empty, has a value twice, or one out of range.
    """

    methods: tuple[Literal["no-retraining", MethodName], ...]
    finetune: tuple[FineTune, ...]
    seeds: tuple[int, ...]
    n: tuple[int | Literal["all"], ...] = ("all",)
    rank: tuple[int, ...] = (1,)
    quirks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("methods", "finetune", "seeds", "n", "rank", "quirks"):
            values = getattr(self, name)
            if not values and name != "quirks":
                raise ValueError(f"{name}: got an empty list, expected one value or more")
            if len(set(values)) < len(values):
                twice = next(value for i, value in enumerate(values) if value in values[:i])
                raise ValueError(f"{name}: got {twice!r} twice, expected every value once")
        if len(self.seeds) > MOST_SEEDS:
            raise ValueError(f"seeds: got {len(self.seeds)} of them, expected at most {MOST_SEEDS}")
        for name, low, high in (("seeds", 0, LARGEST_SEED), ("n", 1, LARGEST), ("rank", 1, LARGEST)):
            for value in getattr(self, name):
                if value != "all" and not low <= value <= high:
                    raise ValueError(f"{name}: got {value}, expected a whole number in {low}..{high}")


class RetrainingKey(NamedTuple):
    """What retraining depends on; runs that agree in this share one. `rank` is 0 where there are no adapters."""

    method: str
    seed: int
    quirks: tuple[str, ...]
    rank: int

    @property
    def id(self) -> str:
        """Name of its folder.

        Examples
        --------
        >>> RetrainingKey("lora-ml", 0, (), 4).id, RetrainingKey("standard", 0, ("augment-once",), 0).id
        ('lora-ml.rank-4.seed-0', 'standard.seed-0.augment-once')
        """
        rank = (f"rank-{self.rank}",) if self.rank else ()
        return ".".join([self.method, *rank, f"seed-{self.seed}", *(("+".join(self.quirks),) if self.quirks else ())])


class Work(NamedTuple):
    """What a run's numbers depend on; runs that agree in this are computed once. `rank` is 0 without adapters."""

    retraining: RetrainingKey
    finetune: str
    quirks: tuple[str, ...]
    rank: int
    n: int | None
    task: str

    @property
    def id(self) -> str:
        """Name of its checkpoint."""
        n = "all" if self.n is None else self.n
        own = ".".join([self.finetune, f"rank-{self.rank}", f"n-{n}", safe_name(self.task), "+".join(self.quirks)])
        return f"{self.retraining.id}--{own.rstrip('.')}"


class Relevance(Protocol):
    """Which switches of the reference code have an effect where."""

    def in_retraining(self, method: str, *, rank: int) -> frozenset[str]:
        """Return the switches that change retraining by this method."""
        ...

    def in_fine_tuning(self, method: str, finetune: str, *, rank: int) -> frozenset[str]:
        """Return the switches that change fine-tuning of this method's base."""
        ...


class NoSwitches:
    """Switches of the reference code never have an effect; see `Relevance`."""

    def in_retraining(self, method: str, *, rank: int) -> frozenset[str]:  # noqa: ARG002
        """Return none."""
        return frozenset()

    def in_fine_tuning(self, method: str, finetune: str, *, rank: int) -> frozenset[str]:  # noqa: ARG002
        """Return none."""
        return frozenset()


def keys(
    grid: GridSettings, *, quirks: Sequence[tuple[str, ...]] | None = None, tasks: Sequence[str]
) -> Iterator[RunKey]:
    """Yield the runs of a grid, all tasks of a run one after another.

    Parameters
    ----------
    grid
        The axes.
    quirks
        Values of the axis of switches; those of the grid alone if not given.
    tasks
        The tasks to adapt to.
    """
    switches = [tuple(sorted(grid.quirks))] if quirks is None else [tuple(sorted(on)) for on in quirks]
    numbers = [None if n == "all" else n for n in grid.n]
    axes = product(grid.seeds, grid.methods, switches, grid.rank, grid.finetune, numbers, tasks)
    for seed, method, on, rank, finetune, n, task in axes:
        yield RunKey(method, seed, on, finetune, rank, n, task)


def retrainings(
    grid: GridSettings, relevance: Relevance, *, quirks: Sequence[tuple[str, ...]] | None = None
) -> list[RetrainingKey]:
    """Return the different retrainings of a grid, in its order."""
    found = keys(grid, quirks=quirks, tasks=("any",))
    return list(dict.fromkeys(work_of(key, relevance).retraining for key in found))


def quirk_axis(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the values of the axis of switches: none, each alone, all together."""
    return [(), *((name,) for name in names), tuple(sorted(names))]


def work_of(key: RunKey, relevance: Relevance) -> Work:
    """Return what a run's numbers depend on: ranks and switches that have no effect are left out."""
    on = set(key.quirks)
    retraining = on & relevance.in_retraining(key.method, rank=key.rank)
    own = on & relevance.in_fine_tuning(key.method, key.finetune, rank=key.rank)
    base = RetrainingKey(key.method, key.seed, tuple(sorted(retraining)), key.rank if key.method in ADAPTED else 0)
    rank = key.rank if key.finetune == "lora" else 0
    return Work(base, key.finetune, tuple(sorted(own)), rank, key.n, key.task)
