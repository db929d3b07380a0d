"""Ways to spoil a file: its bytes, its words, or what stands in its place."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

NUMBERS = (b"0", b"-1", b"1e400", b"-0.0", b"NaN", b"9" * 400, b"2147483648", b"1e308", b"0.5", b"true", b"null", b'""')
WORDS = (
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b"\n", b"\t", b"\r", b"'", b'"', b",", b"=", b"\xe2\x80\xae", b"\x1b[31m"),
    *(b"[" * 5000, b"{" * 300, b"a." * 3000, b"../", b"<b>", b"%s", b"1e5", b"inf"),
)
NAMES = ("1x", "1e5", "0", "-1", "00", "x" * 200, "a\nb", "é", " ", ".hidden", "1", "99999999999999999999")
PATHS = (
    *("/dev/zero", "/dev/full", "/dev/stdin", "/proc/self/mem", "/proc/self/fd/0", "/proc/version", "/sys", "/", "//"),
    *("x" * 4000, "x/" * 2000, "é" * 300, "a\nb", "a\x1b[31mb", "\udcff", "", ".", "..", "-", "~", "missing/file"),
)
OTHERS = (b"", b"\n", b"{}", b"[]", b"PK\x03\x04", b"\x80\x02.", b"\x1f\x8b\x08", b"\x89PNG\r\n\x1a\n", b"PAR1")

BytesEdit = Callable[[random.Random, bytes], bytes]
PlaceEdit = Callable[[random.Random, Path], None]


def _somewhere(rng: random.Random, content: bytes) -> int:
    """Return a place, near the beginning half of the time: headers are there."""
    end = min(len(content), 256) if rng.random() < 0.5 else len(content)
    return rng.randrange(end + 1)


def cut(rng: random.Random, content: bytes) -> bytes:
    """Cut the end off, or the beginning."""
    at = _somewhere(rng, content)
    return content[:at] if rng.random() < 0.8 else content[at:]


def flip(rng: random.Random, content: bytes) -> bytes:
    """Change some bytes."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[min(_somewhere(rng, content), len(changed) - 1)] = rng.choice((0, 255, rng.randrange(256)))
    return bytes(changed)


def insert(rng: random.Random, content: bytes) -> bytes:
    """Insert a word that readers stumble over."""
    at = _somewhere(rng, content)
    return content[:at] + rng.choice(WORDS) + content[at:]


def repeat(rng: random.Random, content: bytes) -> bytes:
    """Repeat a part, up to a thousand times."""
    first, last = sorted((_somewhere(rng, content), _somewhere(rng, content)))
    return content[:last] + content[first:last] * rng.choice((1, 2, 1000)) + content[last:]


def remove(rng: random.Random, content: bytes) -> bytes:
    """Take a part out."""
    first, last = sorted((_somewhere(rng, content), _somewhere(rng, content)))
    return content[:first] + content[last:]


def renumber(rng: random.Random, content: bytes) -> bytes:
    """Put another number, or another word, in place of a number in a text."""
    digits = [i for i, byte in enumerate(content) if 48 <= byte < 58 and (i == 0 or not 48 <= content[i - 1] < 58)]
    if not digits:
        return flip(rng, content)
    first = last = rng.choice(digits)
    while last < len(content) and (48 <= content[last] < 58 or content[last] in b".e-"):
        last += 1
    return content[:first] + rng.choice(NUMBERS) + content[last:]


def restructure(rng: random.Random, content: bytes) -> bytes:
    """Replace, remove or nest a value of a JSON document; other files get a word inserted."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return insert(rng, content)
    places: list[tuple[dict[str, object] | list[object], str | int]] = []
    level: list[object] = [document]
    while level:
        value = level.pop()
        keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
        places += [(value, key) for key in keys]  # type: ignore[misc]  # a list or a table by its keys
        level += [value[key] for key in keys]  # type: ignore[index]
    if not places:
        return b"[]"
    where, key = rng.choice(places)
    if rng.random() < 0.3 and isinstance(where, dict):
        del where[key]  # type: ignore[arg-type]
    else:
        old = where[key]  # type: ignore[index]
        where[key] = rng.choice((None, -1, 1e300, 10**30, "", "x" * 3000, [], {}, [old] * 3, {"a": old}, True, "a\nb"))  # type: ignore[index]
    return json.dumps(document).encode()


def nest(rng: random.Random, content: bytes) -> bytes:
    """Nest everything deeply."""
    depth = rng.choice((60, 500, 100_000))
    return rng.choice((b"[", b'{"a":')) * depth + content


def other_content(rng: random.Random, content: bytes) -> bytes:
    """Put something else entirely in its place."""
    return rng.choice((*OTHERS, content[::-1]))


BYTES: tuple[BytesEdit, ...] = (cut, flip, flip, insert, repeat, remove, renumber, restructure, nest, other_content)


def _fifo(_: random.Random, path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _device(rng: random.Random, path: Path) -> None:
    path.unlink()
    path.symlink_to(rng.choice(("/dev/zero", "/dev/full", "/dev/random", "/proc/self/mem", "/proc/kmsg")))


def _loop(_: random.Random, path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _folder(_: random.Random, path: Path) -> None:
    path.unlink()
    path.mkdir()


def _gone(_: random.Random, path: Path) -> None:
    path.unlink()


def _sparse(_: random.Random, path: Path) -> None:
    """Make a file that is terabytes long and takes no place."""
    with path.open("r+b") as file:
        file.truncate(2**41)


def _renamed(rng: random.Random, path: Path) -> None:
    path.rename(path.with_name(rng.choice(NAMES) + path.suffix))


def _doubled(rng: random.Random, path: Path) -> None:
    path.with_name(rng.choice(NAMES) + path.suffix).write_bytes(path.read_bytes())


def _dangling(_: random.Random, path: Path) -> None:
    path.unlink()
    path.symlink_to("missing/" * 400)


PLACES: tuple[PlaceEdit, ...] = (_fifo, _device, _loop, _folder, _gone, _sparse, _renamed, _doubled, _dangling)


def reword(rng: random.Random, words: tuple[str, ...]) -> tuple[str, ...]:
    """Put a name that stands for no file of ours in place of one of the paths of a command line."""
    paths = [i for i, word in enumerate(words) if words[i - 1] == "--out" or ("." in word and word[0] != "-")]
    chosen = rng.choice(paths or [len(words) - 1])
    task, equals, _ = words[chosen].rpartition("=")
    return (*words[:chosen], f"{task}{equals}{rng.choice(PATHS)}", *words[chosen + 1 :])


def spoil(rng: random.Random, files: list[Path]) -> str:
    """Spoil one of the files, mostly by its bytes, some more than once; return what was done."""
    path = rng.choice(files)
    if rng.random() < 0.15:
        place = rng.choice(PLACES)
        place(rng, path)
        return f"{place.__name__.strip('_')} {path.name}"
    done, content = [], path.read_bytes()
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        edit = rng.choice(BYTES)
        content = edit(rng, content)[: 2**24]
        done.append(edit.__name__)
    path.write_bytes(content)
    return f"{' '.join(done)} {path.name}"
