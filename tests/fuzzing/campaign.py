"""Spoil inputs of one command again and again, by seeds; see `python -m tests.fuzzing --help`."""

from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzzing.mutations import reword, spoil
from tests.fuzzing.running import Outcome, run
from tests.fuzzing.targets import Target


@dataclass
class Tally:
    """What came of a campaign."""

    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
    mebibytes: float = 0.0

    def add(self, what: str, outcome: Outcome) -> None:
        """Count one run."""
        self.statuses[outcome.status] += 1
        self.seconds = max(self.seconds, outcome.seconds)
        self.mebibytes = max(self.mebibytes, outcome.mebibytes)
        shown = outcome.complaint.strip()[-600:]
        self.faults += [f"{what}: {fault}{f': {shown}' if shown else ''}" for fault in outcome.faults]


def campaign(
    name: str, target: Target, seeds: Sequence[int], *, told: Callable[[Tally], None] = lambda _: None
) -> Tally:
    """Run a command once for every seed, each time on right inputs of which one is spoilt."""
    tally = Tally()
    with TemporaryDirectory() as place:
        right = Path(place, "right")
        right.mkdir()
        target.make(right)
        _warm(name, target, right, Path(place, "modules"))
        for seed in seeds:
            here = Path(place, "here")
            shutil.copytree(right, here)
            rng = random.Random(f"{name} {seed}")
            words = reword(rng, target.words) if rng.random() < 0.05 else target.words
            done = spoil(rng, sorted(_files(here))) if words is target.words else repr(words)[:200]
            before = _digests(here)
            outcome = run(words, here, prepare=target.prepare, allowed=target.statuses)
            tally.add(f"{name} {seed} ({done})", outcome)
            harmed = [str(path) for path, digest in before.items() if _digest(here / path) != digest]
            tally.faults += [f"{name} {seed} ({done}): {path} was changed" for path in harmed]
            shutil.rmtree(here)
            told(tally)
    return tally


def _warm(name: str, target: Target, right: Path, names: Path) -> None:
    """Run the right input, which must end well, and import here what it imported, so that no later process has to."""
    here = right.with_name("here")
    shutil.copytree(right, here)

    outcome = run(target.words, here, prepare=target.prepare, allowed=target.statuses, modules=names)
    shutil.rmtree(here)
    if outcome.status not in target.statuses or outcome.faults:
        raise AssertionError(f"{name}: the right input ends with {outcome}")
    for module in names.read_text("utf-8").split():
        with contextlib.suppress(Exception):
            import_module(module)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")


def _digests(folder: Path) -> dict[Path, str | None]:
    """Return the digest of every file of ordinary size; the commands may add files but change none."""
    return {path.relative_to(folder): _digest(path) for path in _files(folder) if not path.is_symlink()}


def _digest(path: Path) -> str | None:
    if path.is_symlink() or not path.is_file():
        return "gone"
    if path.stat().st_size > 2**26:
        return None
    return hashlib.blake2b(path.read_bytes()).hexdigest()
