from __future__ import annotations

import contextlib
import io
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory.harness.errors import one_line
from loraml_theory.harness.input_files import InputFileError
from loraml_theory.harness.structure_file import read_structure, write_structure
from loraml_theory.structure import GroundTruth

A, U = np.eye(4), np.ones((3, 4, 1))


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def zipped(path: Path, A_star: bytes, U_star: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("A_star.npy", A_star)
        archive.writestr("U_star.npy", U_star)
    return path


def npy(array: Any) -> bytes:
    page = io.BytesIO()
    np.save(page, array)
    return page.getvalue()


def header(text: str) -> bytes:
    padded = text.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded


def complaint(path: Path | str) -> str:
    with pytest.raises(InputFileError) as caught:
        read_structure(path)
    text = str(caught.value)
    assert text.startswith(one_line(os.fspath(path)))
    assert "\n" not in text
    return text


@given(seed=st.integers(0, 1000), d=st.integers(1, 6), T=st.integers(2, 5), data=st.data())
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, seed: int, d: int, T: int, data: st.DataObject
) -> None:
    rng, k = np.random.default_rng(seed), data.draw(st.integers(1, d))
    truth = GroundTruth(rng.standard_normal((d, d)), rng.standard_normal((T + 1, d, k)))
    path = tmp_path_factory.mktemp("written") / "truth.npz"
    write_structure(path, truth)
    read, notes = read_structure(path)
    np.testing.assert_array_equal(read.A_star, truth.A_star)
    np.testing.assert_array_equal(read.U_star, truth.U_star)
    assert notes == []


@pytest.mark.parametrize("dtype", ["int64", "uint8", "float32", "float16", "longdouble", ">f4"])
def test_other_real_numbers_are_converted_and_it_is_said(tmp_path: Path, dtype: str) -> None:
    truth, notes = read_structure(saved(tmp_path / "x.npz", A_star=A.astype(dtype), U_star=U))
    assert truth.A_star.dtype == np.float64
    np.testing.assert_array_equal(truth.A_star, A)
    assert notes == [f"A_star: converted from {np.dtype(dtype).name} to float64"]


def test_column_order_and_compression_do_not_matter(tmp_path: Path) -> None:
    B = np.arange(16.0).reshape(4, 4)
    np.savez_compressed(tmp_path / "x.npz", A_star=np.asfortranarray(B), U_star=U, more=np.array(["text"]))
    truth, notes = read_structure(tmp_path / "x.npz")
    np.testing.assert_array_equal(truth.A_star, B)
    assert notes == []


BAD_ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "missing key": ({"A_star": A}, "U_star: missing (found A_star), expected an npz file with A_star and U_star"),
    "nothing in it": ({}, "A_star: missing (found nothing)"),
    "other names": ({"a\nb": A}, r"A_star: missing (found a\nb)"),
    "flat base": ({"A_star": A[0], "U_star": U}, "A_star: got shape (4,), expected (d, d)"),
    "rectangular base": ({"A_star": A[:3], "U_star": U}, "A_star: got shape (3, 4), expected (d, d)"),
    "empty base": ({"A_star": A[:0, :0], "U_star": U[:, :0]}, "A_star: got shape (0, 0)"),
    "batch": ({"A_star": A[None], "U_star": U[None]}, "A_star: got shape (1, 4, 4), expected (d, d)"),
    "flat factors": ({"A_star": A, "U_star": U[0]}, "U_star: got shape (4, 1), expected (T+1, d, k)"),
    "other d": ({"A_star": A, "U_star": U[:, :3]}, "U_star: got shape (3, 3, 1), expected (..., T+1, d, k)"),
    "two tasks": ({"A_star": A, "U_star": U[:2]}, "U_star: got 2 tasks, expected T+1 >= 3"),
    "no rank": ({"A_star": A, "U_star": U[..., :0]}, "U_star: got k = 0, expected 1 <= k <= d = 4"),
    "rank above d": ({"A_star": A, "U_star": np.ones((3, 4, 5))}, "got k = 5, expected 1 <= k <= d = 4"),
    "complex": ({"A_star": A * 1j, "U_star": U}, "A_star: got dtype complex128, expected real numbers"),
    "text": ({"A_star": A.astype(str), "U_star": U}, "A_star: got dtype str"),
    "bool": ({"A_star": A > 0, "U_star": U}, "A_star: got dtype bool"),
    "dates": ({"A_star": A.astype("M8[s]"), "U_star": U}, "A_star: got dtype datetime64"),
    "records": ({"A_star": np.zeros((4, 4), "f8,f8"), "U_star": U}, "A_star: got dtype"),
    "objects": ({"A_star": A.astype(object), "U_star": U}, "A_star: holds pickled objects (never loaded)"),
    "NaN": ({"A_star": A, "U_star": U * np.nan}, "U_star: holds NaN or infinity"),
    "infinity": ({"A_star": np.full((4, 4), np.inf), "U_star": U}, "A_star: holds NaN"),
    "too large": (
        {"A_star": A, "U_star": np.full(U.shape, np.longdouble("1e4000"))},
        "too large for float64",
    ),
}


