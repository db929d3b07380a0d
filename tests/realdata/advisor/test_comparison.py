"""What people have is compared as far as it goes: wrapped, sharded, with other heads, with experts, tied."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from loraml_theory.harness.errors import InputError
from realdata.advisor.advising import advise
from realdata.advisor.document import document
from realdata.advisor.layer import AdviceSettings
from realdata.advisor.merging import TensorWriter, written_weights
from realdata.advisor.tasks import open_tasks
from realdata.advisor.tensor_files import Described
from tests.realdata.advisor.networks import State, states, write

FEW = AdviceSettings(draws=9)
WRAPPERS = ("", "module.", "_orig_mod.", "_fsdp_wrapped_module.")


def pickled(folder: Path, tasks: list[State]) -> list[str]:
    """Write state dicts in which one tensor may have several names; return them as words."""
    for t, state in enumerate(tasks):
        torch.save(state, folder / f"{t}.bin")
    return [f"t{t}={folder / f'{t}.bin'}" for t in range(len(tasks))]


def test_wrappers_are_no_part_of_a_name(tmp_path: Path) -> None:
    plain = states(0)[1:]
    wrapped = [{prefix + name: W for name, W in state.items()} for prefix, state in zip(WRAPPERS, plain, strict=True)]
    tasks = open_tasks(write(tmp_path, wrapped))
    assert set(tasks.described) == set(plain[0])
    assert tasks.notes == ("t1: weights are compared without the prefix 'module.'.",)
    for t, state in enumerate(plain):
        assert np.array_equal(tasks.tasks[t].rows("one.weight", slice(None)), state["one.weight"].numpy())
    doubled = [{"w": torch.ones(3, 3), "_orig_mod.w": torch.ones(3, 3)}] * 2
    with pytest.raises(InputError, match=r"has '_orig_mod\.w' and 'w', two names of one weight"):
        open_tasks(write(tmp_path, doubled))


def test_heads_and_buffers_that_differ_are_listed_and_not_written(tmp_path: Path) -> None:
    tasks = states(1)[1:]
    for t, state in enumerate(tasks):
        state["head.weight"] = torch.ones(2 + t % 2, 16)
        if t == 0:
            state["inv_freq"] = torch.ones(6)
    found = advise(open_tasks(write(tmp_path, tasks)), AdviceSettings(draws=19), write_base=tmp_path / "w.safetensors")
    told = document(found)
    left = {skip["name"]: skip["reason"] for skip in told["skipped"] if not skip["compared"]}
    assert left == {
        "head.weight": "has other shapes: 2 × 16 in t0 and t2, 3 × 16 in t1 and t3",
        "inv_freq": "is not in all tasks: only t0 has it",
    }
    assert set(told["unwritten"]) == set(left)
    assert load_file(tmp_path / "w.safetensors").keys() == states(1)[1].keys()
    assert "2 weights, such as head.weight, cannot be compared" in " ".join(told["overall"]["cannot_tell"])
    assert told["overall"]["verdict"] == "cannot tell"  # without the base of the tasks


def test_experts_are_a_matrix_each(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    base, name = torch.randn(3, 16, 16, generator=draw), "layers.0.mlp.experts.gate_up_proj"

    def shift() -> torch.Tensor:
        return torch.randn(3, 16, 1, generator=draw) @ torch.randn(3, 1, 16, generator=draw)

    fused = [{name: base + shift(), "router.weight": torch.ones(3, 16)} for _ in range(4)]
    (tmp_path / "split").mkdir()
    split = [{f"layers.0.mlp.experts.{e}.up.weight": state[name][e].clone() for e in range(3)} for state in fused]
    found = advise(open_tasks(write(tmp_path, fused)), FEW, write_base=tmp_path / "w.safetensors")
    each = advise(open_tasks(write(tmp_path / "split", split)), FEW)
    experts = [layer for layer in found.layers if name in layer.name]
    assert [layer.name for layer in experts] == [f"{name}[{e}]" for e in range(3)]
    assert [(layer.shape, layer.shift_rank.k) for layer in experts] == [((16, 16), 1)] * 3
    assert [layer.energy for layer in experts] == [layer.energy for layer in each.layers]
    written = load_file(tmp_path / "w.safetensors")[name]
    assert written.shape == base.shape
    assert float((written - base).norm()) < 1e-4 * float(base.norm())


def test_a_tensor_of_experts_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    tasks = [{"mlp.experts.up": torch.randn(2 + t, 8, 8), "w": torch.randn(8, 8)} for t in range(3)]
    found = open_tasks(write(tmp_path, tasks))
    assert {"mlp.experts.up[0]", "mlp.experts.up[1]"} <= set(found.described)
    assert set(written_weights(found)) == {"mlp.experts.up[0]", "mlp.experts.up[1]", "w"}
    reordered = open_tasks([f"{n}={tmp_path / f'{n}.safetensors'}" for n in (2, 0, 1)])
    assert set(written_weights(reordered)) == {"w"}
    advice = advise(reordered, FEW, write_base=tmp_path / "w.safetensors")
    assert load_file(tmp_path / "w.safetensors").keys() == {"w"}
    assert {"mlp.experts.up[0]", "mlp.experts.up[1]", "mlp.experts.up[2]"} <= set(advice.unwritten)
    assert len(advice.layers) == 3


@pytest.mark.parametrize("table", ["embed_tokens.weight", "first.weight"])
def test_tied_weights_stay_tied(tmp_path: Path, table: str) -> None:
    """What is one in every task is one in the base: a table with its head, or a layer that is used twice."""
    tasks = states(2)[1:]
    for state in tasks:
        state[table] = state.pop("one.weight")
        state["lm_head.weight"] = state[table].clone()
    found = advise(open_tasks(pickled(tmp_path, tasks)), FEW, write_base=tmp_path / "w.safetensors")
    written = load_file(tmp_path / "w.safetensors")
    assert torch.equal(written[table], written["lm_head.weight"])
    reasons = {skip.name: skip.reason for skip in found.skipped}
    assert reasons["lm_head.weight"] == f"is tied to {table}: the same numbers in every task"
    assert [layer.name for layer in found.layers] == (["two.weight"] if "embed" in table else ["two.weight", table])


def test_what_is_equal_in_one_task_only_or_constant_is_not_tied(tmp_path: Path) -> None:
    tasks = states(3, T=2)[1:]
    for t, state in enumerate(tasks):
        state["other.weight"] = state["one.weight"].clone() if t == 0 else torch.randn(24, 16)
        state["zero.weight"], state["zeros.weight"] = torch.zeros(9, 9), torch.zeros(9, 9)
    assert not open_tasks(write(tmp_path, tasks)).tied


def test_a_base_that_is_not_read_back_as_it_was_written_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = open_tasks(write(tmp_path, states(4, T=2)[1:]))
    monkeypatch.setattr("realdata.advisor.merging._checksum", lambda *_: 0)
    with pytest.raises(OSError, match="the content read back differs from the content written"):
        advise(tasks, FEW, write_base=tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()
    assert not list(tmp_path.glob(".*"))


def test_what_was_not_announced_is_not_written(tmp_path: Path) -> None:
    announced = {"w": (Described((2, 2), torch.float32), ("w",))}
    with (tmp_path / "w").open("wb") as file:
        for name, tensor in {"v": torch.ones(2, 2), "w": torch.ones(3, 2)}.items():
            with pytest.raises(AssertionError, match="differs from the announced"):
                TensorWriter(file, announced).write(name, tensor)
        with pytest.raises(AssertionError, match="w: was not written"):
            TensorWriter(file, announced).finish()
