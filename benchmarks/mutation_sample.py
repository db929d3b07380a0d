"""A sample of cosmic-ray's mutants of the mathematics, each run against its module's own unit tests.

Usage: python benchmarks/mutation_sample.py [--places 200] [--seed 0] [--first N] [--workers 2] [--only WORD ...]

Needs `pip install cosmic-ray` besides what the tests need. Edits copies of the tree in temporary folders, one for each
worker, never this one. A place is where an operator of cosmic-ray applies; of those outside of type annotations, which
are not evaluated, some are drawn without repetition, and one mutant of the kind at each. A mutant is killed when a test
fails or the tests take longer than `TIMEOUT`, which is told apart. Prints every survivor as a diff, and the counts.
`--only` runs those of the sample whose heading, ``module:line operator``, contains one of the words.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

from attrs import evolve
from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkResult

ROOT = Path(__file__).parent.parent
TESTS = {
    "objectives": ("test_objectives", "test_unattained"),
    "closed_forms": ("test_closed_forms", "test_spectral_recovery"),
    "moments": ("test_moments", "test_moments_draw"),
    "landscape": ("test_landscape",),
}
PARTS = ("loraml_theory", "sims", "realdata", "paper_checks", "tests", "docs", "pyproject.toml")
TIMEOUT = 300.0  # seconds; the tests of a module take 5 to 20 on a free core


def main() -> int:
    """Draw the sample, run it, print what survived; 0 when nine tenths are killed."""
    options = _options()
    whole = drawn(options.places, options.seed)[: options.first]
    sample = [spec for spec in whole if any(word in heading(spec) for word in options.only)]
    for name in sorted(set(map(module, sample))):
        subprocess.run(shlex.split(_command(name)), cwd=ROOT, check=True)  # the right code passes
    killed: Counter[str] = Counter()
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(options.workers, initializer=copy_tree, initargs=(folder,)) as pool,
    ):
        for spec, result in zip(sample, pool.map(_try, sample), strict=True):
            if result.worker_outcome is not WorkerOutcome.NORMAL:
                raise RuntimeError(f"{heading(spec)}: {result.worker_outcome}: {result.output}")
            dead = result.test_outcome is not TestOutcome.SURVIVED
            killed[module(spec)] += dead
            how = "killed by time" if result.output == "timeout" else "killed"
            print(heading(spec), how if dead else f"SURVIVED\n{result.diff}", flush=True)
    tried = Counter(map(module, sample))
    for name in TESTS:
        print(f"{name}: {killed[name]} of {tried[name]} killed")
    print(f"all: {killed.total()} of {tried.total()} killed, {killed.total() / tried.total():.1%}")
    return int(killed.total() < 0.9 * tried.total())


def drawn(places: int, seed: int) -> list[MutationSpec]:
    """Draw places, and one mutant at each."""
    rng, found = random.Random(seed), places_of([ROOT / f"loraml_theory/{name}.py" for name in TESTS])
    return [rng.choice(mutants) for mutants in rng.sample(found, places)]


def places_of(files: Sequence[Path]) -> list[list[MutationSpec]]:
    """Return the mutants of one kind of operator at every place outside of type annotations, in order."""
    at: defaultdict[tuple[str, tuple[int, int], str], list[MutationSpec]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, use_db(f"{folder}/all.sqlite") as all_mutants:
        init(files, all_mutants, {})
        for spec in sorted((item.mutations[0] for item in all_mutants.work_items), key=_order):
            if not _in_annotation(spec):
                at[str(spec.module_path), spec.start_pos, _kind(spec)].append(spec)
    return [at[place] for place in sorted(at)]


def heading(spec: MutationSpec) -> str:
    """Say where a mutant is, and which operator of cosmic-ray made it."""
    return f"{module(spec)}:{spec.start_pos[0]} {spec.operator_name.removeprefix('core/')}"


def module(spec: MutationSpec) -> str:
    """Name the mutated module."""
    return spec.module_path.stem


def _kind(spec: MutationSpec) -> str:
    return spec.operator_name.split("_")[0]


def _order(spec: MutationSpec) -> tuple[str, str, int]:
    return module(spec), spec.operator_name, spec.occurrence


def _in_annotation(spec: MutationSpec) -> bool:
    return any(start <= spec.start_pos < end for start, end in _annotations(spec.module_path))


@cache
def _annotations(path: Path) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return where the type annotations of a file start and end."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        parts = (getattr(node, "annotation", None), getattr(node, "returns", None))
        found += [part for part in parts if isinstance(part, ast.expr)]
    return [((a.lineno, a.col_offset), (a.end_lineno or 0, a.end_col_offset or 0)) for a in found]


def copy_tree(folder: str) -> None:
    """Let a worker have a tree of its own, without compiled files, which could be taken for those of a mutant."""
    tree = Path(tempfile.mkdtemp(dir=folder))
    for part in PARTS:
        (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, tree / part)
    for compiled in tree.rglob("__pycache__"):
        shutil.rmtree(compiled)
    os.chdir(tree)
    os.environ.update(PYTHONPATH=str(tree), PYTHONDONTWRITEBYTECODE="1")


def _try(spec: MutationSpec) -> WorkResult:
    here = evolve(spec, module_path=Path("loraml_theory") / spec.module_path.name)
    return mutate_and_test([here], _command(module(spec)), TIMEOUT)


def _command(name: str) -> str:
    files = " ".join(f"tests/loraml_theory/{test}.py" for test in TESTS[name])
    return f"{shlex.quote(sys.executable)} -m pytest -q -x -p no:cacheprovider {files}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--places", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, help="only so many of them, in the order drawn")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=[""])
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
