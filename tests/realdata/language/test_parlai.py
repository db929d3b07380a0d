from __future__ import annotations

import gzip
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraml_theory.harness.errors import InputError
from realdata.language.parlai import Dialogue, Turn, read_dialogues
from tests.realdata.language.dialogue_files import write_dialogues

PLAIN = """\
1 your persona: i like tea.
2 partner's persona: i'm tall.
3 hello !\thi there .
4 how are you ?\tfine , you ?\t\tno .|fine , you ?|yes .
1 your persona: i have a dog.
2 __SILENCE__\tgood day .
"""
EXPECTED = (
    Dialogue(
        1,
        ("i like tea.",),
        (Turn("hello !", "hi there ."), Turn("how are you ?", "fine , you ?", ("no .", "fine , you ?", "yes ."))),
        ("i'm tall.",),
    ),
    Dialogue(2, ("i have a dog.",), (Turn("", "good day ."),)),
)


def written(folder: Path, data: str | bytes, name: str = "dialogues.txt") -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_dialogues([path])
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.encode(),
        gzip.compress(PLAIN.encode()),
        PLAIN.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + PLAIN.encode(),
        PLAIN.rstrip("\n").encode(),
        PLAIN.replace("\n1 ", "\n\n1 ").encode() + b"\n\n",
    ],
    ids=["plain", "gzip", "crlf", "byte order mark", "no last newline", "blank lines"],
)
def test_reads_dialogues(tmp_path: Path, data: bytes) -> None:
    assert read_dialogues([written(tmp_path, data)]) == EXPECTED


def test_several_files_are_numbered_on(tmp_path: Path) -> None:
    first, second = written(tmp_path, PLAIN, "a"), written(tmp_path, gzip.compress(PLAIN.encode()), "b.gz")
    found = read_dialogues([first, second])
    assert [one.number for one in found] == [1, 2, 3, 4]
    assert [one.file for one in found] == [0, 0, 1, 1]
    assert found[2].turns == EXPECTED[0].turns


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (1, "x your persona: i like tea.", ", line 1: got 'x your persona: i like tea.'; expected a number"),
        (1, "2 your persona: i like tea.", ", line 1: numbered 2; expected 1"),
        (3, "4 hello !\thi there .", ", line 3: numbered 4; expected 3, or 1"),
        (4, "3 hello !\thi there .", ", line 4: numbered 3; expected 4, or 1"),
        (3, "3 hello !", ", line 3: 0 tabs in 'hello !'; expected 1"),
        (3, "3 hello !\thi\t", ", line 3: 2 tabs in"),
        (3, "3 hello !\t ", ", line 3: the reply is empty"),
        (3, "3 \thi", ", line 3: the utterance is empty"),
        (1, "1 your persona: ", ", line 1: the persona sentence is empty"),
        (4, "4 your persona: late.", ", line 4: a persona sentence after a turn"),
        (4, "4 how are you ?\tfine\t\tno .|yes .", ", line 4: the true reply 'fine' is not among the 2 candidates"),
        (4, "4 how are you ?\tfine\t\t", ", line 4: the true reply 'fine' is not among the 0 candidates"),
        (3, "3 hel\x00lo !\thi", ", line 3: has the control character 0x00; expected text"),
        (3, "3 hello !\rhow are you ?\thi", ", line 3: has the control character 0x0d; expected text"),
        (6, "1 your persona: alone.", ", line 5: the dialogue that begins here has no turns"),
    ],
)
def test_damaged_line_is_named(tmp_path: Path, line: int, text: str, message: str) -> None:
    lines = PLAIN.splitlines()
    lines[line - 1] = text
    assert refusal(written(tmp_path, "\n".join(lines) + "\n")).startswith(message)


def test_dialogue_without_turns_at_the_end(tmp_path: Path) -> None:
    assert ", line 7: " in refusal(written(tmp_path, PLAIN + "1 your persona: alone.\n"))


def test_undecodable_bytes_are_named(tmp_path: Path) -> None:
    data = PLAIN.encode().replace(b"hello !", b"hell\xff !")
    assert refusal(written(tmp_path, data)) == ", line 3: byte 7 is 0xff, which is not UTF-8"


