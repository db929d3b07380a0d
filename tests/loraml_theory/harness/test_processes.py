"""Jobs are worked off here or in processes; what goes wrong with one loses no other."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from loraml_theory.harness.processes import Crew, Lost, Tick, Ticked, cores, work_off


@dataclass
class Deeds:
    """A bench whose jobs are words: what to do, and the name of a file to leave."""

    folder: Path

    def do(self, job: str, tick: Tick) -> None:
        deed, _, name = job.partition(" ")
        tick(1)
        match deed:
            case "fail":
                raise ValueError("what is wrong\nand more")
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "full":
                raise OSError(errno.ENOSPC, "No space left on device", "some/file")
            case "wait":
                time.sleep(60)
        (self.folder / name).write_text(str(os.getpid()))
        tick(2)


class Listed:
    """A source of given jobs, each `after` the first one has ended."""

    def __init__(self, jobs: list[str], after: tuple[str, ...] = ()) -> None:
        self.ready = jobs
        self.after = list(after)
        self.ticks: list[tuple[str, float]] = []
        self.ends: dict[str, Lost | None] = {}

    def next(self) -> str | None:
        return self.ready.pop(0) if self.ready else None

    def ticked(self, job: str, epochs: float, detail: str) -> None:  # noqa: ARG002
        self.ticks.append((job, epochs))

    def ended(self, job: str, lost: Lost | None) -> None:
        self.ends[job] = lost
        self.ready += self.after
        self.after = []


def test_processes_may_share_their_imports(tmp_path: Path) -> None:
    source = Listed(["do a", "die b", "do c"])
    work_off(source, Deeds(tmp_path), workers=2, imports=("decimal",))
    assert source.ends["do a"] is source.ends["do c"] is None
    assert "signal SIGKILL" in str(source.ends["die b"])
    assert str(os.getpid()) not in {(tmp_path / name).read_text() for name in "ac"}


@pytest.mark.parametrize("workers", [1, 2])
def test_all_jobs_are_done_those_that_come_late_too(tmp_path: Path, workers: int) -> None:
    source = Listed(["do a"], after=("do b", "do c", "do d"))
    work_off(source, Deeds(tmp_path), workers=workers)
    assert source.ends == dict.fromkeys(["do a", "do b", "do c", "do d"])
    assert sorted(source.ticks) == sorted((f"do {name}", tick) for name in "abcd" for tick in (1, 2))
    pids = {(tmp_path / name).read_text() for name in "abcd"}
    assert len(pids) <= workers
    assert (str(os.getpid()) in pids) == (workers == 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_that_fails_is_named_and_the_others_are_done(tmp_path: Path, workers: int) -> None:
    source = Listed(["fail x", "do a", "do b"])
    work_off(source, Deeds(tmp_path), workers=workers)
    lost = source.ends.pop("fail x")
    assert lost is not None
    assert lost.what == "what is wrong"
    assert "ValueError: what is wrong\nand more" in lost.details
    assert not lost.fatal
    assert source.ends == {"do a": None, "do b": None}


def test_a_process_that_is_killed_loses_its_job_alone(tmp_path: Path) -> None:
    source = Listed(["die x", "do a", "die y", "do b", "do c"])
    work_off(source, Deeds(tmp_path), workers=2)
    for job in ("die x", "die y"):
        lost = source.ends.pop(job)
        assert lost == Lost("its process ended with signal SIGKILL, perhaps because memory ran out")
    assert source.ends == {"do a": None, "do b": None, "do c": None}


def test_jobs_that_waited_for_a_process_that_died_are_done_by_another(tmp_path: Path) -> None:
    jobs = ["die x", "do a", "do b"]
    with Crew(lambda: jobs.pop(0) if jobs else None, Deeds(tmp_path), size=1, ahead=3) as crew:
        found = {job: message for job, message in crew if not isinstance(message, Ticked)}
    assert isinstance(found.pop("die x"), Lost)
    assert found == {"do a": None, "do b": None}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_ends_everything(tmp_path: Path, workers: int) -> None:
    source = Listed(["full x", "wait y" if workers == 2 else "do y", "do a"])
    began = time.monotonic()
    work_off(source, Deeds(tmp_path), workers=workers)
    assert time.monotonic() - began < 60  # what the other job waits
    assert source.ends == {"full x": Lost("some/file: No space left on device", fatal=True)}
    assert list(tmp_path.iterdir()) == []


def started(folder: Path, code: str) -> subprocess.Popen[str]:
    """Start a script with Deeds and Listed in a session of its own; what is in the folder can be imported."""
    script = folder / "script.py"
    script.write_text(
        "import sys; from pathlib import Path; from loraml_theory.harness.processes import work_off\n"
        f"from tests.loraml_theory.harness.test_processes import Deeds, Listed\n{code}"
    )
    return subprocess.Popen(
        [sys.executable, script, folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(folder)])},
        start_new_session=True,
    )


def test_processes_end_with_their_parent(tmp_path: Path) -> None:
    code = (
        "class Loud(Listed):\n"
        "    def ticked(self, job, epochs, detail): print(job, flush=True)\n"
        "if __name__ == '__main__': work_off(Loud(['wait a', 'wait b']), Deeds(Path(sys.argv[1])), workers=2)"
    )
    with started(tmp_path, code) as parent:
        assert parent.stdout is not None
        assert parent.stderr is not None
        assert {parent.stdout.readline() for _ in range(2)} == {"wait a\n", "wait b\n"}
        parent.kill()
        assert parent.stdout.read() == ""  # ends when the children, which hold the pipe too, are gone
        assert parent.stderr.read() == ""


def test_ctrl_c_leaves_nothing_behind_while_processes_import(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)")
    code = (
        "if __name__ == '__main__':\n"
        "    try: work_off(Listed(['do a', 'do b']), Deeds(Path(sys.argv[1])), workers=2, imports=['slow'])\n"
        "    except KeyboardInterrupt: sys.exit(130)"
    )
    with started(tmp_path, code) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "importing\n"
        os.killpg(parent.pid, signal.SIGINT)  # as a terminal does, to all processes
        assert parent.communicate(timeout=30) == ("", "")  # ends when all that hold the pipes are gone
        assert parent.returncode == 130


def test_there_is_a_core() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
