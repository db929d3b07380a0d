"""Pictures are the same every time, whatever a user's settings are, and their labels do not overlap."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import matplotlib as mpl
import pytest

from loraml_theory.harness.plotting import CYCLE, data_uri, figure, label_ends, save

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
