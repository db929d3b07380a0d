"""State dicts that declare more than they hold, nest without end or share their numbers are refused in one line."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
import torch

from loraml_theory.harness.errors import InputError
from realdata.advisor.checkpoints import open_checkpoint
from realdata.advisor.pickle_depth import too_deep
from realdata.advisor.torch_file import TorchFile

DEEP = b"\x80\x02" + b"]" * 1000 + b"a" * 999 + b"."
SHARED = torch.arange(100.0)
INDICES = torch.zeros(2, 1, dtype=torch.int64)
SPARSE = torch.sparse_coo_tensor(INDICES, torch.ones(1), (60_000, 60_000), check_invariants=True)
STATES = {
    "is sparse or nested": {"w": SPARSE},
    "by repeating fewer numbers": {"w": torch.zeros(1).expand(60_000, 60_000)},
    "is on the device meta": {"w": torch.empty(60_000, 60_000, device="meta")},
    "overlapping tensors": {f"w{i}": SHARED[i : i + 50] for i in range(50)},
}


@pytest.mark.parametrize("text", STATES)
@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_whose_numbers_are_not_all_there(tmp_path: Path, text: str, zipped: bool) -> None:
    torch.save(STATES[text], tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=text) as raised:
        TorchFile(tmp_path / "w.pt")
    assert "\n" not in str(raised.value)


def test_views_and_tied_tensors_are_read(tmp_path: Path) -> None:
    W = torch.randn(6, 4)
    torch.save({"fused": W, "upper": W[:3], "lower": W[3:], "tied": W, "transposed": W.T}, tmp_path / "w.pt")
    file = TorchFile(tmp_path / "w.pt")
    assert torch.equal(file.read("transposed", slice(1, 3)), W.T[1:3])
    assert torch.equal(file.read("tied", (slice(0, 2), slice(1, 3))), W[:2, 1:3])


def rewritten(source: Path, target: Path, change: Callable[[bytes], bytes], compression: int) -> None:
    """Copy an archive with its pickle changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for each in old.infolist():
            content = old.read(each)
            new.writestr(each.filename, change(content) if each.filename.endswith("data.pkl") else content)


def test_archives_that_declare_more_than_they_hold(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(7)}, tmp_path / "w.pt")
    large = b"\x8a\x05" + (10**10).to_bytes(5, "little")
    rewritten(tmp_path / "w.pt", tmp_path / "large.pt", lambda p: p.replace(b"K\x07", large), zipfile.ZIP_STORED)
    rewritten(tmp_path / "w.pt", tmp_path / "bomb.pt", lambda p: p, zipfile.ZIP_DEFLATED)
    rewritten(tmp_path / "w.pt", tmp_path / "deep.pt", lambda _: DEEP, zipfile.ZIP_STORED)
    (tmp_path / "cut.pt").write_bytes((tmp_path / "w.pt").read_bytes()[:300])
    expected = {"large": "or damaged", "bomb": "compressed", "deep": "nested too deeply", "cut": "or damaged"}
    for name, text in expected.items():
        with pytest.raises(InputError, match=rf"{name}\.pt: .*{text}"):
            TorchFile(tmp_path / f"{name}.pt")


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02})" + b"\x85" * 100_000 + b"K\x01s.",  # a key whose hash would end the process
        b"\x80\x02})" + b"q\x00\x85" * 100_000 + b"K\x01s.",
        DEEP,
        b"\x80\x02" + b"(" * 1000 + b"t" * 1000 + b".",
    ],
)
def test_pickles_that_nest_too_deeply(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(InputError, match="is nested too deeply"):
        TorchFile(tmp_path / "w.pt")


def test_long_pickles_are_not_deep(tmp_path: Path) -> None:
    torch.save({f"layers.{i}.weight": torch.zeros(1) for i in range(1500)}, tmp_path / "w.pt")
    assert len(TorchFile(tmp_path / "w.pt").tensors) == 1500
    assert not too_deep(BytesIO(b"\x80\x02](" + b"]" * 5000 + b"e."))


@pytest.mark.parametrize(
    "content", [b"", b"a", b"\x80\x02t.", b"\x80\x02a.", b"\x80\x02(.", b"\x80\x02h\x05.", b"garbage" * 50]
)
def test_what_is_no_pickle(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(InputError):
        TorchFile(tmp_path / "w.pt")


def test_names_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "pipes").mkdir()
    os.mkfifo(tmp_path / "pipes" / "model.safetensors")
    for path in (tmp_path / "pipe", tmp_path / "loop", tmp_path / "pipes", Path("/dev/zero"), Path("x" * 4000)):
        with pytest.raises(InputError) as raised:
            open_checkpoint(path)
        assert len(str(raised.value)) < 1100


@pytest.mark.parametrize(
    ("name", "start", "form"),
    [("w.bin", b"GGUF", "GGUF"), ("w.gguf", b"", "GGUF"), ("w.h5", b"\x89HDF", "HDF5"), ("w.npz", b"PK\3\4", "NumPy")],
)
def test_other_formats_are_refused_by_name(tmp_path: Path, name: str, start: bytes, form: str) -> None:
    (tmp_path / name).write_bytes(start + bytes(100))
    with pytest.raises(InputError, match=f"is a file of {form}"):
        open_checkpoint(tmp_path / name)
    if name != "w.bin":
        with pytest.raises(InputError, match=rf"holds {name}, a file of {form}"):
            open_checkpoint(tmp_path)


def test_damaged_headers(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    shape = b'{"w":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}'
    for content in (
        (2**62).to_bytes(8, "little") + b"{" + bytes(50),
        len(shape).to_bytes(8, "little") + shape + bytes(16),
        (5 * 10**5).to_bytes(8, "little") + b'{"a":' * 10**5,
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is not a safetensors file, or damaged"):
            open_checkpoint(path)
