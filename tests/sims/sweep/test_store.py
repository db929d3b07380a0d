from __future__ import annotations

import json
import os
import time
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loraml_theory.harness.errors import InputError
from loraml_theory.harness.folders import FolderError
from sims.sweep import running as sweep
from sims.sweep.spec import Spec, parse
from sims.sweep.store import COLUMNS, locked, read_rows, read_table
from tests.sims.sweep.sweeps import BRIEF, COMMAND, digest, kill, process, results

SPEC = parse(BRIEF)
CHUNKS = 48


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a sweep that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    assert sweep.run(SPEC, folder, engine="cpu") == CHUNKS
    return folder


def test_a_finished_folder_holds_rows_and_nothing_else(whole: Path) -> None:
    assert sorted(os.listdir(whole)) == [".lock", "rows.parquet", "spec.json"]
    table = pq.read_table(whole / "rows.parquet")
    assert tuple(table.column_names) == COLUMNS
    assert repr(table.to_pylist()) == repr(read_table(whole).to_pylist())
    chunks = np.asarray(table["chunk"])
    assert np.array_equal(chunks, np.repeat(np.arange(CHUNKS), 4))


def test_the_same_command_again_computes_nothing(whole: Path) -> None:
    before = {path: path.read_bytes() for path in whole.iterdir()}
    assert sweep.run(SPEC, whole) == 0
    assert {path: path.read_bytes() for path in whole.iterdir()} == before


def test_arrays_have_a_value_for_null(whole: Path) -> None:
    arrays = read_rows(whole)
    assert set(arrays) == set(COLUMNS)
    assert arrays["iterations"].dtype == np.int64
    assert set(arrays["spec_hash"]) == {SPEC.hash}
    missing = arrays["status"] == "not_applicable"
    assert set(arrays["iterations"][missing]) == {-1}
    assert set(arrays["iterations"][~missing]) == {0}


class Crash(BaseException):
    """The end of a process, at a place of our choice; as with kill −9, nothing is cleaned up after it."""


def crashes(monkeypatch: pytest.MonkeyPatch, folder: Path, at: int) -> bool:
    """Run the sweep; crash before the `at`-th change of a file or folder. Return whether it came so far."""
    count = 0

    def tick() -> None:
        nonlocal count
        count += 1
        if count >= at:  # nothing more is changed, whatever handlers try
            raise Crash

    with monkeypatch.context() as patch:
        for owner, name in (
            (os, "fsync"),
            (Path, "replace"),
            (Path, "unlink"),
            (Path, "mkdir"),
            (Path, "rmdir"),
            (sweep, "run_chunk"),
        ):
            real = getattr(owner, name)

            def guarded(*words: Any, real: Any = real, **options: Any) -> Any:
                tick()
                return real(*words, **options)

            patch.setattr(owner, name, guarded)
        try:
            sweep.run(SMALL, folder, engine="cpu")
        except Crash:
            return True
    return False


SMALL = parse('method = "sr"\nd = 4\nn = 20\nseeds = 3\nchunk = 1')


