"""The share of structures that have a spurious minimum, counted on complete landscapes, at d = 3, k = 1, T = 3."""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from io import StringIO
from os.path import lexists
from pathlib import Path

from loraml_theory import zoo
from loraml_theory.harness import folders, plotting
from loraml_theory.harness.atomic import write_whole
from loraml_theory.harness.errors import InputError
from loraml_theory.harness.folders import FolderError
from loraml_theory.harness.input_files import read_json
from loraml_theory.harness.processes import Lost, Tick, work_off
from loraml_theory.harness.settings import SettingsError, from_table
from sims.atlas.complete import IncompleteError, LandscapeError, descents, whole_landscape
from sims.ensembles.proportions import clopper_pearson
from sims.seeding import stream

FORMAT = 1
BEGUN, RECORDS = "census.json", "structures"
STRUCTURES = {"quick": 100, "full": 1000}
STARTS = 20
"""Descents from small and from large starts on each structure."""


@dataclass(frozen=True)
class Counted:
    """The landscape of one structure.

    Parameters
    ----------
    structure
        Its number.
    complete
        Whether every critical point was found and certified; if not, `reason` says why, and nothing else is known.
    real, spurious
        Numbers of real critical points and of spurious minima, up to signs.
    value
        Least value of the spurious minima over that of the point 0, where all factors vanish; None without one.
    small, large
        Numbers of the `STARTS` small and large starts that end in a spurious minimum.
    unconverged
        Number of starts of both kinds that end at no critical point.
    reason
        Why it is incomplete.
    """

    structure: int
    complete: bool
    real: int = 0
    spurious: int = 0
    value: float | None = None
    small: int = 0
    large: int = 0
    unconverged: int = 0
    reason: str = ""


def counted(seed: int, structure: int) -> Counted:
    """Count the critical points of a structure, generic at d = 3, k = 1, T = 3, and its trapped starts."""
    rng = {what: stream(seed, f"census: {what}", structure=structure) for what in ("structure", "paths", "starts")}
    U_star = zoo.generic(rng["structure"], 3, 1, 3).U_retraining
    try:
        whole = whole_landscape(rng["paths"], U_star)
    except (LandscapeError, IncompleteError) as problem:
        return Counted(structure, complete=False, reason=str(problem))
    drained = descents(rng["starts"], whole, U_star, starts=STARTS)
    traps = {i for i, point in enumerate(whole.points) if point.kind == "spurious"}
    zero = next(point.value.real for point in whole.points if point.orbit == 1)
    small, large = (sum(n for i, n in each.ends.items() if i in traps) for each in drained)
    return Counted(
        structure,
        complete=True,
        real=len(whole.factors),
        spurious=len(traps),
        value=min((whole.points[i].value.real / zero for i in traps), default=None),
        small=small,
        large=large,
        unconverged=sum(each.elsewhere for each in drained),
    )


def census(
    folder: Path, structures: int, *, seed: int, workers: int, progress: Callable[[str], None] = lambda _: None
) -> list[Counted]:
    """Count the structures that a folder does not hold yet; return all, in their order.

    Each depends only on the seed and its number, and is written down at once, to ``structures/NUMBER.json``.

    Raises
    ------
    InputError
        If another process works in the folder, it was begun with other settings, or cannot be written any more.
    """
    with folders.locked(folder, inside=[RECORDS]):
        _begin(folder, {"seed": seed, "starts": STARTS, "d": 3, "k": 1, "T": 3})
        left = Left(folder, structures, progress)
        if left.todo:
            work_off(left, Counting(folder, seed), workers=min(workers, len(left.todo)), imports=["sims.atlas.census"])
    if left.stopped is not None:
        raise InputError(f"{left.stopped}; what is finished is kept, run the same command again to continue")
    return [left.found[number] for number in range(structures)]


@dataclass(frozen=True)
class Counting:
    """Counts structures in a worker process, and writes down each."""

    folder: Path
    seed: int

    def do(self, job: int, tick: Tick) -> None:  # noqa: ARG002
        """Count one."""
        document = {"format": FORMAT, **asdict(counted(self.seed, job))}
        write_whole(_record(self.folder, job), json.dumps(document, allow_nan=False))


