"""CIFAR-10's own batches: exact images from a folder and an archive, and one line for whatever is wrong."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loraml_theory.harness.errors import InputError
from realdata.vision import cifar_batches
from realdata.vision.cifar_batches import ARCHIVE, FOLDER, OFFICIAL_MD5, batches_place, open_cifar_batches
from realdata.vision.images import ImageDataError
from tests.realdata.vision.made import NAMES, batch_files, cycle, drawn_pixels, python2_pickle, write_files

IMAGES = drawn_pixels(0, 28, side=32)
FILES = batch_files(IMAGES, cycle(28).tolist(), test_from=22)


def write_archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_images_labels_and_names(tmp_path: Path, packed: bool) -> None:
    if packed:
        path = write_archive(tmp_path / "cifar.tgz", FILES | {"readme.html": b"hello"})
    else:
        write_files(path := tmp_path, FILES)
    source = open_cifar_batches(path, checksums={})
    assert source.class_names == NAMES
    assert source.shape == (32, 32, 3)
    np.testing.assert_array_equal(source.train.labels, cycle(28)[:22])
    np.testing.assert_array_equal(source.test.labels, cycle(28)[22:])
    np.testing.assert_array_equal(source.train.images([21, 0, 7]), IMAGES[[21, 0, 7]])
    np.testing.assert_array_equal(source.test.images(np.arange(6)), IMAGES[22:])
    assert list(tmp_path.iterdir()) == ([path] if packed else list(tmp_path.iterdir()))


def test_checksums_of_the_published_files_are_the_default(tmp_path: Path) -> None:
    write_files(tmp_path, FILES)
    with pytest.raises(ImageDataError) as raised:
        open_cifar_batches(tmp_path)
    found = hashlib.md5(FILES["batches.meta"]).hexdigest()
    assert str(raised.value) == (
        f"{tmp_path}/batches.meta: its MD5 is {found}, expected {OFFICIAL_MD5['batches.meta']}: "
        "damaged, or not the published file"
    )
    archive = write_archive(tmp_path / ARCHIVE, FILES)
    with pytest.raises(ImageDataError, match=f"{ARCHIVE}: its MD5 is .*, expected {OFFICIAL_MD5[ARCHIVE]}"):
        open_cifar_batches(archive)


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_checked(tmp_path: Path, name: str) -> None:
    write_files(tmp_path, FILES)
    checksums = {file: hashlib.md5(content).hexdigest() for file, content in FILES.items()}
    assert len(open_cifar_batches(tmp_path, checksums=checksums).train.labels) == 22
    with pytest.raises(ImageDataError, match=f"{name}: its MD5 is {checksums[name]}, expected 0"):
        open_cifar_batches(tmp_path, checksums=checksums | {name: "0"})


def batch(**changed: Any) -> bytes:
    full = {"data": np.zeros((4, 3072), dtype=np.uint8), "labels": [0, 1, 2, 3]} | changed
    return python2_pickle({key.encode(): value for key, value in full.items() if value is not ...})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"test_batch: cannot be unpickled \(pickle exhausted before seeing STOP\), expected a batch of CIFAR-10"),
        (FILES["test_batch"][:5000], r"test_batch: cannot be unpickled \(.*\), expected a batch of CIFAR-10"),
        (b"\x80\x02cos\nsystem\n.", "test_batch: cannot be unpickled .it names os.system, which is not allowed"),
        (python2_pickle([1]), "test_batch: holds one list, expected a dict of data and labels"),
        (batch(data=...), "test_batch: no array of 3072 bytes per row under data"),
        (batch(data=[1, 2]), "test_batch: no array of 3072 bytes per row under data"),
        (batch(data=np.zeros((4, 3071), dtype=np.uint8)), "test_batch: no array of 3072 bytes per row under data"),
        (batch(data=np.zeros(3072, dtype=np.uint8)), "test_batch: no array of 3072 bytes per row under data"),
        (batch(labels=...), "test_batch: no list of 4 labels under labels"),
        (batch(labels=[0, 1, 2]), "test_batch: no list of 4 labels under labels"),
        (batch(labels=[0, 1, 2, 2.5]), "test_batch: label 2.5 in row 3, expected an integer"),
        (batch(labels=[0, 1, 2, True]), "test_batch: label True in row 3, expected an integer"),
        (batch(labels=[0, 1, 2, -1]), "test_batch: label -1 in row 3, expected an integer"),
        (batch(labels=[0, 1, 2, 4]), "test_batch: label 4 of image 3, expected integers from 0 to 3"),
        (batch(labels=[0, 1, 2, 2]), "test_batch: no image has label 3"),
    ],
)
def test_wrong_batches(tmp_path: Path, content: bytes, message: str) -> None:
    write_files(tmp_path, FILES | {"test_batch": content})
    with pytest.raises(ImageDataError, match=message) as raised:
        open_cifar_batches(tmp_path, checksums={})
    assert str(raised.value).startswith(str(tmp_path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("meta", [{}, {b"label_names": []}, {b"label_names": [1, 2]}, {b"label_names": b"ant"}])
def test_wrong_names(tmp_path: Path, meta: dict[bytes, Any]) -> None:
    write_files(tmp_path, FILES | {"batches.meta": python2_pickle(meta)})
    with pytest.raises(ImageDataError, match=r"batches.meta: no list of names under label_names"):
        open_cifar_batches(tmp_path, checksums={})


def test_missing_and_oversized_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, FILES)
    (tmp_path / "data_batch_3").unlink()
    with pytest.raises(InputError, match=r"data_batch_3: cannot be read \(.*\), expected a batch"):
        open_cifar_batches(tmp_path, checksums={})
    archive = write_archive(tmp_path / "a.tgz", {name: FILES[name] for name in FILES if name != "data_batch_3"})
    with pytest.raises(ImageDataError, match=f"a.tgz: has no {FOLDER}/data_batch_3, expected {ARCHIVE}"):
        open_cifar_batches(archive, checksums={})
    monkeypatch.setattr(cifar_batches, "MAX_FILE_BYTES", 4)
    write_files(tmp_path, FILES)
    with pytest.raises(InputError, match=r"batches.meta: is of .*, expected a batch of CIFAR-10 of at most 4 bytes"):
        open_cifar_batches(tmp_path, checksums={})


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08", b"not an archive at all" * 99])
def test_damaged_archives(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / ARCHIVE
    path.write_bytes(content)
    with pytest.raises(ImageDataError, match=r"cannot be read \(.*\), expected cifar-10-python.tar.gz") as raised:
        open_cifar_batches(path, checksums={})
    assert "\n" not in str(raised.value)


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    """Where its MD5 is not asked for, zeros in a thousandth of their size are not gone through."""
    path = write_archive(tmp_path / ARCHIVE, {name: bytes(2**22) for name in FILES})
    with pytest.raises(InputError, match=f"{ARCHIVE}: unpacks to more than 8 MiB, expected {ARCHIVE} of at most that"):
        open_cifar_batches(path, checksums={})


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_truncated_archives(tmp_path: Path, keep: float) -> None:
    whole = write_archive(tmp_path / "whole.tgz", FILES).read_bytes()
    path = tmp_path / ARCHIVE
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(ImageDataError, match=ARCHIVE):
        open_cifar_batches(path, checksums={})


def test_places(tmp_path: Path) -> None:
    assert batches_place(tmp_path) is None
    archive = write_archive(tmp_path / ARCHIVE, FILES)
    assert batches_place(tmp_path) == archive
    write_files(tmp_path / FOLDER, FILES)
    assert batches_place(tmp_path) == tmp_path / FOLDER
    assert batches_place(tmp_path / FOLDER) == tmp_path / FOLDER
