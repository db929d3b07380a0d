"""A setting for another processor is run where it can be, and only where it takes effect."""

from __future__ import annotations

import pytest

from tests import portability
from tests.portability import AVX512, SETTINGS, in_effect, reason_to_skip


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variables, _, _ in SETTINGS.values():
        for name in variables:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)  # Dask sets it in a process that has started a cluster


def test_a_variable_that_is_set_already_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MKL_CBWR", "AVX2")
    assert reason_to_skip({"MKL_CBWR": "COMPATIBLE"}, set(), set()) == "MKL_CBWR set already"


def test_instructions_that_the_processor_lacks_are_named() -> None:
    reason = reason_to_skip({"MKL_CBWR": "AVX512"}, AVX512, AVX512 - {"avx512vl"})
    assert reason == "the processor does not have avx512vl"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"Haswell"}, "OPENBLAS_CORETYPE=Zen is not followed: Haswell"),
        ({"Haswell", "Zen"}, "OPENBLAS_CORETYPE=Zen is not followed: Haswell, Zen"),
        (set(), "OPENBLAS_CORETYPE=Zen is not followed: no library says so"),
        ({"ZEN"}, None),
    ],
    ids=["another", "one of two", "none", "followed"],
)
def test_what_no_library_follows_is_not_run(
    monkeypatch: pytest.MonkeyPatch, said: set[str], reason: str | None
) -> None:
    monkeypatch.setattr(portability, "in_effect", lambda _: {"OPENBLAS_CORETYPE": said})
    assert reason_to_skip({"OPENBLAS_CORETYPE": "Zen", "PYTHONHASHSEED": "1"}, set(), set()) == reason


@pytest.mark.long
def test_libraries_say_what_they_follow() -> None:
    torch = pytest.importorskip("torch")
    said = in_effect({"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "1"})
    assert said["ATEN_CPU_CAPABILITY"] == {"DEFAULT"}
    assert said["OMP_NUM_THREADS"] == {"1"}
    assert said["MKL_CBWR"] == ({"COMPATIBLE"} if torch.backends.mkl.is_available() else set())
