"""Pictures are the same every time, whatever a user's settings are, and their labels do not overlap."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import matplotlib as mpl
import pytest

from loraml_theory.harness.errors import InputError
from loraml_theory.harness.plotting import CYCLE, Files, data_uri, figure, label_ends, save, written_as

PREFIX = "data:image/svg+xml;base64,"


def drawn(folder: Path, name: str) -> bytes:
    with figure(3, 2) as picture:
        ax = picture.subplots()
        ax.semilogy([1, 2], [1.0, 2.0])
        ax.semilogy([1, 2], [1.0, 2.01])
        label_ends(ax, [(2.0, "one", CYCLE[0]), (2.01, "other", CYCLE[1])], x=2)
        places = sorted(text.get_position()[1] for text in ax.texts)
        save(picture, folder / name)
    assert places[1] - places[0] > 0.04
    return (folder / name).read_bytes()


def test_a_picture_is_the_same_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = drawn(tmp_path, "first.png")
    monkeypatch.setitem(mpl.rcParams, "lines.linewidth", 9.0)
    assert drawn(tmp_path, "second.png") == first
    assert first.startswith(b"\x89PNG")


def test_a_picture_inside_a_page_is_svg_without_a_date() -> None:
    uris = []
    for _ in range(2):
        with figure(2, 1) as picture:
            picture.subplots().plot([0, 1])
            uris.append(data_uri(picture))
    text = b64decode(uris[0].removeprefix(PREFIX)).decode()
    assert "<svg" in text
    assert "<dc:date>" not in text


def test_formats_and_width_of_a_block(tmp_path: Path) -> None:
    with written_as(Files(("pdf", "svg", "png"), 3.0)), figure(6, 2) as picture:
        assert tuple(picture.get_size_inches()) == (3, 1)
        paths = save(picture, tmp_path / "one.png")
    assert [path.name for path in paths] == ["one.pdf", "one.svg", "one.png"]
    assert [path.read_bytes()[:5] for path in paths] == [b"%PDF-", b"<?xml", b"\x89PNG\r"]
    with figure(6, 2) as picture:
        assert save(picture, tmp_path / "two.png") == [tmp_path / "two.png"]


def test_a_width_at_which_nothing_can_be_read_is_refused() -> None:
    refused = pytest.raises(InputError, match="--width: got 1, expected at least 3 inches")
    with refused, written_as(Files(width=1.0)), figure(6, 2):
        pass


def test_a_picture_is_the_same_in_every_format(tmp_path: Path) -> None:
    def written(folder: str) -> list[bytes]:
        (tmp_path / folder).mkdir()
        with written_as(Files(("pdf", "svg"))), figure(3, 2) as picture:
            picture.subplots().loglog([1, 10], [1, 100])
            return [path.read_bytes() for path in save(picture, tmp_path / folder / "one.png")]

    assert written("a") == written("b")
