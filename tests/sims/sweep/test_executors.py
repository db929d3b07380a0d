from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sims.sweep import executors
from sims.sweep import running as sweep
from sims.sweep.executors import Dask, ExecutorError, InProcess, Processes
from sims.sweep.spec import parse
from tests.sims.sweep.sweeps import BRIEF, kill, process, results

SPEC = parse(BRIEF)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a sweep that was computed in one process."""
    folder = tmp_path_factory.mktemp("whole")
    sweep.run(SPEC, folder, engine="cpu")
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[Dask]:
    with executors.dask(workers=2) as executor:
        assert isinstance(executor, Dask)
        yield executor


def square(number: int) -> int:
    return number * number


def dies_once(marked: str) -> int:
    """Kill the process that first comes here."""
    path = Path(marked)
    if path.suffix == ".die" and not path.exists():
        path.touch()
        kill(os.getpid())
    return len(marked)


def dies(_item: int) -> None:
    kill(os.getpid())


def refuses(item: int) -> int:
    raise OSError(28, f"No space left for {item}")


def lacks(_item: int) -> int:
    raise ModuleNotFoundError("No module named 'numba'")


def test_one_process_is_the_default() -> None:
    with executors.local() as one, executors.local(2) as two:
        assert isinstance(one, InProcess)
        assert isinstance(two, Processes)
        assert list(one.run(square, [1, 2, 3])) == [1, 4, 9]
        assert one.call(square, 4) == two.call(square, 4) == 16
        assert list(two.run(square, [])) == []


@pytest.mark.long
def test_a_killed_process_is_replaced_and_its_work_done_again(tmp_path: Path) -> None:
    items = [f"{tmp_path}/{i}.{'die' if i in (2, 9) else 'live'}" for i in range(12)]
    found = list(Processes(2).run(dies_once, items))
    assert sorted(found) == sorted(map(len, items))
    assert len(list(tmp_path.glob("*.die"))) == 2


@pytest.mark.long
def test_processes_that_always_die_are_an_error() -> None:
    with pytest.raises(ExecutorError, match="worker processes died 3 times in a row"):
        list(Processes(1).run(dies, [1]))


def test_errors_of_the_work_come_out() -> None:
    with pytest.raises(OSError, match="No space left for 1"):
        list(Processes(1).run(refuses, [1]))


@pytest.mark.long
def test_several_processes_give_the_same_rows(tmp_path: Path, whole: Path) -> None:
    sweep.run(SPEC, tmp_path, engine="cpu", executor=Processes(2))
    assert results(tmp_path) == results(whole)


@pytest.mark.long
def test_dask_gives_the_same_rows_though_a_worker_is_killed(tmp_path: Path, whole: Path, cluster: Dask) -> None:
    """A real cluster of two processes; one is killed after a few chunks, with others of its own in hand."""
    workers = sorted(cluster.client.run(os.getpid).values())
    seen: list[int] = []

    def after(now: sweep.SweepProgress) -> None:
        seen.append(now.chunks)
        if now.chunks == 5:
            kill(workers[0])

    sweep.run(SPEC, tmp_path, engine="cpu", executor=cluster, progress=after)
    assert seen == list(range(49))
    assert results(tmp_path) == results(whole)
    assert sorted(cluster.client.run(os.getpid).values()) != workers


@pytest.mark.long
def test_dask_recomputes_what_a_killed_worker_had_finished_in_part(tmp_path: Path, cluster: Dask) -> None:
    items = [f"{tmp_path}/{i}.{'die' if i in (0, 7) else 'live'}" for i in range(12)]
    assert sorted(cluster.run(dies_once, items)) == sorted(map(len, items))


def listening() -> set[tuple[str, int]]:
    """Return address and port, as the system writes them, of every socket that this process and others listen on."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return {(address, int(port, 16)) for address, port in (line[1].split(":") for line in lines if line[3] == "0A")}


@pytest.mark.skipif(not Path("/proc/net/tcp6").exists(), reason="asks Linux, with IPv6, who listens where")
@pytest.mark.long
def test_a_cluster_of_this_machine_is_not_reached_from_others() -> None:
    before = listening()
    with executors.dask(workers=1) as cluster:
        assert cluster.call(square, 3) == 9
        begun = listening() - before
    assert len(begun) >= 2
    assert {address for address, _ in begun} <= {"0100007F", "0" * 24 + "01000000"}


def test_dask_puts_errors_in_one_line(cluster: Dask) -> None:
    with pytest.raises(OSError, match="No space left for 1"):
        list(cluster.run(refuses, [1]))
    with pytest.raises(ExecutorError, match="a worker cannot import its work"):
        cluster.call(lacks, 1)
    assert cluster.call(square, 3) == 9


@pytest.mark.long
def test_a_scheduler_is_found_by_its_address(tmp_path: Path, whole: Path, cluster: Dask) -> None:
    address = str(cluster.client.scheduler_info()["address"])
    spec, out = tmp_path / "spec.toml", tmp_path / "out"
    spec.write_text(BRIEF)
    running = process(spec, "--out", out, "--executor", "dask", "--scheduler", address)
    printed, said = running.communicate()
    assert (running.returncode, said) == (0, "")
    assert f"{out}/rows.parquet: 192 rows (" in printed
    assert results(out) == results(whole)


@pytest.mark.parametrize("address", ["nowhere", "tcp://host:port", "two words:1", "odd://host:1"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(ExecutorError, match="expected an address such as tcp://host:8786"), executors.dask(address):
        pass


def test_a_scheduler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "PATIENCE", 1)
    expected = r"scheduler tcp://127\.0\.0\.1:9: does not answer"
    with pytest.raises(ExecutorError, match=expected), executors.dask("tcp://127.0.0.1:9"):
        pass


def test_dask_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ExecutorError, match=r"pip install '\.\[dask\]'"), executors.dask():
        pass


@pytest.mark.parametrize("words", [["--workers", "2"], ["--executor", "dask", "--workers", "2"]])
@pytest.mark.long
def test_workers_end_with_a_sweep_that_is_killed(tmp_path: Path, whole: Path, words: list[str]) -> None:
    spec, out = tmp_path / "spec.toml", tmp_path / "out"
    spec.write_text(BRIEF)
    running = process(spec, "--out", out, *words)
    while running.poll() is None and not list(out.glob("chunks/*.parquet")):
        time.sleep(0.005)
    children = psutil.Process(running.pid).children(recursive=True)
    kill(running.pid)
    running.communicate()
    assert len(children) >= 2
    assert psutil.wait_procs(children, timeout=15)[1] == []
    sweep.run(SPEC, out, engine="cpu")
    assert results(out) == results(whole)


@pytest.mark.long
def test_interrupted_workers_say_nothing(tmp_path: Path) -> None:
    """Ctrl-C reaches the whole group of processes."""
    spec, out = tmp_path / "spec.toml", tmp_path / "out"
    spec.write_text(BRIEF.replace("seeds = 12", "seeds = 200"))
    running = process(spec, "--out", out, "--workers", "2", own_group=True)
    while not list(out.glob("chunks/*.parquet")):
        time.sleep(0.005)
    os.killpg(running.pid, signal.SIGINT)
    printed, said = running.communicate(timeout=20)
    assert (running.returncode, printed, said) == (130, "", "loraml: interrupted\n")
    assert (out / "rows.parquet").exists()
