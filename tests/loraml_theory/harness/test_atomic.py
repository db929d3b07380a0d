from __future__ import annotations

import os
from pathlib import Path

import pytest

from loraml_theory.harness.atomic import replacing


def test_a_new_file_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "new"
    with replacing(target) as file:
        file.write(b"all")
        assert not target.exists()
    assert target.read_bytes() == b"all"
    assert os.listdir(tmp_path) == ["new"]


@pytest.mark.parametrize("problem", [KeyboardInterrupt, SystemExit, OSError, ValueError])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, problem: type[BaseException]
) -> None:
    target = tmp_path / "old"
    target.write_bytes(b"old")

    def interrupted() -> None:
        with replacing(target) as file:
            file.write(b"half")
            raise problem

    with pytest.raises(problem):
        interrupted()
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["old"]


def test_a_link_is_followed_and_kept(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    with replacing(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError), replacing(tmp_path):
        pytest.fail("the block must not run")
