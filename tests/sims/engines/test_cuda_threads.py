"""The CUDA source on the CPU with several threads a block, under the thread sanitizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sims.engines.cuda_kernels import Kernel
from sims.engines.engine import Iterates
from tests.sims.engines.host_cuda import KERNELS, compile_host, needs_compiler, no_thread_sanitizer, run_program
from tests.sims.problems import DESCENTS, Problem, by_reference, deviation, problem

pytestmark = needs_compiler

D, K, T, STEPS = 5, 2, 3, 6
THREADS = 3  # divides neither the items of a phase nor a row: items of one row belong to several threads
SOURCE = (KERNELS / "descent.cu").read_text("utf-8").splitlines()
BARRIERS = [number for number, line in enumerate(SOURCE, start=1) if "__syncthreads()" in line]


def descent_of(line: int) -> str:
    """Return a kernel that passes the barrier on this line; those in functions belong to the retraining."""
    above = "\n".join(SOURCE[:line])
    return max(DESCENTS, key=lambda name: above.rfind(f" {name}("))


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if missing := no_thread_sanitizer(tmp_path_factory.mktemp("probe")):
        pytest.skip(missing)
    constants = (f"-DDIM={D}", f"-DRANK={K}", f"-DTASKS={T}", f"-DTHREADS={THREADS}", "-DREAL=double")
    out = tmp_path_factory.mktemp("threads") / "kernels"
    return compile_host(constants, out, "-O1", "-g", "-fsanitize=thread")


def arguments_of(descent: str, given: Problem) -> tuple[Any, ...]:
    """Return a launch's arguments that record every step; arrays that are written hold NaN."""
    S, W = (np.ascontiguousarray(x) for x in (given.moments.S, given.moments.W))
    every, records = np.int32(1), STEPS + 1

    def room(start: Any) -> np.ndarray:
        return np.full((records, *start.shape), np.nan)

    if descent == "lora_ml":
        A, U = given.start.A, given.start.U
        schedule = (np.int32(STEPS), np.float64(3e-2), np.int32(10), np.float64(3e-3))
        return (S, W, A, U, room(A), room(U), *schedule, every, np.int32(records))
    if descent == "fine_tuning":
        U, V = (np.ascontiguousarray(x) for x in (given.adapters.U, given.adapters.V))
        S, R = S[:, -1].copy(), W[:, -1] - given.base
        return (S, R, U, V, room(U), room(V), np.int32(STEPS), np.float64(5e-3), every, np.int32(records))
    A = given.start.A
    return (S, W, A, room(A), np.int32(STEPS), np.float64(3e-2), every, np.int32(records))


def kernel_of(descent: str) -> Kernel:
    return Kernel(
        descent, "float64", D, 1 if descent == "standard_retraining" else K, 1 if descent == "fine_tuning" else T
    )


def defect(program: Path, file: Path, descent: str, *, skipped_line: int = 0) -> str:
    """Run a descent with one barrier left out; return what is wrong with it, nothing for a sound run."""
    given = problem(d=D, k=K, T=T, n=50)
    arguments = arguments_of(descent, given)
    results, said = run_program(program, kernel_of(descent), arguments, file, skipped_line=skipped_line)
    if results is None or said:
        return said or "a race"
    written = [x for x, before in zip(results, arguments, strict=False) if np.isnan(before).all()]
    names = {"lora_ml": "AU", "fine_tuning": "UV", "standard_retraining": "A"}[descent]
    if not all(np.isfinite(x).all() for x in written):
        return "off by NaN"
    iterates = Iterates(
        np.arange(STEPS + 1), **({"A": None, "U": None, "V": None} | dict(zip(names, written, strict=True)))
    )
    difference = deviation(iterates, by_reference(descent, given, steps=STEPS))
    return "" if difference <= 1e-9 else f"off by {difference}"


@pytest.mark.parametrize("descent", DESCENTS)
@pytest.mark.long
def test_threads_do_not_race_and_follow_the_reference(program: Path, tmp_path: Path, descent: str) -> None:
    assert defect(program, tmp_path / "arguments", descent) == ""


def test_barriers_are_where_they_are_looked_for() -> None:
    assert len(BARRIERS) >= 10
    assert {descent_of(line) for line in BARRIERS} == set(DESCENTS)


@pytest.mark.parametrize("line", BARRIERS)
def test_every_barrier_is_needed_and_missed(program: Path, tmp_path: Path, line: int) -> None:
    """The proof that the test above can fail: a kernel without any one of its barriers does not pass."""
    found = defect(program, tmp_path / "arguments", descent_of(line), skipped_line=line)
    assert "data race" in found or "off by" in found, f"line {line}: {SOURCE[line - 1].strip()} is not missed"
