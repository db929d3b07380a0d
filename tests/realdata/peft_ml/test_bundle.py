"""What is written, by whom it can be read, and that it is there as a whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file
from torch import Tensor

from realdata.peft_ml import bundle
from realdata.peft_ml.bundle import load, read_manifest, save
from realdata.peft_ml.manifest import SCHEMA, adapter_folder
from realdata.peft_ml.meta_model import MetaPeftModel
from tests.realdata.peft_ml.bundles import KINDS, LORA, TASKS, contents, made, saved
from tests.realdata.peft_ml.small_models import Mlp, rows_of, seeded, tiny_bert

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
            by_peft = meta.peft(**inputs) if isinstance(inputs, dict) else meta.peft(inputs)  # with the same adapter
            by_peft = by_peft if isinstance(by_peft, Tensor) else by_peft.logits
            torch.testing.assert_close(expected, by_peft, rtol=1e-12, atol=1e-12)  # other sums: rounding alone
            folder = tmp_path / "bundle" / adapter_folder(task)
            again = make()
            again.load_state_dict(base.state_dict())
            stock = PeftModel.from_pretrained(again, str(folder)).eval()
            output = stock(**inputs) if isinstance(inputs, dict) else stock(inputs)
            assert torch.equal(output if isinstance(output, Tensor) else output.logits, by_peft)
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
    assert manifest.versions["torch"] == version("torch")
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
    with pytest.raises(
        FileExistsError, match="is not a bundle, expected a bundle to replace, an empty folder or a new name"
    ):
        save(meta, tmp_path / "thesis")
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        FileExistsError, match="is not a bundle, expected a bundle to replace, an empty folder or a new name"
    ):
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
