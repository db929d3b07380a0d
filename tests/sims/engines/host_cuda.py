"""The CUDA kernels on the CPU: compiled by the system's C++ compiler, launched as CuPy would launch them."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sims.engines import cuda_kernels
from sims.engines.cuda_kernels import Kernel

COMPILER = shutil.which("g++") or shutil.which("clang++")
HERE = Path(__file__).parent
KERNELS = Path(cuda_kernels.__file__).parents[1] / "kernels"
RACE = 66  # exit status of a program in which the thread sanitizer saw a race
H100 = 232_448  # shared memory that one block may have, bytes

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler (g++ or clang++)")


def compile_host(constants: tuple[str, ...], out: Path, *options: str) -> Path:
    """Compile the kernels with the host shim."""
    assert COMPILER is not None
    flags = ("-std=c++20", "-Wall", "-Wextra", "-Werror", "-pthread", f"-I{KERNELS}")
    command = (COMPILER, *flags, *options, *constants, str(HERE / "host_kernels.cpp"), "-o", str(out))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def no_thread_sanitizer(folder: Path) -> str:
    """Return why the thread sanitizer cannot be used here, nothing if it can."""
    assert COMPILER is not None
    (folder / "probe.cpp").write_text("int main() {}\n", "utf-8")
    for command in ((COMPILER, "-fsanitize=thread", "probe.cpp", "-o", "probe"), (str(folder / "probe"),)):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            return f"no thread sanitizer: {(done.stderr.strip() or command[0]).splitlines()[-1]}"
    return ""


class HostModule:
    """Stands in for ``cupy.RawModule``: compiles for one thread a block and launches through the same arguments."""

    def __init__(self, folder: Path, code: str, options: tuple[str, ...]) -> None:
        assert code == (KERNELS / "descent.cu").read_text("utf-8")
        self._constants = tuple(o for o in options if o.startswith("-D") and not o.startswith("-DTHREADS"))
        name = re.sub(r"[^A-Za-z0-9]+", "_", "".join(self._constants))
        library = folder / f"{name}.so"
        if not library.exists():
            compile_host((*self._constants, "-DTHREADS=1"), library, "-O1", "-shared", "-fPIC")
        self._launch = ctypes.CDLL(str(library)).launch

    def get_function(self, name: str) -> HostFunction:
        return HostFunction(functools.partial(self._launch, name.encode()))


class HostFunction:
    """Stands in for a function of a module; like CUDA it grants more than 48 KiB only to those who asked."""

    max_dynamic_shared_size_bytes = 48 * 1024

    def __init__(self, launch: Callable[..., int]) -> None:
        self._launch = launch

    def __call__(self, grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...], *, shared_mem: int) -> None:
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        assert block[0] % 32 == 0
        values = [as_c(x) for x in arguments]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(x) for x in values))
        blocks, threads, size = ctypes.c_uint(grid[0]), ctypes.c_uint(1), ctypes.c_size_t(shared_mem)
        assert self._launch(blocks, threads, size, pointers) == 0, "a kernel wrote beyond its shared memory"


def as_c(value: Any) -> Any:
    """Return an argument as CuPy passes it: arrays by address, NumPy scalars by value in their own type."""
    if isinstance(value, np.ndarray):
        return ctypes.c_void_p(value.ctypes.data)
    return {np.int32: ctypes.c_int32, np.float64: ctypes.c_double, np.float32: ctypes.c_float}[type(value)](value)


class HostDevice:
    """Stands in for ``cupy.cuda.Device``."""

    def __init__(self, shared_limit: int, free: int) -> None:
        self.attributes = {"MaxSharedMemoryPerBlockOptin": shared_limit}
        self.mem_info = (free, free)

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


def host_cupy(folder: Path, *, shared_limit: int = H100, free: int = 2**30, devices: int = 1) -> Any:
    """Return what stands in for the module cupy: NumPy's arrays, and kernels on the CPU."""
    cuda = SimpleNamespace(
        is_available=lambda: devices > 0,
        runtime=SimpleNamespace(getDeviceCount=lambda: devices),
        Device=lambda _index: HostDevice(shared_limit, free),
    )
    return SimpleNamespace(
        cuda=cuda,
        get_default_memory_pool=lambda: SimpleNamespace(free_all_blocks=lambda: None),
        RawModule=lambda *, code, options: HostModule(folder, code, options),
        ndarray=np.ndarray,
        float64=np.float64,
        asarray=np.array,
        asnumpy=np.array,
        empty=lambda shape, dtype: np.full(shape, np.nan, dtype=dtype),
    )


def run_program(
    program: Path, kernel: Kernel, arguments: tuple[Any, ...], file: Path, *, skipped_line: int = 0
) -> tuple[list[np.ndarray] | None, str]:
    """Launch in a program of its own; return the arrays after the launch and what the thread sanitizer said.

    The sanitizer ends the program at the first race it sees; then there are no arrays.
    """
    with file.open("wb") as out:
        for value in arguments:
            out.write(np.array([isinstance(value, np.ndarray), value.nbytes], dtype=np.int64).tobytes())
            out.write(value.tobytes())
    arrays = [x for x in arguments if isinstance(x, np.ndarray)]
    words = (program, kernel.name, str(len(arrays[0])), str(kernel.shared_bytes), str(skipped_line), file)
    environment = os.environ | {"TSAN_OPTIONS": f"halt_on_error=1 exitcode={RACE}"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=120)
    if done.returncode == RACE:
        return None, done.stderr
    assert done.returncode == 0, done.stderr
    content, offset, results = file.read_bytes(), 0, []
    for array in arrays:
        results.append(np.frombuffer(content, array.dtype, array.size, offset).reshape(array.shape))
        offset += array.nbytes
    return results, done.stderr
