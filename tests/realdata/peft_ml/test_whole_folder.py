"""A folder is the old one or the whole new one, whenever its program ends."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from realdata.peft_ml.whole_folder import present, replacing_folder
from tests.realdata.peft_ml.bundles import contents


def test_a_failing_rename_puts_the_older_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "old").write_text("old")
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.name == ".bundle.new":
            raise OSError(errno.EIO, "no")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="no"), replacing_folder(folder) as new:
        (new / "new").write_text("new")
    assert contents(folder) == {"old": b"old"}
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("point", ["written", "renamed away", "done"])
def test_a_killed_program_leaves_the_older_or_the_newer_folder(tmp_path: Path, point: str) -> None:
    folder = tmp_path / "folder"
    code = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from realdata.peft_ml import whole_folder
        point, folder = sys.argv[1:]
        kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
        rename, calls = Path.rename, []
        def counted(path, target):
            calls.append(path)
            if point == "renamed away" and path.name.endswith(".new"):
                kill()
            result = rename(path, target)
            if point == "done" and path.name.endswith(".new"):
                kill()
            return result
        for text in ("old", "new"):
            with whole_folder.replacing_folder(folder) as new:
                (new / "text").write_text(text)
                if text == "new":
                    Path.rename = counted
                    if point == "written":
                        kill()
        """
    )
    killed = subprocess.run([sys.executable, "-c", code, point, str(folder)], check=False)
    assert killed.returncode == -signal.SIGKILL
    expected = "new" if point == "done" else "old"
    assert (present(folder) / "text").read_text() == expected
    with replacing_folder(folder) as new:  # the next one tidies up
        assert (present(folder) / "text").read_text() == expected
        (new / "text").write_text("newest")
    assert (folder / "text").read_text() == "newest"
    assert list(tmp_path.iterdir()) == [folder]
