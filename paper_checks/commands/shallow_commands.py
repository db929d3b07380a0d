"""What `loraml figure shallow` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from loraml_theory.harness.errors import InputError
from paper_checks.commands import common as commands
from paper_checks.commands.figure_commands import refusing

if TYPE_CHECKING:
    from rich.console import Console

    from sims.shallow.results import Result, Study

MOST = {"runs": 10_000, "epochs": 10**9, "tuning-epochs": 10**9}


def shallow_figure(
    *,
    vary: str,
    out: Path,
    variant: str,
    solver: str,
    numbers: Mapping[str, str],
    descent: Mapping[str, str | None],
    seed: str,
) -> tuple[int, str]:
    """Reproduce one of the figures of the shallow network, or all; what is already in the folder is used."""
    from sims.shallow.descent import get
    from sims.shallow.results import Study
    from sims.shallow.settings import SOLVERS, VALUES, VARIANTS, Cell

    if vary not in (*VALUES, "all"):
        raise InputError(f"--vary: got {vary!r}, expected {', '.join(VALUES)} or all")
    if variant not in VARIANTS:
        raise InputError(f"--variant: got {variant!r}, expected {' or '.join(VARIANTS)}")
    if solver not in SOLVERS:
        raise InputError(f"--solver: got {solver!r}, expected {' or '.join(SOLVERS)}")
    counts = {name: _count(name, text) for name, text in numbers.items()}
    root = commands.whole_number("--seed", seed)
    commands.prepare_folder(out)
    with refusing(out):
        runner = get(descent["engine"] or "auto", descent["device"], precision=descent["precision"] or "float32")
        study = Study(runner, seed=root, runs=counts["runs"], folder=out, solver=solver)
        base = replace(Cell(), epochs=counts["epochs"], tuning_epochs=counts["tuning-epochs"])
        axes = VALUES if vary == "all" else (vary,)
        return 0, "".join(_one(axis, out, study, variant=variant, base=base) for axis in axes)


def _one(axis: str, out: Path, study: Study, **options: Any) -> str:
    """Make one figure, and say what came out."""
    from sims.shallow.figures import shallow_figure as write

    began = perf_counter()
    with commands.shown_progress() as progress, threadpool_limits(limits=1, user_api="blas"):
        paths, found = write(axis, out, study, progress=progress, **options)
    text = commands.rendered(lambda console: _show(console, found, study, options["variant"]))
    descent = study.descent
    seconds = f"{perf_counter() - began:.1f} s, engine {descent.name} on {descent.device}, {descent.precision}"
    return f"{text}{', '.join(map(str, paths))}: {seconds}\n"


def _show(console: Console, found: Sequence[Result], study: Study, variant: str) -> None:
    """Print one line a setting, and one for all: both medians, and their paired ratio."""
    from rich.table import Table

    from sims.shallow.settings import VARIANTS
    from sims.shallow.tables import median_interval, over_axis, paired, run_rows

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    pairs = paired(run_rows(found, study), column=VARIANTS[variant].column)
    for name in (found[0].vary, "rank", "LoRA-ML", "SR", "SR / LoRA-ML", "interval", "ahead in"):
        table.add_column(name, justify="right", no_wrap=True)
    for pair in pairs:
        medians = (f"{np.median(side):.3g}" for side in (pair.meta, pair.standard))
        table.add_row(str(pair.value), str(pair.rank), *medians, *_compared(pair.differences))
    table.add_row("all", "", "", "", *_compared(over_axis(pairs)))
    console.print(table)
    confidence = median_interval(pairs[0].differences).confidence
    quantity = VARIANTS[variant].column.replace("in_sample", "in-sample").replace("_", " ")
    console.print(
        f"medians over runs of the {quantity} after fine-tuning, and of its paired ratio; the interval\n"
        f"covers the latter with {100 * confidence:.3g} %, whatever is drawn; all: geometric means over the settings",
        soft_wrap=True,
    )


def _compared(differences: np.ndarray) -> tuple[str, str, str]:
    """Return median ratio, interval, and in how many runs LoRA-ML is ahead, from differences of logarithms."""
    from sims.shallow.tables import median_interval

    found = median_interval(differences)
    interval = f"\\[{10**found.low:.3g}, {10**found.high:.3g}]"
    return f"{10**found.median:.3g}", interval, f"{np.sum(differences > 0)} of {len(differences)}"


def _count(name: str, text: str) -> int:
    value = commands.whole_number(f"--{name}", text)
    if not 1 <= value <= MOST[name]:
        raise InputError(f"--{name}: got {text!r}, expected a whole number from 1 to {MOST[name]}")
    return value
