"""A folder is one process's at a time, however that ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from loraml_theory.harness.errors import InputError
from loraml_theory.harness.folders import FolderError, check_format, check_same, locked, remove_leftovers


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


def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FolderError, match="is a link that leads nowhere, expected"), locked(tmp_path / "link"):
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


def test_a_link_in_place_of_the_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("kept")
    (tmp_path / ".lock").symlink_to(tmp_path / "target")
    with pytest.raises(InputError, match="is a link, expected a lock file or nothing"), locked(tmp_path):
        pass
    assert (tmp_path / "target").read_text() == "kept"


def test_another_format_is_refused(tmp_path: Path) -> None:
    check_format(tmp_path, 1, written=1)
    with pytest.raises(FolderError, match="format '2', this version writes 1"):
        check_format(tmp_path, "2", written=1)


def test_other_settings_are_named_and_counted(tmp_path: Path) -> None:
    begun = dict.fromkeys("abcde", 0)
    check_same(tmp_path, begun, dict(begun))
    with pytest.raises(FolderError, match=r"\(a: was 0, is now 1\); use another folder"):
        check_same(tmp_path, begun, {**begun, "a": 1})
    with pytest.raises(FolderError, match=r"c: was 0, is now 1 and 2 more\)"):
        check_same(tmp_path, begun, dict.fromkeys(begun, 1))
