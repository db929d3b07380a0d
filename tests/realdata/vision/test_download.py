"""Downloads, without a network: the error, and what is written when the hub answers."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realdata.vision import download
from realdata.vision.download import FILES, REVISION, Published, download_cifar10
from realdata.vision.images import ImageDataError
from realdata.vision.sources import open_images
from tests.realdata.vision.made import NAMES, cycle, drawn_pixels, write_parquet

huggingface_hub = pytest.importorskip("huggingface_hub")
IMAGES = drawn_pixels(0, 12)


class Hub:
    """Answers as the hub's library does, with files of our own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[str, str]] = []
        for split in ("train", "test"):
            write_parquet(folder / "plain_text", split, list(IMAGES), cycle(12))

    def published(self) -> tuple[Published, ...]:
        return tuple(
            Published(path, hashlib.sha256((self.folder / path).read_bytes()).hexdigest()) for path, _ in FILES
        )

    def download(self, repository: str, path: str, *, repo_type: str, revision: str) -> str:
        assert (repository, repo_type) == ("uoft-cs/cifar10", "dataset")
        self.asked.append((path, revision))
        return str(self.folder / path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", made.download)
    monkeypatch.setattr(download, "FILES", made.published())
    return made


def test_without_a_network_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "REPOSITORY", "loraml-theory/there-is-no-such-repository")
    assert huggingface_hub.hf_hub_download  # its import sets the level
    level = logging.getLogger("huggingface_hub").level
    with pytest.raises(ImageDataError) as raised:
        download_cifar10(tmp_path / "new")
    message = str(raised.value)
    assert message.startswith("loraml-theory/there-is-no-such-repository: cannot be downloaded (")
    assert message.endswith("expected a network, or --data with a folder that has CIFAR-10 already")
    assert "\n" not in message
    assert not (tmp_path / "new").exists()
    assert logging.getLogger("huggingface_hub").level == level


def test_files_of_one_revision_are_written_once_and_can_be_opened(tmp_path: Path, hub: Hub) -> None:
    assert download_cifar10(tmp_path / "new") == tmp_path / "new"
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["test-00000-of-00001.parquet", "train-00000-of-00001.parquet"]
    source = open_images(tmp_path / "new")
    assert source.class_names == NAMES
    np.testing.assert_array_equal(source.train.images(np.arange(12)), IMAGES)
    np.testing.assert_array_equal(source.test.labels, cycle(12))
    download_cifar10(tmp_path / "new")
    assert hub.asked == [(path, REVISION) for path, _ in FILES]


def test_a_file_with_another_hash_is_not_taken(tmp_path: Path, hub: Hub) -> None:
    """As of an answer that was cut off, or of a repository that someone else has changed."""
    cached = hub.folder / FILES[1].path
    cached.write_bytes(cached.read_bytes()[:-1])
    with pytest.raises(ImageDataError, match=f"{cached.name}: its SHA-256 is .*, expected .*; remove it and try again"):
        download_cifar10(tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["train-00000-of-00001.parquet"]


def test_an_interrupted_write_leaves_no_part_and_is_made_up_for(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Any, target: Any) -> None:
        target.write(b"PAR1")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", full)
        with pytest.raises(OSError, match="No space left"):
            download_cifar10(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
    download_cifar10(tmp_path / "new")
    np.testing.assert_array_equal(open_images(tmp_path / "new").test.images(np.arange(12)), IMAGES)
    assert len(hub.asked) == 3
