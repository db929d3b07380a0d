"""Run the tests that compare libraries as other processors would: ``python -m tests.portability [options of pytest]``.

A setting of variables is run where none of them is set already, the processor has the instructions, and the
libraries say that they follow it; otherwise one line says why it is skipped. The last is no processor's: NumPy and
torch get a LAPACK that chooses otherwise (`tests.other_lapack`). Ends with 1 if a test failed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).parent.parent
AVX2 = {"avx2", "fma"}
AVX512 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
Setting: TypeAlias = tuple[dict[str, str], set[str], tuple[str, ...]]
"""Variables, the instructions that they need, and options of pytest."""
SETTINGS: dict[str, Setting] = {
    "no AVX": (
        {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "OPENBLAS_CORETYPE": "Nehalem"},
        {"sse4_2"},
        (),
    ),
    "AVX2": ({"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2", "OPENBLAS_CORETYPE": "Haswell"}, AVX2, ()),
    "AVX-512": ({"ATEN_CPU_CAPABILITY": "avx512", "MKL_CBWR": "AVX512", "OPENBLAS_CORETYPE": "SkylakeX"}, AVX512, ()),
    "two threads": (dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "2"), set(), ()),
    "another LAPACK": ({}, set(), ("-p", "tests.other_lapack")),
}
REPORT = """
import json, numpy, scipy.linalg, threadpoolctl, torch
torch.eye(64, dtype=torch.float64) @ torch.eye(64, dtype=torch.float64)
blas = [library for library in threadpoolctl.threadpool_info() if library["internal_api"] == "openblas"]
print(json.dumps({
    "ATEN_CPU_CAPABILITY": [torch.backends.cpu.get_cpu_capability()],
    "OPENBLAS_CORETYPE": [library["architecture"] for library in blas],
    "OPENBLAS_NUM_THREADS": [str(library["num_threads"]) for library in blas],
    "OMP_NUM_THREADS": [str(torch.get_num_threads())],
}))
"""


def processor_flags() -> set[str]:
    """Return the instruction sets that Linux names; none where it does not."""
    try:
        return set(Path("/proc/cpuinfo").read_text().partition("\nflags")[2].partition("\n")[0].split())
    except OSError:
        return set()


def in_effect(variables: Mapping[str, str]) -> dict[str, set[str]]:
    """Return what torch, MKL and every OpenBLAS say that they follow, by variable."""
    environment = {**os.environ, **variables, "MKL_VERBOSE": "1"}
    done = subprocess.run([sys.executable, "-c", REPORT], env=environment, capture_output=True, text=True, check=True)
    said = {name: set(values) for name, values in json.loads(done.stdout.splitlines()[-1]).items()}
    return {**said, "MKL_CBWR": set(re.findall(r" CNR:(\w+)", done.stdout))}


def reason_to_skip(variables: Mapping[str, str], needs: set[str], flags: set[str]) -> str | None:
    """Return why a setting is not run, if it is not."""
    if already := sorted(variables.keys() & os.environ.keys()):
        return f"{', '.join(already)} set already"
    if missing := sorted(needs - flags):
        return f"the processor does not have {', '.join(missing)}"
    said = in_effect(variables) if variables else {}
    for name, value in variables.items():
        if name in said and {one.lower() for one in said[name]} != {value.lower()}:
            return f"{name}={value} is not followed: {', '.join(sorted(said[name])) or 'no library says so'}"
    return None


def main(options: list[str]) -> int:
    """Run every setting; return 1 if a test failed in one of them."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--no-cov", "-m", "libraries"]
    files = [str(path) for path in sorted(ROOT.glob("tests/**/test_*.py")) if "mark.libraries" in path.read_text()]
    failed = False
    for title, (variables, needs, extra) in SETTINGS.items():
        words = " ".join([*(f"{name}={value}" for name, value in variables.items()), *extra])
        reason = reason_to_skip(variables, needs, processor_flags())
        print(f"== {title}: {words}{f', skipped: {reason}' if reason else ''}", flush=True)
        if reason is None:
            done = subprocess.run(
                [*command, *extra, *files, *options], cwd=ROOT, env={**os.environ, **variables}, check=False
            )
            failed |= done.returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
