"""What is no bundle, damaged, or of another model is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from realdata.peft_ml.bundle import BundleError, load, save
from realdata.peft_ml.meta_model import MetaPeftModel
from tests.realdata.peft_ml.bundles import LORA, made, normed, saved
from tests.realdata.peft_ml.small_models import Mlp, TokenMixer, rows_of, seeded


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
    (lambda f: (f / "base.safetensors").unlink(), "base.safetensors: cannot be read (No such file or directory)"),
    (lambda f: (f / "adapters/cat/adapter_config.json").unlink(), "adapter_config.json: cannot be read"),
    (
        lambda f: (f / "manifest.json").unlink(),
        "manifest.json: cannot be read (No such file",
    ),
    (lambda f: (f / "manifest.json").write_text("{"), "manifest.json: is not JSON: "),
    (lambda f: (f / "manifest.json").write_bytes(b"\xff"), "manifest.json: is not UTF-8 (byte 0)"),
    (lambda f: (f / "manifest.json").write_text("[" * 100_000), "manifest.json: is nested too deeply"),
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
