"""Download CIFAR-10 once: two Parquet files of one revision, with known hashes, that later runs read offline."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from loraml_theory.harness.atomic import replacing
from loraml_theory.harness.errors import reason
from loraml_theory.harness.input_files import open_input
from realdata.vision.images import ImageDataError

REPOSITORY = "uoft-cs/cifar10"
"""A data set on the Hugging Face hub."""
REVISION = "0b2714987fa478483af9968de7c934580d0bb9a2"


class Published(NamedTuple):
    """A file of the repository and its SHA-256, its name in the hub's Git LFS."""

    path: str
    sha256: str


FILES = (
    Published(
        "plain_text/train-00000-of-00001.parquet", "8428b53a88a11ac374111006708df51469e315a22ac6d66470afd9c78d2ae883"
    ),
    Published(
        "plain_text/test-00000-of-00001.parquet", "841389e6f2d64f28bf17310e430aebac20ec3ba611a3c5e231dc93c645ce84de"
    ),
)


def download_cifar10(folder: str | os.PathLike[str]) -> Path:
    """Ensure that a folder has CIFAR-10 as Parquet files, and return it.

    Nothing is downloaded if it has them. Otherwise `huggingface_hub` downloads them into its cache, and each file that
    is the published one is copied here atomically.

    Raises
    ------
    ImageDataError
        If there is no network, the repository cannot be read, or a file has another hash.
    OSError
        If the folder cannot be written, or the disk is full.
    """
    target = Path(folder)
    for file in FILES:
        path = target / Path(file.path).name
        if not path.is_file():
            cached = _cached(file)
            target.mkdir(parents=True, exist_ok=True)
            with open_input(cached, expected="the file just downloaded") as source, replacing(path) as copy:
                shutil.copyfileobj(source, copy)
    return target


def _cached(file: Published) -> Path:
    """Return the path in the hub's cache of a file with the right hash."""
    from huggingface_hub import hf_hub_download

    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it reports each of its retries; the one line below suffices
    try:
        cached = Path(hf_hub_download(REPOSITORY, file.path, repo_type="dataset", revision=REVISION))
    except Exception as problem:  # from several libraries without a common class: no network, no such file, no disk
        raise ImageDataError(
            f"{REPOSITORY}: cannot be downloaded ({reason(problem)}); expected a network, "
            "or --data with a folder that has CIFAR-10 already"
        ) from problem
    finally:
        logger.setLevel(level)
    with open_input(cached, expected="the file just downloaded") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != file.sha256:
        raise ImageDataError(f"{cached}: its SHA-256 is {found}, expected {file.sha256}; remove it and try again")
    return cached
