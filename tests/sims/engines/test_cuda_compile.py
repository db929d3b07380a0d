"""NVRTC, which needs no GPU, makes machine code of the CUDA source for the cards that the documentation names."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sims.engines.cuda_kernels import Kernel, source

nvrtc = pytest.importorskip(
    "cuda.bindings.nvrtc", reason="NVRTC is not installed: pip install cuda-bindings nvidia-cuda-nvrtc"
)
try:
    nvrtc.nvrtcVersion()
except RuntimeError as error:  # the bindings are there, the library is not
    pytest.skip(f"NVRTC cannot be loaded: {error}", allow_module_level=True)

NAMES = ("lora_ml", "fine_tuning", "standard_retraining")
PAPER = {"d": 10, "k": 1, "T": 3}


def ask(function: Any, *arguments: Any) -> Any:
    """Call NVRTC and return its result, or fail with its error."""
    error, *result = function(*arguments)
    assert error == nvrtc.nvrtcResult.NVRTC_SUCCESS, error
    return result[0] if result else None


def compile_for(arch: str, kernel: Kernel, code: str) -> tuple[bytes | None, str]:
    """Return machine code, None if the source does not compile, and the compiler's log."""
    program = ask(nvrtc.nvrtcCreateProgram, code.encode(), b"descent.cu", 0, [], [])
    options = [o.encode() for o in (f"-arch={arch}", "--ptxas-options=-v", *kernel.options)]
    (error,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    log = bytearray(ask(nvrtc.nvrtcGetProgramLogSize, program))
    ask(nvrtc.nvrtcGetProgramLog, program, log)
    if error != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        return None, log.decode()
    code_bytes = bytearray(ask(nvrtc.nvrtcGetCUBINSize, program))
    ask(nvrtc.nvrtcGetCUBIN, program, code_bytes)
    return bytes(code_bytes), log.decode()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_compiles(arch: str, dtype: str) -> None:
    """No register spills: at the paper's shape everything that is not in shared memory stays in registers."""
    code, log = compile_for(arch, Kernel("lora_ml", dtype, **PAPER), source())
    assert code is not None, log
    assert code[:4] == b"\x7fELF"
    assert all(name.encode() in code for name in NAMES)
    assert "warning" not in log
    assert re.findall(r"(\d+) bytes spill stores", log) == ["0"] * len(NAMES)


def test_compiles_at_the_largest_block() -> None:
    """At 256 threads a thread may have 255 registers at most, and d, k and T are not small."""
    kernel = Kernel("lora_ml", "float64", d=24, k=3, T=5)
    assert kernel.threads == 256
    code, log = compile_for("sm_90", kernel, source())
    assert code is not None, log


def test_what_is_not_cuda_does_not_compile() -> None:
    code, log = compile_for(
        "sm_80", Kernel("lora_ml", "float64", **PAPER), source().replace("__device__ inline", "", 1)
    )
    assert code is None
    assert "__host__" in log