class Left:
    """The structures that are left to count, and what was found; one whose process ended is not written down."""

    def __init__(self, folder: Path, structures: int, progress: Callable[[str], None]) -> None:
        """Read what the folder holds."""
        self.folder, self.progress = folder, progress
        self.stopped: str | None = None
        self.found = {i: _read(folder, i) for i in range(structures) if lexists(_record(folder, i))}
        self.todo = deque(i for i in range(structures) if i not in self.found)

    def next(self) -> int | None:
        """Return the next structure."""
        return self.todo.popleft() if self.todo else None

    def ticked(self, job: int, epochs: float, detail: str) -> None:
        """Hear nothing: a structure takes a second."""

    def ended(self, job: int, lost: Lost | None) -> None:
        """Hear that a structure is counted, or why it is not."""
        if lost is not None and lost.fatal:
            self.stopped = lost.what
            return
        self.found[job] = _read(self.folder, job) if lost is None else Counted(job, complete=False, reason=lost.what)
        traps = sum(each.spurious > 0 for each in self.found.values())
        self.progress(f"{len(self.found)} structures, {traps} with a trap")


def _begin(folder: Path, settings: dict[str, int]) -> None:
    """Write down with which settings a folder is begun, or check that it was begun with the same."""
    path = folder / BEGUN
    if lexists(path):
        begun = read_json(path, expected="what a census writes")
        if not isinstance(begun, dict) or not isinstance(begun.get("settings"), dict):
            raise FolderError(f"{path}: is not what a census writes, use another folder")
        folders.check_format(path, begun.get("format"), written=FORMAT)
        folders.check_same(folder, begun["settings"], settings)
    elif lexists(folder / RECORDS):
        raise FolderError(f"{folder}: holds {RECORDS} but no {BEGUN}, use another folder")
    else:
        write_whole(path, json.dumps({"format": FORMAT, "settings": settings}))
    (folder / RECORDS).mkdir(exist_ok=True)
    folders.remove_leftovers(folder / RECORDS)


def _record(folder: Path, structure: int) -> Path:
    return folder / RECORDS / f"{structure}.json"


def _read(folder: Path, structure: int) -> Counted:
    path = _record(folder, structure)
    document = read_json(path, expected="the JSON of a structure; remove it and run again")
    held = document.pop("format", None) if isinstance(document, dict) else None
    folders.check_format(path, held, written=FORMAT)
    try:
        found = from_table(Counted, document)
    except SettingsError as problem:
        raise FolderError(f"{path}: {problem}; remove it and run again") from None
    if found.structure != structure:
        raise FolderError(f"{path}: holds structure {found.structure}; remove it and run again")
    return found


def share(found: Sequence[Counted]) -> tuple[float, float, float]:
    """Return the share of structures with a spurious minimum and its 95 % interval over structures.

    The share is that of complete ones. Incomplete ones count as without for the lower bound and as with for the upper.
    """
    complete = [each for each in found if each.complete]
    traps, unknown = sum(each.spurious > 0 for each in complete), len(found) - len(complete)
    low = clopper_pearson(traps, len(found))[0]
    high = clopper_pearson(traps + unknown, len(found))[1]
    return traps / max(len(complete), 1), low, high


def summary(found: Sequence[Counted]) -> str:
    """Return what was counted, in sentences."""
    complete = [each for each in found if each.complete]
    traps = [each for each in complete if each.spurious]
    part, low, high = share(found)
    lines = [
        f"{len(complete)} of {len(found)} structures complete and certified, d = 3, k = 1, T = 3.",
        f"{len(traps)} have a spurious minimum: {100 * part:.1f} % ({100 * low:.1f} to {100 * high:.1f}); "
        f"at most {max((each.spurious for each in complete), default=0)} on one structure.",
    ]
    for kind in ("small", "large"):
        trapped = sum(getattr(each, kind) for each in complete)
        lines.append(
            f"{kind} starts: {100 * trapped / max(STARTS * len(complete), 1):.2f} % end in a spurious minimum, "
            f"{100 * trapped / max(STARTS * len(traps), 1):.1f} % on the structures that have one."
        )
    lines += [f"structure {each.structure}: {each.reason}" for each in found if not each.complete]
    return "\n".join([*lines, ""])


def write_census(found: Sequence[Counted], path: Path) -> None:
    """Write the table as CSV, whole or not at all."""
    text = StringIO()
    writer = csv.DictWriter(text, [each.name for each in fields(Counted)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(each) for each in found)
    write_whole(path, text.getvalue())


def draw_census(found: Sequence[Counted], path: Path) -> list[Path]:
    """Draw, for every structure with a spurious minimum, how many starts it traps against its value."""
    traps = [each for each in found if each.spurious]
    with plotting.figure(6.4, 3.6) as picture:
        ax = picture.subplots()
        for kind, marker in (("large", "o"), ("small", "x")):
            shares = [100 * getattr(each, kind) / STARTS for each in traps]
            ax.plot([each.value or 0.0 for each in traps], shares, marker, label=f"{kind} starts", alpha=0.7)
        ax.set_xscale("log")
        ax.set_xlabel("f at the spurious minimum, over f where all factors are 0")
        ax.set_ylabel("trapped starts (%)")
        ax.legend()
        return plotting.save(picture, path)
