from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoHaConfig, LoraConfig, PeftModel, VeraConfig
from safetensors.torch import load_file
from torch import Tensor, nn

from realdata.peft_ml import bundle
from realdata.peft_ml.bundle import BundleError, load, read_manifest, save
from realdata.peft_ml.manifest import SCHEMA, adapter_folder
from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.whole_folder import present, replacing_folder
from tests.realdata.peft_ml.small_models import Mlp, TokenMixer, disturb, rows_of, seeded, tiny_bert, tiny_gpt2

LORA = LoraConfig(r=2, lora_alpha=4, target_modules="all-linear")
IA3 = IA3Config(target_modules="all-linear", feedforward_modules=[])
TASKS = ("cat-deer", "v1.0/é", "cat")


def normed() -> nn.Module:
    return seeded(0, Mlp, norm=nn.BatchNorm1d(8)).eval()


class Shared(Mlp):
    """Has one layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.again = self.body


KINDS: dict[str, tuple[Callable[[], nn.Module], Any, str | None]] = {
    "lora": (lambda: seeded(0, Mlp), LORA, None),
    "lora with heads": (lambda: seeded(0, Mlp), LORA, "head"),
    "last layer": (lambda: seeded(0, Mlp), None, "head"),
    "ia3 with heads": (lambda: seeded(0, Mlp), IA3, "head"),
    "dora": (lambda: seeded(0, Mlp), LoraConfig(r=2, use_dora=True, target_modules=["body"]), None),
    "vera": (lambda: seeded(0, Mlp), VeraConfig(r=2, target_modules=["body"]), None),
    "loha": (lambda: seeded(0, Mlp), LoHaConfig(r=2, target_modules=["body"]), "head"),
    "shared layer": (lambda: seeded(0, Shared), LoraConfig(r=2, target_modules=["head"]), None),
    "batch norm": (normed, LORA, None),
    "bert": (tiny_bert, LORA, None),
    "bert, last layer": (tiny_bert, None, "classifier"),
    "tied bert": (lambda: tiny_bert(masked=True), LORA, None),
    "tied gpt2": (tiny_gpt2, LORA, None),
}


def made(
    kind: str = "lora with heads", *, tasks: tuple[str, ...] = TASKS
) -> tuple[MetaPeftModel, Callable[[], nn.Module]]:
    """Return a model that has moved from its start, and what makes the model that it started from."""
    make, adapter, head = KINDS[kind]
    meta = MetaPeftModel(make(), tasks, adapter=adapter, head=head, seed=5)
    disturb(meta)
    with torch.no_grad():
        for parameter in meta.base_parameters().values():
            parameter.add_(0.1)
        for buffer in meta.buffers():
            if buffer.dtype.is_floating_point:
                buffer.add_(0.1)
    return meta, make


def saved(folder: Path, kind: str = "lora with heads", **options: Any) -> tuple[MetaPeftModel, Callable[[], nn.Module]]:
    meta, make = made(kind)
    save(meta, folder, **options)
    return meta, make


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# what is written


@pytest.mark.filterwarnings(
    "ignore:fan_in_fan_out", "ignore:Model has `tie_word_embeddings"
)  # peft's, on stock loading
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_here_and_by_stock_libraries(tmp_path: Path, kind: str) -> None:
    meta, make = saved(tmp_path / "bundle", kind)
    meta.eval()
    inputs = rows_of(make(), 3)
    loaded = load(make(), tmp_path / "bundle").eval()
    assert loaded.tasks == meta.tasks
    assert loaded.seed == 5
    base = make().eval()
    base.load_state_dict(load_file(tmp_path / "bundle" / "base.safetensors"))
    with torch.no_grad():
        for task in TASKS:
            expected = meta(inputs, task)
            assert torch.equal(loaded(inputs, task), expected)
            folder = tmp_path / "bundle" / adapter_folder(task)
            again = make()
            again.load_state_dict(base.state_dict())
            stock = PeftModel.from_pretrained(again, str(folder)).eval()
            output = stock(**inputs) if isinstance(inputs, dict) else stock(inputs)
            assert torch.equal(output if isinstance(output, Tensor) else output.logits, expected)
    assert all(torch.equal(t, base.state_dict()[name]) for name, t in loaded.base().state_dict().items())
    assert {n: p.requires_grad for n, p in loaded.named_parameters()} == {
        n: p.requires_grad for n, p in meta.named_parameters()
    }


def test_manifest_says_what_is_there(tmp_path: Path) -> None:
    saved(tmp_path / "bundle", provenance={"data": "points", "epochs": 3})
    manifest = read_manifest(tmp_path / "bundle")
    assert (manifest.tasks, manifest.head, manifest.seed, manifest.train_base) == (TASKS, "head", 5, True)
    assert manifest.provenance == {"data": "points", "epochs": 3}
    assert manifest.model == "tests.realdata.peft_ml.small_models.Mlp"
    assert manifest.versions["torch"] == torch.__version__
    assert set(manifest.versions) == {"python", "torch", "peft", "safetensors"}
    written = contents(tmp_path / "bundle")
    assert manifest.files == {n: hashlib.sha256(b).hexdigest() for n, b in written.items() if n != "manifest.json"}
    assert sorted(written) == sorted(
        [
            "base.safetensors",
            "manifest.json",
            *(
                f"adapters/{folder}/{name}"
                for folder in ("cat-deer", "v1%2E0%2F%C3%A9", "cat")
                for name in ("adapter_config.json", "adapter_model.safetensors")
            ),
        ]
    )
    assert json.loads(written["manifest.json"])["schema"] == SCHEMA


def test_sets_are_written_in_order(tmp_path: Path) -> None:
    """They have another one in every process."""
    names = ["body", "head", *(f"absent_{index}" for index in range(20))]
    meta = MetaPeftModel(seeded(0, Mlp), ["a"], adapter=LoraConfig(target_modules=names), seed=0)
    save(meta, tmp_path / "bundle")
    written = json.loads((tmp_path / "bundle" / "adapters" / "a" / "adapter_config.json").read_text())
    assert written["target_modules"] == sorted(names)


def test_transformers_version_is_recorded_for_its_models(tmp_path: Path) -> None:
    meta = MetaPeftModel(tiny_bert(), ["a"], adapter=LORA, seed=0)
    save(meta, tmp_path / "bundle")
    assert "transformers" in read_manifest(tmp_path / "bundle").versions


def test_saving_leaves_the_model_alone(tmp_path: Path) -> None:
    meta, _ = made()
    before = {name: (p.detach().clone(), p.requires_grad) for name, p in meta.named_parameters()}
    text = repr(meta.config_of("cat"))
    save(meta, tmp_path / "bundle")
    assert repr(meta.config_of("cat")) == text
    assert all(torch.equal(p, before[n][0]) and p.requires_grad == before[n][1] for n, p in meta.named_parameters())


# what is refused


def damage(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(bytes(data))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")


BREAKAGES: list[tuple[Callable[[Path], object], str]] = [
    (lambda f: damage(f, "base.safetensors"), "base.safetensors is damaged, its SHA-256 is not that of the manifest"),
    (
        lambda f: damage(f, "adapters/cat/adapter_model.safetensors"),
        "adapters/cat/adapter_model.safetensors is damaged",
    ),
    (lambda f: damage(f, "adapters/cat/adapter_config.json"), "adapters/cat/adapter_config.json is damaged"),
    (lambda f: (f / "base.safetensors").write_bytes(b""), "base.safetensors is damaged"),
    (lambda f: (f / "base.safetensors").unlink(), "base.safetensors cannot be read (No such file or directory)"),
    (lambda f: (f / "adapters/cat/adapter_config.json").unlink(), "adapter_config.json cannot be read"),
    (lambda f: (f / "manifest.json").unlink(), "is no bundle, manifest.json cannot be read"),
    (lambda f: (f / "manifest.json").write_text("{"), "manifest.json is damaged, it holds no JSON"),
    (lambda f: (f / "manifest.json").write_bytes(b"\xff"), "manifest.json is damaged, it holds no JSON"),
    (lambda f: (f / "manifest.json").write_text("[" * 100_000), "manifest.json is damaged, it holds no JSON"),
    (lambda f: (f / "manifest.json").write_text("[]"), "manifest.json has the schema None, expected 'loraml"),
    (lambda f: rewrite(f, lambda m: m.update(schema="other/2")), "manifest.json has the schema 'other/2', expected"),
    (lambda f: rewrite(f, lambda m: m.pop("seed")), "manifest.json is damaged, seed is nothing, expected int"),
    (lambda f: rewrite(f, lambda m: m.update(seed=True)), "manifest.json is damaged, seed is bool, expected int"),
    (lambda f: rewrite(f, lambda m: m.update(tasks="cat")), "manifest.json is damaged, tasks is str, expected list"),
    (lambda f: rewrite(f, lambda m: m.update(tasks=[])), "manifest.json is damaged, tasks are []"),
    (lambda f: rewrite(f, lambda m: m.update(tasks=["cat", 3])), "manifest.json is damaged, tasks are ['cat', 3]"),
    (
        lambda f: rewrite(f, lambda m: m["tasks"].append("../../etc")),
        "%2E%2E%2F%2E%2E%2Fetc/adapter_config.json is not listed",
    ),
    (lambda f: rewrite(f, lambda m: m["tasks"].append("x" * 300)), "is too long to name a folder"),
    (lambda f: rewrite(f, lambda m: m["files"].update({"../x": "0"})), "../x is listed, but belongs to no task"),
    (lambda f: rewrite(f, lambda m: m["files"].pop("base.safetensors")), "base.safetensors is not listed"),
    (lambda f: rewrite(f, lambda m: m["files"].update({"base.safetensors": 3})), "base.safetensors is damaged"),
    (lambda f: rewrite(f, lambda m: m.update(head="tail")), "its adapters do not fit the model: head: got 'tail'"),
]


@pytest.mark.parametrize(("breakage", "text"), BREAKAGES, ids=[str(index) for index in range(len(BREAKAGES))])
def test_a_damaged_bundle_is_refused_in_one_clear_line(
    tmp_path: Path, breakage: Callable[[Path], object], text: str
) -> None:
    folder = tmp_path / "bundle"
    _, make = saved(folder)
    breakage(folder)
    with pytest.raises(BundleError) as caught:
        load(make(), folder)
    assert text in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


class Wider(nn.Module):
    """An Mlp with another head."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 8), nn.Linear(8, 3)


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (lambda: seeded(0, Wider), "its base has head.bias as (2,) of float64, the model has it as (3,) of float64"),
        (lambda: seeded(0, TokenMixer), "its base has body.bias as (8,) of float64, the model has it not at all"),
        (lambda: seeded(0, Mlp).float(), "has body.bias as (8,) of float64, the model has it as (8,) of float32"),
        (normed, "its base has norm.bias not at all, the model has it as (8,)"),
    ],
)
def test_another_model_is_refused(tmp_path: Path, other: Callable[[], nn.Module], text: str) -> None:
    saved(tmp_path / "bundle")
    with pytest.raises(BundleError) as caught:
        load(other(), tmp_path / "bundle")
    assert text in str(caught.value)


