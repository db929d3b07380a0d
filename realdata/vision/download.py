"""Download CIFAR-10 once, as Parquet files that later runs read without a network."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from loraml_theory.atomic import replacing
from realdata.vision.images import ImageDataError, reason

REPOSITORY = "uoft-cs/cifar10"
"""On the Hugging Face hub."""
FILES = {split: f"{split}-00000-of-00001.parquet" for split in ("train", "test")}


class DownloadError(ImageDataError):
    """A download that did not succeed, in one line."""


def download_cifar10(folder: str | os.PathLike[str], *, repository: str = REPOSITORY) -> Path:
    """Make sure that a folder has CIFAR-10 as Parquet files, and return it.

    Nothing is downloaded if it has them. Otherwise `datasets` downloads them into its own cache first, and each file
    is written here whole or not at all.

    Raises
    ------
    DownloadError
        If there is no network, the repository cannot be read, or `datasets` is not installed.
    OSError
        If the folder cannot be written, or the disk is full.
    """
    target = Path(folder)
    missing = {split: target / name for split, name in FILES.items() if not (target / name).is_file()}
    if missing:
        splits = _loaded(repository, tuple(missing))
        target.mkdir(parents=True, exist_ok=True)
        for split, path in missing.items():
            with replacing(path) as file:
                splits[split].to_parquet(file)
    return target


def _loaded(repository: str, needed: tuple[str, ...]) -> Any:
    """Return the splits of a repository, as `datasets` has them."""
    try:
        import datasets
    except ImportError:
        raise DownloadError("downloads need datasets: pip install 'loraml-theory[realdata]'") from None
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it reports each of its retries; the one line below says what matters
    try:
        found = datasets.load_dataset(repository)
    except Exception as problem:  # of several libraries, which share no class: no network, no such repository, no disk
        raise DownloadError(
            f"{repository}: cannot be downloaded ({reason(problem)}); expected a network, "
            "or give --data a folder that has CIFAR-10 already"
        ) from problem
    finally:
        logger.setLevel(level)
    lacking = sorted(set(needed) - set(found))
    if lacking:
        raise DownloadError(f"{repository}: has no split {lacking[0]}, expected train and test")
    return found
