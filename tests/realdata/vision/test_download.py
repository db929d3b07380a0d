"""Downloads, without a network: the error, and what is written when the library answers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from realdata.vision.download import FILES, DownloadError, download_cifar10
from realdata.vision.sources import open_images
from tests.realdata.vision.made import NAMES, cycle, drawn_pixels, encoded

datasets = pytest.importorskip("datasets")
IMAGES = drawn_pixels(0, 12)


def answer(*splits: str) -> Any:
    """Return what `datasets` would give."""
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))})
    rows = {"img": [{"bytes": encoded(image), "path": None} for image in IMAGES], "label": cycle(12).tolist()}
    return datasets.DatasetDict({split: datasets.Dataset.from_dict(rows, features=features) for split in splits})


def test_without_a_network_one_line(tmp_path: Path) -> None:
    level = logging.getLogger("huggingface_hub").level
    with pytest.raises(DownloadError) as raised:
        download_cifar10(tmp_path / "new", repository="loraml-theory/there-is-no-such-repository")
    message = str(raised.value)
    assert message.startswith("loraml-theory/there-is-no-such-repository: cannot be downloaded (")
    assert message.endswith("expected a network, or give --data a folder that has CIFAR-10 already")
    assert "\n" not in message
    assert not (tmp_path / "new").exists()
    assert logging.getLogger("huggingface_hub").level == level


def test_files_are_written_once_and_can_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def load(name: str) -> Any:
        asked.append(name)
        return answer("train", "test")

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert download_cifar10(tmp_path / "new") == tmp_path / "new"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(FILES.values())
    source = open_images(tmp_path / "new")
    assert source.class_names == NAMES
    np.testing.assert_array_equal(source.train.images(np.arange(12)), IMAGES)
    np.testing.assert_array_equal(source.test.labels, cycle(12))
    download_cifar10(tmp_path / "new")
    assert asked == ["uoft-cs/cifar10"]


def test_an_interrupted_write_leaves_no_part_and_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def to_parquet(self, file: Any) -> None:
            file.write(b"PAR1")
            raise OSError(28, "No space left on device")

    whole = answer("train", "test")
    monkeypatch.setattr(datasets, "load_dataset", lambda _: {"train": whole["train"], "test": Full()})
    with pytest.raises(OSError, match="No space left"):
        download_cifar10(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILES["train"]]
    monkeypatch.setattr(datasets, "load_dataset", lambda _: whole)
    download_cifar10(tmp_path)
    np.testing.assert_array_equal(open_images(tmp_path).test.images(np.arange(12)), IMAGES)


def test_a_repository_without_the_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda _: answer("train"))
    with pytest.raises(DownloadError, match="uoft-cs/cifar10: has no split test, expected train and test"):
        download_cifar10(tmp_path)
