"""What tasks may be given as, and the one line that says what is wrong with them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from loraml_theory.harness.errors import InputError
from realdata.advisor.checkpoints import open_checkpoint
from realdata.advisor.tasks import open_tasks, why_not
from realdata.peft_ml.manifest import Manifest, file_digest
from tests.realdata.advisor.networks import adapter, drawn_adapter, planted, states, write


def test_safetensors_torch_and_shards_give_the_same(tmp_path: Path) -> None:
    _, state, other = states(0, T=2)
    save_file(state, str(tmp_path / "a.safetensors"))
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "b.pt")
    torch.save(state, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    shards = tmp_path / "shards"
    shards.mkdir()
    names = {"one.weight": "1.safetensors"} | {n: "2.safetensors" for n in state if n != "one.weight"}
    for shard in set(names.values()):
        save_file({n: W for n, W in state.items() if names[n] == shard}, str(shards / shard))
    (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    for shard in set(names.values()):
        torch.save({n: W for n, W in state.items() if names[n] == shard}, pickled / shard.replace("safetensors", "bin"))
    listed = {n: shard.replace("safetensors", "bin") for n, shard in names.items()}
    (pickled / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": listed}))
    single = tmp_path / "single"
    single.mkdir()
    save_file(state, str(single / "model.safetensors"))
    for path in ("a.safetensors", "b.pt", "old.bin", "shards", "pickled", "single"):
        file = open_checkpoint(tmp_path / path)
        assert set(file.tensors) == set(state)
        assert torch.equal(file.read("one.weight", slice(3, 9)), state["one.weight"][3:9])
    assert other.keys() == state.keys()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_rows_in_every_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    tasks = open_tasks(planted(tmp_path, T=2, dtype=dtype))
    rows = tasks.tasks[0].rows("one.weight", slice(2, 5))
    assert rows.dtype == (np.float64 if dtype is torch.float64 else np.float32)
    assert np.array_equal(rows, states(0, T=2, dtype=dtype)[1]["one.weight"][2:5].to(torch.float64).numpy())


def bundle(folder: Path) -> Path:
    """Write a bundle of two adapters by hand."""
    folder.mkdir()
    save_file(states(0)[0], str(folder / "base.safetensors"))
    for i, name in enumerate(("cat-dog", "a%2Fb")):
        drawn_adapter(folder / "adapters" / name, i, base_model_name_or_path=None)
    tasks = ("cat-dog", "a/b")
    files = {path.as_posix(): file_digest(folder / path) for path in Manifest.paths(tasks)}
    manifest = Manifest(tasks, None, 0, True, "Model", "", files, {}, {})
    (folder / "manifest.json").write_text(manifest.to_json())
    return folder


def test_a_bundle_gives_its_tasks(tmp_path: Path) -> None:
    base, folder = states(0)[0], bundle(tmp_path / "bundle")
    tasks = open_tasks([f"x={folder}"])
    assert tasks.names == ("x/cat-dog", "x/a/b")
    assert tasks.common
    assert tasks.by_factors("one.weight")
    assert set(tasks.described) == {"one.weight", "two.weight"}
    U, V = tasks.tasks[1].adapter.factors("one.weight")  # type: ignore[union-attr]
    W = tasks.tasks[1].rows("one.weight", slice(0, 24))
    assert np.allclose(W, base["one.weight"].numpy() + U @ V.T, atol=1e-5)


def test_a_bundle_whose_files_are_not_those_of_its_manifest_is_refused(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "bundle")
    save_file(states(1)[0], str(folder / "base.safetensors"))
    with pytest.raises(InputError, match=r"base\.safetensors is damaged, its SHA-256 is not that of the manifest"):
        open_tasks([f"x={folder}"])
    (folder / "base.safetensors").unlink()
    with pytest.raises(InputError, match=r"base\.safetensors: cannot be read"):
        open_tasks([f"x={folder}"])
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="has the schema None, expected"):
        open_tasks([f"x={folder}"])


def test_adapters_and_checkpoints_mix_on_a_given_base(tmp_path: Path) -> None:
    words, base = planted(tmp_path, T=2), tmp_path / "base.safetensors"
    _, state, _ = states(0, T=2)
    save_file(state, str(base))  # of the architecture of the tasks
    words.append(f"l={drawn_adapter(tmp_path / 'l', 0)}")
    tasks = open_tasks(words, base=base)
    assert not tasks.common
    assert tasks.under is None
    assert tasks.adapter_rank("one.weight") is None
    with pytest.raises(InputError, match="l: is an adapter and others are checkpoints, expected its base as --base"):
        open_tasks(words)


def changed(tmp_path: Path, **changes: torch.Tensor | None) -> list[str]:
    """Return two tasks, of which the second has some tensors replaced or taken away."""
    words, state = planted(tmp_path, T=2), states(0, T=2)[2]
    for name, value in changes.items():
        name = name.replace("__", ".")
        if value is None:
            del state[name]
        else:
            state[name] = value
    save_file(state, str(tmp_path / "1.safetensors"))
    return words


@pytest.mark.parametrize(
    ("changes", "name", "reason"),
    [
        ({"one__weight": None}, "one.weight", "is not in all tasks: only t0 has it"),
        ({"more__weight": torch.ones(2, 2)}, "more.weight", "is not in all tasks: only t1 has it"),
        ({"one__weight": torch.ones(24, 17)}, "one.weight", "has other shapes: 24 × 16 in t0, 24 × 17 in t1"),
        (
            {"one__weight": torch.ones(24, 16, dtype=torch.int64)},
            "one.weight",
            "holds other numbers: torch.float32 in t0, torch.int64 in t1",
        ),
    ],
)
def test_what_does_not_fit_is_left_out_with_the_reason(
    tmp_path: Path, changes: dict[str, Any], name: str, reason: str
) -> None:
    tasks = open_tasks(changed(tmp_path, **changes))
    assert [(each.name, each.reason) for each in tasks.left_out] == [(name, reason)]
    assert "two.weight" in tasks.described
    assert name not in tasks.described


def test_tasks_that_have_nothing_in_common_are_refused(tmp_path: Path) -> None:
    words = write(tmp_path, [{"a.weight": torch.ones(3, 3)}, {"b.weight": torch.ones(3, 3)}])
    with pytest.raises(InputError, match=r"no weight that can be compared: 'a\.weight' is not in all tasks: only t0"):
        open_tasks(words)


def test_layers_are_left_out_by_a_pattern_that_fits_one(tmp_path: Path) -> None:
    words = planted(tmp_path, T=2)
    tasks = open_tasks(words, ignore=["one.*", "emb?d*"])
    assert {each.name: each.reason for each in tasks.left_out} == {
        "one.weight": "is left out by --ignore 'one.*'",
        "one.bias": "is left out by --ignore 'one.*'",
        "embed_tokens.weight": "is left out by --ignore 'emb?d*'",
    }
    assert set(tasks.described) == {"two.weight", "steps"}
    with pytest.raises(InputError, match=r"--ignore: 'ONE\.\*' does not match a weight"):
        open_tasks(words, ignore=["ONE.*"])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["t0"], "'t0': expected NAME=PATH"),
        (["=x"], "'=x': expected NAME=PATH"),
        (["a="], "'a=': expected NAME=PATH"),
        (["a\x1b[2J\n=0.safetensors"], "expected NAME=PATH"),
        ([], "got no task"),
        (["a=0.safetensors"], "got a single task, expected NAME=PATH for at least two"),
        (["a=0.safetensors", "a=1.safetensors"], "a: occurs 2 times, expected a different name"),
        (["a=0.safetensors", "b=./0.safetensors"], "expected another checkpoint"),
        (["a=0.safetensors", "b=gone.safetensors"], "gone.safetensors: does not exist, expected a file or folder"),
        (["a=0.safetensors", "b=."], "expected one safetensors file in it"),
    ],
)
def test_words_that_are_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], text: str) -> None:
    planted(tmp_path, T=2)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as raised:
        open_tasks(words)
    assert text in str(raised.value)
    assert "\n" not in str(raised.value)


class Bomb:
    """Unpickled, it would write a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("exploded"),)