@pytest.mark.long
def test_a_crash_between_any_two_changes_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Crash before the 1st, the 2nd, .. change of the file system, then go on; and crash again on the way."""
    sweep.run(SMALL, tmp_path / "whole", engine="cpu")
    expected = results(tmp_path / "whole")
    at = 1
    while crashes(monkeypatch, tmp_path / f"{at}", at):
        folder = tmp_path / f"{at}"
        if (folder / "spec.json").exists():
            kept = results(folder)
            assert [row for row in expected if row in kept] == kept
        crashes(monkeypatch, folder, 1 + at % 7)
        sweep.run(SMALL, folder, engine="cpu")
        assert results(folder) == expected
        assert sorted(os.listdir(folder)) == [".lock", "rows.parquet", "spec.json"]
        at += 1
    assert at > 20


@pytest.mark.long
def test_killed_at_random_moments_it_goes_on_where_it_was(tmp_path: Path, whole: Path) -> None:
    """Processes killed by the system until one comes to the end; what one finished the next leaves alone."""
    spec, out, random = tmp_path / "spec.toml", tmp_path / "out", Random(0)
    spec.write_text(BRIEF)
    kills = 0
    seen: dict[str, dict[str, str]] = {}
    for _ in range(4):
        running = process(spec, "--out", out)
        while running.poll() is None and not list(out.glob("chunks/*.parquet")):
            time.sleep(0.002)
        time.sleep(random.uniform(0, 0.1))
        kill(running.pid)
        running.communicate()
        kills += running.returncode == -9
        now = {(row["chunk"] + row["rank_rule"] + row["seed"]): row for row in results(out)}
        assert len(now) == len(results(out))
        assert {key: now[key] for key in seen} == seen
        seen = now
    assert kills >= 2
    assert sweep.run(SPEC, out) == CHUNKS - len({row["chunk"] for row in seen.values()})
    assert results(out) == results(whole)


def test_a_changed_spec_is_refused_with_the_difference(whole: Path) -> None:
    before = digest(whole)
    changed = parse(BRIEF.replace("d = 6", "d = [6, 7]").replace("chunk = 2", "chunk = 3"))
    with pytest.raises(
        FolderError, match=r"was started with other settings \(d: was \[6\], is now \[6, 7\]; chunk: was 2, is now 3\)"
    ):
        sweep.run(changed, whole, engine="cpu")
    assert digest(whole) == before


def test_another_engine_is_refused_and_auto_takes_the_first(tmp_path: Path) -> None:
    sweep.run(SMALL, tmp_path, engine="cpu")
    path = tmp_path / "spec.json"
    path.write_text(path.read_text().replace('"engine": "cpu"', '"engine": "cupy"'))
    with pytest.raises(FolderError, match="was started with engine cupy on cpu, now cpu on cpu"):
        sweep.run(SMALL, tmp_path, engine="cpu")
    path.write_text(path.read_text().replace('"engine": "cupy"', '"engine": "cpu"'))
    assert sweep.run(SMALL, tmp_path) == 0


def test_two_sweeps_do_not_share_a_folder(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(FolderError, match="another process is working here"):
        sweep.run(SMALL, tmp_path, engine="cpu")
    assert sweep.run(SMALL, tmp_path, engine="cpu") == 3


def test_rows_can_be_read_while_the_sweep_is_running(tmp_path: Path) -> None:
    counts = []
    sweep.run(SMALL, tmp_path, engine="cpu", progress=lambda _: counts.append(read_table(tmp_path).num_rows))
    assert counts == [0, 1, 2, 3]


@pytest.mark.parametrize("room", range(7))
def test_a_full_disk_leaves_the_rows_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """The disk takes spec.json, then a chunk and its name every two calls."""
    calls = iter(range(room))
    real = os.fsync

    def fsync(file: int) -> None:
        if next(calls, None) is None:
            raise OSError(28, "No space left on device")
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        sweep.run(SMALL, tmp_path, engine="cpu")
    monkeypatch.undo()
    if room:
        assert read_table(tmp_path).num_rows == room // 2
    assert sweep.run(SMALL, tmp_path, engine="cpu") == 3 - room // 2
    assert read_table(tmp_path).num_rows == 3


LIMITED = (
    COMMAND[0],
    "-c",
    "import resource, sys; from paper_checks.cli import main\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))\n"
    "main(['sweep', *sys.argv[2:]])",
)


@pytest.mark.parametrize("limit", [100, 15_000])
@pytest.mark.long
def test_files_that_do_not_fit_are_one_line_and_the_next_run_goes_on(tmp_path: Path, whole: Path, limit: int) -> None:
    """The system refuses files beyond a size: spec.json at 100 bytes, rows.parquet but not the chunks at 15 000."""
    spec, out = tmp_path / "spec.toml", tmp_path / "out"
    spec.write_text(BRIEF)
    running = process(f"{limit}", spec, "--out", out, program=LIMITED)
    printed, said = running.communicate()
    assert (running.returncode, printed) == (2, "")
    assert said == f"loraml: error: {out}: cannot be written (File too large)\n"
    if limit > 100:
        assert results(out) == results(whole)
        assert not (out / "rows.parquet").exists()
    assert not list(out.rglob("*.tmp"))
    sweep.run(SPEC, out, engine="cpu")
    assert results(out) == results(whole)


def test_folders_that_are_no_sweep_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="does not hold a sweep"):
        read_table(tmp_path)
    (tmp_path / "file").write_text("kept")
    with pytest.raises(FolderError, match="is a file, expected a folder"):
        sweep.run(SMALL, tmp_path / "file", engine="cpu")
    (tmp_path / "rows.parquet").write_text("kept")
    with pytest.raises(FolderError, match=r"holds rows but no spec\.json"):
        sweep.run(SMALL, tmp_path, engine="cpu")
    (tmp_path / "spec.json").write_text("{}")
    with pytest.raises(FolderError, match="was not written by a sweep"):
        sweep.run(SMALL, tmp_path, engine="cpu")
    begun = {"spec": SMALL.document(), "format": 0, "engine": "cpu", "device": "cpu"}
    (tmp_path / "spec.json").write_text(json.dumps(begun))
    with pytest.raises(FolderError, match="format 0, this version writes 1"):
        sweep.run(SMALL, tmp_path, engine="cpu")
    (tmp_path / "spec.json").write_text(json.dumps({**begun, "format": 1}))
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        sweep.run(SMALL, tmp_path, engine="cpu")
    assert (tmp_path / "rows.parquet").read_text() == "kept"


def test_progress_counts_work_and_starts_where_the_folder_is(tmp_path: Path) -> None:
    spec: Spec = SMALL
    seen: list[sweep.SweepProgress] = []

    def stop(now: sweep.SweepProgress) -> None:
        seen.append(now)
        if now.chunks == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep.run(spec, tmp_path, engine="cpu", progress=stop)
    assert (tmp_path / "rows.parquet").exists()
    assert read_table(tmp_path).num_rows == 2
    sweep.run(spec, tmp_path, engine="cpu", progress=seen.append)
    assert [now.chunks for now in seen] == [0, 1, 2, 2, 3]
    assert seen[-1].work == pytest.approx(seen[-1].all_work)
    assert seen[3].work == pytest.approx(seen[-1].all_work * 2 / 3)


def test_files_of_the_user_stay(tmp_path: Path) -> None:
    """A sweep removes what a kill left of its own files, and nothing else that looks like it."""
    notes, left = tmp_path / ".notes.tmp", tmp_path / ".0123456789abcdef.tmp"
    for path in (notes, left):
        path.write_text("x")
    sweep.run(SMALL, tmp_path, engine="cpu")
    assert notes.exists()
    assert not left.exists()


@pytest.mark.parametrize("name", ["1x", "1e5", "01", "1.0", "²", "١"])
def test_a_chunk_that_is_not_named_by_its_number_is_refused(tmp_path: Path, name: str) -> None:
    sweep.run(SMALL, tmp_path, engine="cpu")
    (tmp_path / "chunks").mkdir()
    pq.write_table(pq.read_table(tmp_path / "rows.parquet").slice(0, 1), tmp_path / f"chunks/{name}.parquet")
    with pytest.raises(FolderError, match=f"{name}.parquet: is not the name of a chunk, expected NUMBER.parquet"):
        read_rows(tmp_path)
    with pytest.raises(FolderError, match="is not the name of a chunk"):
        sweep.run(SMALL, tmp_path, engine="cpu")


@pytest.mark.parametrize("name", [".lock", "spec.json", "rows.parquet", "chunks/1.parquet"])
@pytest.mark.parametrize("odd", ["pipe", "device", "loop"])
def test_what_is_not_a_regular_file_is_refused_at_once(tmp_path: Path, name: str, odd: str) -> None:
    """A pipe would be waited for, a device never ends, and a loop of links looks as if nothing were there."""
    sweep.run(SMALL, tmp_path, engine="cpu")
    place = tmp_path / name
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    if odd == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/zero" if odd == "device" else place.name)
    with pytest.raises(InputError, match=f"{place}: "):
        sweep.run(SMALL, tmp_path, engine="cpu")


def test_a_lock_leaves_what_a_link_of_its_name_leads_to(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "s").mkdir()
    (tmp_path / "s/.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(InputError, match=r"\.lock: is a link, expected a lock file or nothing"):
        sweep.run(SMALL, tmp_path / "s", engine="cpu")
    assert (tmp_path / "precious").read_text() == "kept"


def written(path: Path, rows: pa.Table, times: int) -> None:
    """Write the first row `times` times, each text as a number of one in a dictionary."""
    numbers = pa.array(np.zeros(times, np.int32))
    columns = {
        name: pa.DictionaryArray.from_arrays(numbers, rows[name].slice(0, 1).combine_chunks())
        if pa.types.is_string(rows.schema.field(name).type)
        else rows[name].take(numbers)
        for name in rows.column_names
    }
    pq.write_table(pa.table(columns), path, store_schema=False)


def test_rows_that_take_far_more_than_their_file_are_refused(tmp_path: Path) -> None:
    """A million equal rows in some kilobytes, and one long text that every row repeats."""
    sweep.run(SMALL, tmp_path, engine="cpu")
    path = tmp_path / "rows.parquet"
    rows = pq.read_table(path)
    written(path, rows, 1_000_000)
    with pytest.raises(InputError, match=r"rows\.parquet: declares 1000000 rows of \d+ bytes in all, expected"):
        read_rows(tmp_path)
    place = rows.schema.get_field_index("reason")
    written(path, rows.set_column(place, "reason", pa.array(["x" * 100_000] * len(rows))), 10_000)
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match=r"rows\.parquet: has texts of 10\d{8} bytes, expected"):
        read_rows(tmp_path)


@pytest.mark.parametrize("damage", ["other columns", "a folder", "other chunk"])
def test_damaged_rows_are_refused(tmp_path: Path, damage: str) -> None:
    sweep.run(SMALL, tmp_path, engine="cpu")
    rows = tmp_path / "rows.parquet"
    table = pq.read_table(rows)
    if damage == "a folder":
        rows.unlink()
        rows.mkdir()
    elif damage == "other columns":
        pq.write_table(table.drop_columns(["d"]), rows)
    else:
        (tmp_path / "chunks").mkdir()
        pq.write_table(table.slice(0, 0), tmp_path / "chunks" / "7.parquet")
    with pytest.raises(InputError, match=r"parquet: "):
        read_rows(tmp_path)