@pytest.mark.parametrize(("arrays", "expected"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_bad_arrays_are_named(tmp_path: Path, arrays: dict[str, Any], expected: str) -> None:
    assert expected in complaint(saved(tmp_path / "x.npz", **arrays))


BAD_BYTES = {
    "empty": (b"", "is empty"),
    "text": (b"A_star = 3\n", "is not an npz file"),
    "npy": (npy(A), "holds a single array (npy)"),
    "start of a zip": (b"PK\x03\x04 and no more", "is damaged or truncated"),
}


@pytest.mark.parametrize(("content", "expected"), BAD_BYTES.values(), ids=BAD_BYTES)
def test_other_files_are_named(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    assert expected in complaint(path)


BAD_MEMBERS = {
    "no array": b"text",
    "cut header": npy(A)[:40],
    "cut data": npy(A)[:-3],
    "data too long": npy(A) + b"more",
    "header of no dictionary": header("[]"),
    "header that does not end": header("{'descr': '<f8', ("),
    "nested header": header("(" * 100),
    "unknown version": b"\x93NUMPY\x07\x00" + npy(A)[8:],
    "terabytes declared": header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000)}"),
    "gigabyte declared": header("{'descr': '<f8', 'fortran_order': False, 'shape': (10000, 10000)}"),
    "negative shape": header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1)}"),
    "python 2 header": header("{'descr': '<f8', 'fortran_order': False, 'shape': (4L, 4L)}"),
}


@pytest.mark.parametrize("member", BAD_MEMBERS.values(), ids=BAD_MEMBERS)
def test_damaged_members_are_named(tmp_path: Path, member: bytes) -> None:
    assert "A_star: " in complaint(zipped(tmp_path / "x.npz", member, npy(U)))


def test_zeros_packed_a_thousandfold_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    """The file is what it declares to be: 70 MB of it in 70 kB."""
    np.savez_compressed(tmp_path / "x.npz", A_star=np.zeros((3000, 3000)), U_star=np.ones((3, 3000, 1)))
    assert "A_star: declares 68.7 MiB, more than the 64 MiB that a file of this size may" in complaint(
        tmp_path / "x.npz"
    )


@pytest.mark.parametrize("d", [4, 100])  # read with the header, and after it
def test_a_wrong_check_sum_is_damage(tmp_path: Path, d: int) -> None:
    path = zipped(tmp_path / "x.npz", npy(np.eye(d)), npy(np.ones((3, d, 1))))
    content = bytearray(path.read_bytes())
    content[content.index(b"U_star") - 100] ^= 1
    path.write_bytes(content)
    assert "A_star: damaged" in complaint(path)


def test_encrypted_members_are_damage(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.npz", npy(A), npy(U))
    content = bytearray(path.read_bytes())
    for start in (b"PK\x03\x04", b"PK\x01\x02"):
        content[content.index(start) + (6 if start[2] == 3 else 8)] |= 1
    path.write_bytes(content)
    assert "A_star: damaged" in complaint(path)


@given(position=st.integers(0), bit=st.integers(0, 7), cut=st.booleans())
def test_damage_is_an_error_or_does_no_harm(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int, cut: bool
) -> None:
    path = saved(tmp_path_factory.mktemp("damaged") / "x.npz", A_star=A, U_star=U)
    content = bytearray(path.read_bytes())
    position %= len(content)
    if cut:
        del content[position:]
    else:
        content[position] ^= 1 << bit
    path.write_bytes(content)
    with contextlib.suppress(InputFileError):
        truth, _ = read_structure(path)
        np.testing.assert_array_equal(truth.A_star, A)
        np.testing.assert_array_equal(truth.U_star, U)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    assert "cannot be read (No such file or directory)" in complaint(tmp_path / "two\nlines.npz")
    assert "is a folder" in complaint(tmp_path)
    assert "is not a file name" in complaint("null\0byte")
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in complaint(tmp_path / "pipe")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.npz", A_star=A, U_star=U)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="without batch axes"):
        write_structure(path, GroundTruth(A[None], U[None]))
    assert path.read_bytes() == before
