"""A folder is one process's at a time, however that ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from loraml_theory.harness.folders import FolderError, locked, remove_leftovers


def test_a_second_process_is_kept_out_until_the_first_ends(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from loraml_theory.harness.folders import locked\n"
        "with locked(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "in\n"
        with pytest.raises(FolderError, match="another process is working here"), locked(tmp_path):
            pass
        holder.kill()  # the lock goes with the process, however that ends
        holder.wait()
    with locked(tmp_path):
        pass


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="is a file, expected a folder"), locked(tmp_path / "file"):
        pass


def test_a_file_in_place_of_a_folder_inside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with (
        pytest.raises(FolderError, match="runs: is not a folder, expected"),
        locked(tmp_path, inside=["runs"]),
    ):
        pass


def test_what_a_kill_left_of_files_is_removed_and_nothing_else(tmp_path: Path) -> None:
    left = tmp_path / "runs" / ".0123456789abcdef.tmp"
    kept = tmp_path / "runs" / ".mine.tmp"
    left.parent.mkdir()
    left.write_text("")
    kept.write_text("")
    remove_leftovers(tmp_path)
    assert not left.exists()
    assert kept.exists()