@pytest.mark.parametrize("keep", [0.5, 0.95])
def test_truncated_gzip(tmp_path: Path, keep: float) -> None:
    data = gzip.compress(PLAIN.encode() * 50)
    assert ": damaged gzip data after line " in refusal(written(tmp_path, data[: int(len(data) * keep)]))


def test_gzip_with_a_wrong_checksum(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(PLAIN.encode()))
    data[-6] ^= 1
    assert ": damaged gzip data after line 6" in refusal(written(tmp_path, bytes(data)))


@pytest.mark.parametrize("packed", [False, True])
def test_a_line_without_an_end_is_not_read_whole(tmp_path: Path, packed: bool) -> None:
    data = PLAIN.encode() + b"3 hello !\t" + b"a" * (1 << 24)
    path = written(tmp_path, gzip.compress(data) if packed else data)
    tracemalloc.start()
    try:
        assert refusal(path) == ", line 7: has more than 1048576 bytes; expected the lines of dialogues"
        assert tracemalloc.get_traced_memory()[1] < 1 << 23
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("data", [b"", b"\n\n", gzip.compress(b"")], ids=["no bytes", "blank lines", "gzip"])
def test_empty_file(tmp_path: Path, data: bytes) -> None:
    assert refusal(written(tmp_path, data)).startswith(": is empty; expected dialogues")


def test_folder_and_missing_file(tmp_path: Path) -> None:
    assert refusal(tmp_path) == ": is a folder, expected a file of dialogues"
    assert refusal(tmp_path / "none") == ": cannot be read (No such file or directory), expected a file of dialogues"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("1 your persona: i ski .".encode("utf-16"), ": begins with the byte order mark of UTF-16, expected"),
        ("1 your persona: i ski .".encode("utf-16-le"), ", line 1: has the control character 0x00; expected text"),
        (gzip.compress(b"1 a\tb\n", mtime=0) + b"garbage", ": damaged gzip data after line 1; expected a whole file"),
        (gzip.compress((b" " * 999 + b"\n") * 10_000, mtime=0), ": unpacks to more than 8 MiB, expected a file of dia"),
    ],
    ids=["UTF-16", "UTF-16 without a mark", "after the end", "a bomb"],
)
def test_what_is_not_dialogues_in_utf_8(tmp_path: Path, data: bytes, message: str) -> None:
    assert refusal(written(tmp_path, data)).startswith(message)


def test_a_pipe_and_a_device_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        assert refusal(tmp_path / name) == ": is not a regular file, expected a file of dialogues"


def test_one_name_is_no_sequence_of_names() -> None:
    with pytest.raises(TypeError, match="expected one or more file names in a sequence"):
        read_dialogues("dialogues.txt")
    with pytest.raises(TypeError, match="expected one or more file names"):
        read_dialogues([])


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\t\r\n|", exclude_categories=["Cc", "Z"]), min_size=1)
TURNS = st.builds(
    lambda utterance, reply, others: Turn(utterance, reply, (*others, reply) if others else ()),
    TEXT,
    TEXT,
    st.lists(TEXT, max_size=3),
)


@given(
    persona=st.lists(TEXT, max_size=3),
    partner=st.lists(TEXT, max_size=2),
    turns=st.lists(TURNS, min_size=1, max_size=3),
    suffix=st.sampled_from([".txt", ".txt.gz"]),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, persona: list[str], partner: list[str], turns: list[Turn], suffix: str
) -> None:
    dialogues = (
        Dialogue(1, tuple(persona), tuple(turns), tuple(partner)),
        Dialogue(2, (), (Turn("", "hello"),)),
    )
    path = tmp_path_factory.mktemp("written") / f"file{suffix}"
    write_dialogues(path, dialogues)
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == suffix.endswith(".gz")
    assert read_dialogues([path]) == dialogues


@pytest.mark.parametrize(
    "turn",
    [Turn("a\tb", "c"), Turn("a", "b\nc"), Turn("a\0", "b"), Turn("a", " "), Turn("a", "b", ("b", "c|d"))],
    ids=repr,
)
def test_text_that_ends_a_field_is_not_written(tmp_path: Path, turn: Turn) -> None:
    with pytest.raises(ValueError, match="text of a dialogue: got"):
        write_dialogues(tmp_path / "file", [Dialogue(1, (), (turn,))])
    assert not list(tmp_path.iterdir())
