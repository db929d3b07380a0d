"""The Parquet files of a folder by split, found from their names alone.

::

    train-00000-of-00002.parquet          the hub's, perhaps with a hash: train-00000-of-00002-0a1b2c3d4e5f6071.parquet
    train/0000.parquet                    the hub's automatic conversion
    train.parquet, train-a.parquet, …     other tools', in the order of their names

directly in the folder, or in one folder directly in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from realdata.vision.images import ImageDataError

Files: TypeAlias = Mapping[str, Sequence[Path]]

SPLITS = ("train", "test")
EXPECTED = "train-*.parquet and test-*.parquet, or folders train and test of Parquet files"
SHARD = re.compile(r"-([0-9]{5})-of-([0-9]{5})(-[0-9a-zA-Z]+)?$")
NUMBER = re.compile(r"[0-9]+")


def parquet_files(folder: Path) -> Files | None:
    """Return the files of each split, shards in order; None if the folder has no Parquet files.

    Raises
    ------
    ImageDataError
        If it has some, but not two splits, or has them twice, or a numbered shard is missing or occurs twice.
    """
    places = [folder, *sorted(entry for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")]
    found = [(place, files) for place in places for files in (_named(place), _in_folders(place)) if any(files.values())]
    whole = [files for _, files in found if all(files.values())]
    if len(whole) > 1:
        where = ", ".join(str(files[SPLITS[0]][0]) for files in whole)
        raise ImageDataError(f"{folder}: holds several data sets ({where}), expected one")
    if whole:
        return {split: _checked(split, files) for split, files in whole[0].items()}
    if found:
        place, files = found[0]
        raise ImageDataError(f"{place}: no {next(s for s in SPLITS if not files[s])}-*.parquet, expected {EXPECTED}")
    other = next(chain.from_iterable(folder.glob(f"{'*/' * depth}[!.]*.parquet") for depth in range(3)), None)
    if other is not None:
        raise ImageDataError(f"{folder}: has Parquet files, but none of a split ({other}), expected {EXPECTED}")
    return None


def folder_of(file: Path) -> Path:
    """Return the folder of a Parquet file's data set."""
    return file.parent.parent if file.parent.name in SPLITS else file.parent


def _named(place: Path) -> Files:
    """Return the files whose names begin with a split's."""
    return {split: sorted(path for path in place.glob("*.parquet") if _begins(path.stem, split)) for split in SPLITS}


def _in_folders(place: Path) -> Files:
    """Return the files of folders named after the splits."""
    return {split: sorted((place / split).glob("[!.]*.parquet")) for split in SPLITS}


def _begins(stem: str, split: str) -> bool:
    return stem.startswith(split) and not stem[len(split) :][:1].isalpha()


def _checked(split: str, files: Sequence[Path]) -> Sequence[Path]:
    """Raise unless every numbered shard exists once."""
    shards = [SHARD.search(path.stem) for path in files]
    numbered = [NUMBER.fullmatch(path.stem) for path in files]
    if not any(shards) and not any(numbered):
        return files
    odd = next((path for path, *found in zip(files, shards, numbered, strict=True) if not any(found)), None)
    if odd is not None or (any(shards) and any(numbered)):
        raise ImageDataError(f"{odd or files[0]}: is next to numbered files of {split}, expected only those")
    numbers = [int(shard[1] if shard else path.stem) for shard, path in zip(shards, files, strict=True)]
    counts = sorted({int(shard[2]) for shard in shards if shard}) or [max(numbers) + 1]
    place = f"{files[0].parent}: files of {split}"
    if len(counts) > 1:
        raise ImageDataError(f"{place}: are numbered as one of {counts[0]} and as one of {counts[-1]}, expected one")
    by_number = dict(zip(numbers, files, strict=True))
    if len(by_number) < len(files):
        twice = next(path for number, path in zip(numbers, files, strict=True) if by_number[number] != path)
        raise ImageDataError(f"{place}: {twice.name} and another file have one number, expected each number once")
    missing = next((number for number in range(counts[0]) if number not in by_number), None)
    if missing is not None or max(numbers) >= counts[0]:
        raise ImageDataError(f"{place}: {len(files)} of {counts[0]}, number {missing} is missing ({files[0].name})")
    return [by_number[number] for number in sorted(by_number)]
