"""A sample of cosmic-ray's mutants of `paper_checks`, stratified by file, each run against what should notice it.

Usage: python benchmarks/mutation_of_checks.py --out FILE.jsonl [--places 200] [--seed 0] [--workers 2] [--minutes 120]

Needs `pip install cosmic-ray`, as `mutation_sample.py` does, from which the places and the trees of workers are. Every
file has its share of the places, and one mutant is drawn at each; the order is random, so that a part of them is a
sample too. A mutant is killed when the tests of its file's folder fail, or a run of `loraml verify` on the claims
that use the file does not exit with 0. Results are appended to FILE.jsonl; a second run goes on where the first
stopped. The catalogues of mutants are left out: they are data.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import sys
import tempfile
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from time import monotonic
from typing import Any

from attrs import evolve
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkResult
from mutation_sample import ROOT, copy_tree, places_of

from sims.ensembles.proportions import clopper_pearson

TIMEOUT = 1800.0  # seconds; a whole run takes 30 of the processor
DATA = {"mutation/mutants.py", "mutation/loosened.py"}
TESTS = {
    "claims": ["tests/paper_checks/claims tests/paper_checks/evidence/test_claims_at_scale.py"],
    "commands": ["tests/paper_checks/commands"],
    "evidence": ["tests/paper_checks/evidence", "tests/paper_checks/claims"],
    "mutation": ["tests/paper_checks/mutation"],
    "report": ["tests/paper_checks/report", "tests/paper_checks/commands/test_cli.py"],
    "": [
        "tests/paper_checks/test_verify.py tests/paper_checks/test_registry.py tests/paper_checks/test_notation.py",
        "tests/paper_checks/report tests/paper_checks/commands/test_cli.py",
    ],
}
"""The tests of each folder, those that are over soonest first."""
NONE_SELECTED = 5  # pytest's exit status
CHECKING = ("claims", "evidence", "")
"""Folders whose files a run of `loraml verify` rests on."""


def main() -> int:
    """Draw the sample, run what is not in the file yet, print the counts; 0 when nine tenths are killed."""
    options = _options()
    done = _done(options.out)
    left = [spec for spec in drawn(options.places, options.seed) if heading(spec) not in done]
    until = monotonic() + 60 * options.minutes
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(options.workers, initializer=copy_tree, initargs=(folder,)) as pool,
        options.out.open("a", encoding="utf-8") as results,
    ):
        running = {pool.submit(_try, spec, until): spec for spec in left}
        for ended in as_completed(running):
            result = ended.result()
            if result is None:
                continue
            if result.worker_outcome is not WorkerOutcome.NORMAL:
                raise RuntimeError(f"{heading(running[ended])}: {result.worker_outcome}: {result.output}")
            row = {
                "mutant": heading(running[ended]),
                "killed": result.test_outcome is not TestOutcome.SURVIVED,
                "time": result.output == "timeout",
                "diff": result.diff,
            }
            print(json.dumps(row), file=results, flush=True)
            print(row["mutant"], "killed" if row["killed"] else f"SURVIVED\n{row['diff']}", flush=True)
    return _summary(list(_done(options.out).values()), options.places)


def drawn(places: int, seed: int) -> list[MutationSpec]:
    """Draw from every file its share of the places, and one mutant at each, in random order."""
    package = ROOT / "paper_checks"
    files = [path for path in sorted(package.rglob("*.py")) if str(path.relative_to(package)) not in DATA]
    of_file: defaultdict[Path, list[list[MutationSpec]]] = defaultdict(list)
    for mutants in places_of(files):
        of_file[mutants[0].module_path].append(mutants)
    rng, total, chosen, due = random.Random(seed), sum(map(len, of_file.values())), [], 0.0
    for found in of_file.values():
        due += places * len(found) / total  # the parts of a place that a file has left go to the next one
        chosen += [rng.choice(mutants) for mutants in rng.sample(found, min(len(found), round(due) - len(chosen)))]
    rng.shuffle(chosen)
    return chosen


def heading(spec: MutationSpec) -> str:
    """Say where a mutant is, and which operator of cosmic-ray made it."""
    operator = spec.operator_name.removeprefix("core/")
    return f"{_relative(spec)}:{spec.start_pos[0]}:{spec.start_pos[1]} {operator} {spec.occurrence}"


def _relative(spec: MutationSpec) -> Path:
    return spec.module_path.relative_to(ROOT / "paper_checks") if spec.module_path.is_absolute() else spec.module_path


def _try(spec: MutationSpec, until: float) -> WorkResult | None:
    """Run a mutant in this worker's tree; None after the time is up."""
    if monotonic() > until:
        return None
    here = evolve(spec, module_path="paper_checks" / _relative(spec))
    return mutate_and_test([here], _command(_relative(spec)), TIMEOUT)


def _command(file: Path) -> str:
    folder = str(file.parent) if len(file.parts) > 1 else ""
    python = shlex.quote(sys.executable)
    claim = file.stem.replace("_", "-").upper() if folder == "claims" and not file.stem.startswith("nl") else ""
    only = f" -k {claim}" if claim else ""
    pytest = f"{python} -m pytest -q -x -p no:cacheprovider{only}"
    steps = [f"{pytest} {tests}" for tests in TESTS[folder]]
    if folder in CHECKING:
        chosen = f" --claim {claim}" if claim else ""
        run = f'from paper_checks.cli import main; main(["verify", "--workers", "1"{_arguments(chosen)}])'
        steps.insert(1, f"{python} -c {shlex.quote(run)}")  # before the longer tests
    long = f"{pytest} --run-long -m 'long and not slow' {' '.join(TESTS[folder])}"
    steps.append(f"{{ {long}; code=$?; [ $code = 0 -o $code = {NONE_SELECTED} ]; }}")
    return f"sh -c {shlex.quote(' && '.join(steps))}"


def _arguments(options: str) -> str:
    return "".join(f', "{word}"' for word in options.split())


def _done(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return {row["mutant"]: row for row in rows}


def _summary(rows: list[dict[str, Any]], places: int) -> int:
    tried, killed = Counter[str](), Counter[str]()
    for row in rows:
        file = row["mutant"].partition(":")[0]
        tried[file] += 1
        killed[file] += row["killed"]
    for file in sorted(tried):
        print(f"{file}: {killed[file]} of {tried[file]} killed")
    low, high = clopper_pearson(killed.total(), tried.total(), level=0.95) if rows else (0.0, 1.0)
    print(f"{tried.total()} of {places} tried: {killed.total()} killed, 95 % interval {low:.1%} to {high:.1%}")
    return int(killed.total() < 0.9 * tried.total())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--places", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=120.0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