def test_adapters_are_refused_upon_another_base(tmp_path: Path) -> None:
    meta, make = saved(tmp_path / "bundle")
    with pytest.raises(BundleError, match="adapters belong to another base than the one that the model has"):
        load(make(), tmp_path / "bundle", keep_base=True)
    loaded = load(meta.base(), tmp_path / "bundle", keep_base=True)
    inputs = rows_of(make(), 2)
    assert torch.equal(loaded(inputs, "cat"), meta(inputs, "cat"))
    moved = meta.base()
    with torch.no_grad():
        moved.get_parameter("body.bias")[0].nextafter_(torch.tensor(1e9).double())  # by one bit
    with pytest.raises(BundleError, match="another base"):
        load(moved, tmp_path / "bundle", keep_base=True)


def test_loading_leaves_the_model_given_alone(tmp_path: Path) -> None:
    _, make = saved(tmp_path / "bundle")
    model = make()
    load(model, tmp_path / "bundle")
    assert all(torch.equal(p, make().state_dict()[name]) for name, p in model.state_dict().items())


@pytest.mark.parametrize(
    ("tasks", "provenance", "kind", "text"),
    [
        (("x" * 300,), None, ValueError, "too long to name a folder"),
        (("a",), {"data": {1, 2}}, TypeError, "not JSON serializable"),
        (("a",), {"loss": float("nan")}, ValueError, "JSON"),
    ],
)
def test_what_cannot_be_saved(tmp_path: Path, tasks: Any, provenance: Any, kind: type[Exception], text: str) -> None:
    meta, _ = made(tasks=tasks)
    with pytest.raises(kind, match=text):
        save(meta, tmp_path / "bundle", provenance=provenance)
    assert list(tmp_path.iterdir()) == []