def test_pickled_objects_are_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = planted(tmp_path, T=2)
    torch.save({"one.weight": Bomb()}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Bomb()))
    (tmp_path / "garbage.pt").write_bytes(b"\x00garbage" * 100)
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "numbers.pt")
    for name in ("zip", "plain", "garbage", "empty", "list", "numbers"):
        with pytest.raises(InputError) as raised:
            open_tasks([*words, f"x={tmp_path / f'{name}.pt'}"])
        assert "\n" not in str(raised.value)
        assert f"{name}.pt" in str(raised.value)
    assert not Path("exploded").exists()


def test_damaged_shards_are_refused(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    listed: list[tuple[str, str]] = [
        ("{", "is not JSON"),
        ("[" * 100_000, "is nested too deeply"),
        ("[]", "is damaged, expected a JSON object with a weight_map"),
        (json.dumps({"weight_map": {"w": None}}), "is damaged, expected a JSON object with a weight_map"),
        (json.dumps({"weight_map": {"w": "gone.safetensors"}}), "cannot be read"),
        (json.dumps({"weight_map": {"w": "../w.safetensors"}}), r"'\.\./w\.safetensors', expected names of files in"),
        (json.dumps({"weight_map": {"w": "/dev/zero"}}), "expected names of files in the same folder"),
    ]
    for text, said in listed:
        index.write_text(text)
        with pytest.raises(InputError, match=said):
            open_checkpoint(tmp_path)
    index.write_text(json.dumps({"weight_map": {"w": "v.safetensors"}}))
    save_file({"v": torch.ones(2)}, str(tmp_path / "v.safetensors"))
    with pytest.raises(InputError, match="which lacks it"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("dtype", ["F4", "X9"])
def test_dtypes_that_are_not_known_are_refused(tmp_path: Path, dtype: str) -> None:
    header = json.dumps({"w": {"dtype": dtype, "shape": [2, 2], "data_offsets": [0, 2]}}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"00")
    with pytest.raises(InputError) as raised:
        open_checkpoint(path)
    assert dtype in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "reason"),
    [
        ("layer.weight", (4, 5), torch.bfloat16, None),
        ("patch_embed.proj.weight", (8, 3, 4, 4), torch.float32, None),
        ("embeddings.word_embeddings.weight", (50, 8), torch.float32, "embedding"),
        ("wte.weight", (50, 8), torch.float32, "embedding"),
        ("layer.bias", (4,), torch.float32, "not a matrix"),
        ("head.weight", (1, 9), torch.float32, "single row"),
        ("pos_embed", (1, 9, 8), torch.float32, "single row"),
        ("mask", (4, 4), torch.int64, "not hold floating-point"),
        ("empty.weight", (0, 5), torch.float32, "single row"),
        ("conv.weight", (8, 4, 3), torch.float32, None),
        ("mixer.weight", (4, 24, 24), torch.float32, "neither a convolution nor experts"),
        ("experts.gate_up_proj_bias", (4, 24), torch.float32, "is a bias"),
        ("ffn.experts.mlp.w1", (96, 24), torch.float32, "holds experts in one matrix"),
        ("experts.3.w1.weight", (96, 24), torch.float32, None),
        ("mixer.A_log", (24, 8), torch.float32, "logarithm"),
        ("conv.weight_v", (8, 4, 3), torch.float32, "a part from which a weight is computed"),
        ("conv.parametrizations.weight.original1", (8, 4, 3), torch.float32, "a part from which a weight is computed"),
        ("bins.relative_position_bias_table", (49, 4), torch.float32, "embedding"),
        ("six.weight", (2, 2, 2, 2, 2, 2), torch.float32, "has 6 axes"),
    ],
)
def test_what_is_analysed(
    tmp_path: Path, name: str, shape: tuple[int, ...], dtype: torch.dtype, reason: str | None
) -> None:
    found = why_not(open_tasks(write(tmp_path, [{name: torch.ones(shape, dtype=dtype)}] * 2)), name)
    assert (found is None) == (reason is None)
    assert (reason or "") in (found or "")


