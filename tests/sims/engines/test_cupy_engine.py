"""What the CuPy engine works out before a device comes in, and what it says where none is."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loraml_theory.adapters import Parameters
from loraml_theory.closed_forms import standard_retraining
from loraml_theory.harness.errors import InputError
from loraml_theory.moments import Moments
from loraml_theory.objectives import LoRAML
from sims.engines.cuda_kernels import Kernel, largest_dimension, pack, source, trials_at_once
from sims.engines.cupy_engine import CupyEngine
from sims.engines.engine import map_arrays
from tests.sims.engines.host_cuda import H100, host_cupy
from tests.sims.problems import by_engine, problem

LORA = Kernel("lora_ml", "float64", d=10, k=1, T=3)


@pytest.mark.parametrize(
    ("kernel", "numbers"),
    [
        (LORA, 3 * 300 + 2 * 100 + 3 * 30 + 2 * 3),
        (Kernel("fine_tuning", "float64", d=10, k=2), 100 + 110 + 5 * 20 + 2 * 4),
        (Kernel("fine_tuning", "float64", d=5, k=2), 25 + 25 + 5 * 10 + 2 * 4),
        (Kernel("standard_retraining", "float64", d=10, T=3), 400),
    ],
)
def test_shared_memory_is_counted(kernel: Kernel, numbers: int) -> None:
    assert kernel.shared_bytes == 8 * numbers
    assert replace(kernel, dtype="float32").shared_bytes == 4 * numbers


@pytest.mark.parametrize(
    ("kernel", "threads"),
    [
        (LORA, 32),
        (replace(LORA, d=11), 64),
        (replace(LORA, d=40, k=4), 256),
        (Kernel("fine_tuning", "float64", d=20, k=3), 64),
        (Kernel("standard_retraining", "float64", d=10, T=3), 128),
    ],
)
def test_threads_are_whole_warps(kernel: Kernel, threads: int) -> None:
    assert kernel.threads == threads


def test_largest_dimension_is_the_last_that_fits() -> None:
    d = largest_dimension(LORA, H100)
    assert d == 50
    replace(LORA, d=d).require_fits(H100)
    with pytest.raises(InputError, match=rf"d = {d + 1}, .* gives a block {H100}, enough for d <= {d}; .*torch"):
        replace(LORA, d=d + 1).require_fits(H100)
    assert largest_dimension(LORA, 100) == 0


def test_options_are_all_that_the_source_asks_for() -> None:
    options = replace(LORA, dtype="float32").options
    assert options == ("-std=c++17", "-DREAL=float", "-DDIM=10", "-DRANK=1", "-DTASKS=3", "-DTHREADS=32")
    assert all(option.removeprefix("-D").partition("=")[0] in source() for option in options[1:])


def test_packs_arrays_then_numbers_in_the_kernels_types() -> None:
    array = np.zeros((2, 3))
    arguments = pack(LORA, {"S": (array, (2, 3))}, (7, 0.5))
    assert arguments[0] is array
    assert [type(x) for x in arguments[1:]] == [np.int32, np.float64]
    single = pack(replace(LORA, dtype="float32"), {}, (7, 0.5))
    assert [type(x) for x in single] == [np.int32, np.float32]


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (np.zeros((2, 3), dtype=np.float32), TypeError, "S: got dtype float32, expected float64"),
        (np.zeros((3, 2)), ValueError, r"S: got shape \(3, 2\), expected \(2, 3\)"),
        (np.zeros((3, 2)).T, ValueError, r"S: got strides \(8, 16\), expected contiguous memory"),
        (np.broadcast_to(0.0, (2, 3)), ValueError, "S: got strides"),
    ],
    ids=["dtype", "shape", "transposed", "broadcast"],
)
def test_refuses_memory_that_a_kernel_would_misread(array: np.ndarray, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        pack(LORA, {"S": (array, (2, 3))}, ())


def test_a_launch_takes_what_the_memory_holds() -> None:
    assert trials_at_once(100, 1050) == 10
    with pytest.raises(InputError, match="1051 bytes of device memory and 1050 may be used; record fewer"):
        trials_at_once(1051, 1050)


def test_without_cupy_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(InputError, match=r"needs CuPy: pip install '\.\[cupy\]'"):
        CupyEngine()


def test_without_a_device_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"needs an NVIDIA GPU .* --engine cpu"):
        CupyEngine(cupy=host_cupy(tmp_path, devices=0))


@pytest.mark.parametrize("device", ["cpu", "cuda:", "cuda:x", "gpu", ""])
def test_unknown_device_is_refused(tmp_path: Path, device: str) -> None:
    with pytest.raises(InputError, match="expected cuda or cuda:INDEX"):
        CupyEngine(device, cupy=host_cupy(tmp_path))


def test_device_is_one_of_those_there(tmp_path: Path) -> None:
    assert CupyEngine(cupy=host_cupy(tmp_path)).device == "cuda:0"
    assert CupyEngine("cuda:1", cupy=host_cupy(tmp_path, devices=2)).device == "cuda:1"
    with pytest.raises(InputError, match="'cuda:2', but there are 2"):
        CupyEngine("cuda:2", cupy=host_cupy(tmp_path, devices=2))


def test_unknown_dtype_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dtype: got 'float16', expected one of 'float64', 'float32'"):
        CupyEngine(dtype="float16", cupy=host_cupy(tmp_path))


def test_asymmetric_retraining_is_left_to_the_torch_engine(tmp_path: Path) -> None:
    given = problem(d=4, k=1, T=2, n=9)
    asymmetric = given._replace(start=given.start._replace(V=given.start.U))
    with pytest.raises(InputError, match="torch engine"):
        by_engine(CupyEngine(cupy=host_cupy(tmp_path)), "lora_ml", asymmetric, steps=1, every=0)


class Moved(np.ndarray):
    """An array that has been on the device."""


def test_arrays_move_wherever_they_are() -> None:
    given = problem(d=4, k=1, T=2, n=9)
    objective, start = LoRAML(given.moments, 0.5), given.start
    out, parameters, rest = map_arrays(lambda x: x.view(Moved), np.ndarray, (objective, start, {"a": [start.A, 1]}))
    assert isinstance(out, LoRAML)
    assert out.ridge == 0.5
    assert isinstance(parameters, Parameters)
    assert parameters.V is None
    arrays: list[Any] = [out.moments.S, out.moments.W, out.moments.noise, parameters.A, parameters.U, rest["a"][0]]
    assert all(type(x) is Moved for x in arrays)
    assert rest["a"][1] == 1


def test_evaluate_calls_with_moved_arrays_and_brings_the_result_back(tmp_path: Path) -> None:
    moments = problem(d=4, k=1, T=2, n=9).moments

    def function(at: Moments, *, factor: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, str]:
        assert factor.dtype == np.float64
        assert kept.dtype == np.int64
        return standard_retraining(at) * factor, "a word"

    engine = CupyEngine(cupy=host_cupy(tmp_path))
    A, word = engine.evaluate(function, moments, factor=np.array(2, dtype=np.float32), kept=np.arange(3))
    np.testing.assert_array_equal(A, 2 * standard_retraining(moments))
    assert word == "a word"