class WithExtraState(Mlp):
    """Has a state that is no tensor."""

    def get_extra_state(self) -> dict[str, int]:
        return {"steps": 3}

    def set_extra_state(self, state: Any) -> None:
        pass


def test_a_state_that_is_no_tensor(tmp_path: Path) -> None:
    meta = MetaPeftModel(seeded(0, WithExtraState), ["a"], adapter=LORA, seed=0)
    with pytest.raises(TypeError, match="its state has _extra_state of dict, expected tensors only"):
        save(meta, tmp_path / "bundle")


# whole or not at all


def test_an_older_bundle_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    saved(folder)
    later, make = made("lora", tasks=("other",))
    save(later, folder)
    assert {path.name for path in (folder / "adapters").iterdir()} == {"other"}
    assert list(tmp_path.iterdir()) == [folder]
    inputs = rows_of(make(), 2)
    assert torch.equal(load(make(), folder)(inputs, "other"), later(inputs, "other"))


def test_other_folders_are_not_replaced(tmp_path: Path) -> None:
    meta, _ = made()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "manifest.json").write_text("{}")
    with pytest.raises(FileExistsError, match="is there and is no bundle to replace"):
        save(meta, tmp_path / "thesis")
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileExistsError, match="is there and is no bundle to replace"):
        save(meta, tmp_path / "file")
    (tmp_path / "empty").mkdir()
    save(meta, tmp_path / "empty")
    save(meta, tmp_path / "deep" / "below")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "empty", "file", "thesis"]


@pytest.mark.parametrize("written_before", [0, 1, 3, 5])
def test_a_full_disk_loses_no_older_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written_before: int
) -> None:
    folder = tmp_path / "bundle"
    saved(folder)
    before, left = contents(folder), written_before

    def write_bytes(path: Path, data: bytes) -> int:
        nonlocal left
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))
        left -= 1
        with path.open("wb") as file:
            return file.write(data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    meta, _ = made("lora", tasks=("a", "b", "c", "d", "e"))
    with pytest.raises(OSError, match="No space left on device"):
        save(meta, folder)
    assert contents(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_is_really_full() -> None:
    with pytest.raises(OSError, match="No space left on device"):
        bundle._write_tensors(Path("/dev/full"), {"x": torch.ones(100_000)})


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


def test_a_bundle_left_under_its_other_name_is_still_read(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    meta, make = saved(folder)
    folder.rename(tmp_path / ".bundle.old")
    inputs = rows_of(make(), 2)
    assert torch.equal(load(make(), folder)(inputs, "cat"), meta(inputs, "cat"))
    save(meta, folder)
    assert list(tmp_path.iterdir()) == [folder]


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    meta, make = made()
    save(meta, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert load(make(), tmp_path / "real").tasks == TASKS