def test_an_embedding_by_its_name_is_a_map_if_it_has_a_bias_or_is_adapted_as_one(tmp_path: Path) -> None:
    state = {
        "embedding.weight": torch.ones(6, 5),
        "embedding.bias": torch.ones(6),
        "embed_tokens.weight": torch.ones(9, 6),
    }
    tasks = open_tasks(write(tmp_path, [state] * 2))
    assert why_not(tasks, "embedding.weight") is None
    assert "has no bias" in str(why_not(tasks, "embed_tokens.weight"))
    factors = {"embedding": (torch.ones(2, 5), torch.ones(6, 2))}
    adapted = open_tasks([f"{n}={adapter(tmp_path / n, factors)}" for n in "ab"])
    assert why_not(adapted, "embedding.weight") is None


def test_a_file_larger_than_memory_is_one_line(tmp_path: Path) -> None:
    """A terabyte that takes no place on the disk; where it can be mapped, its header is no header."""
    save_file({"a.weight": torch.zeros(2, 2)}, str(tmp_path / "a.safetensors"))
    with (tmp_path / "a.safetensors").open("r+b") as file:
        file.truncate(2**41)
    with pytest.raises(InputError, match=r"a\.safetensors: (cannot be read|is not a safetensors file)"):
        open_checkpoint(tmp_path / "a.safetensors")
