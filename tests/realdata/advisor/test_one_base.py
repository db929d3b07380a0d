"""Adapters of real models on the base as it is saved: names, prefixes, tied heads and Conv1D are understood."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from loraml_theory.harness.errors import InputError
from realdata.advisor.advising import advise
from realdata.advisor.layer import AdviceSettings
from realdata.advisor.tasks import Tasks, open_tasks
from tests.realdata.advisor.networks import State, adapter, drawn_adapter, states

FEW = AdviceSettings(draws=9)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Keep peft's and transformers' advice out of what is an error here."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("peft")
    transformers.logging.set_verbosity_error()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TQDM_DISABLE", "1")
        yield


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn, self.out = nn.MultiheadAttention(24, 2), nn.Linear(24, 24)
        self.conv = nn.Conv1d(6, 8, 3)


def gpt2(**config: Any) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes: dict[str, Any] = {"n_embd": 24, "n_layer": 1, "n_head": 2, "vocab_size": 40, "n_positions": 16}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=1, **config))


def llama(**config: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes: dict[str, Any] = {
        "hidden_size": 24,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    return LlamaForCausalLM(LlamaConfig(**sizes, num_key_value_heads=2, vocab_size=40, **config))


def adapted(folder: Path, model: nn.Module, **config: Any) -> tuple[list[str], list[State]]:
    """Save two adapters of a model by peft; return them as words, and what peft merges."""
    import warnings

    from peft import LoraConfig, get_peft_model

    words, merged = [], []
    for seed, task in enumerate("ab"):
        torch.manual_seed(seed)
        with warnings.catch_warnings(action="ignore"):
            found = get_peft_model(copy.deepcopy(model), LoraConfig(**{"r": 2, "init_lora_weights": False, **config}))
            found.save_pretrained(str(folder / task))
            merged.append(found.merge_and_unload().state_dict())
        words.append(f"{task}={folder / task}")
    return words, merged


def saved(folder: Path, state: State) -> Path:
    save_file({name: W.clone().contiguous() for name, W in state.items()}, str(folder / "base.safetensors"))
    return folder / "base.safetensors"


def furthest(tasks: Tasks, merged: list[State], prefix: str = "") -> float:
    """Return how far any weight is from what peft merges, at most."""
    gaps = [0.0]
    for t, state in enumerate(merged):
        for name in tasks.described:
            W = state[name if name in state else prefix + name]
            if W.ndim > 1:
                gaps.append(float(np.abs(tasks.tasks[t].rows(name, slice(None)) - W.flatten(1).numpy()).max()))
    return max(gaps)


def test_each_weight_of_an_adapter_is_turned_as_its_base_keeps_it(tmp_path: Path) -> None:
    """peft's one fan_in_fan_out is that of lm_head here, and wrong for every Conv1D, square or not."""
    torch.manual_seed(0)
    model = gpt2(tie_word_embeddings=False)
    words, merged = adapted(tmp_path, model, target_modules=["c_attn", "c_proj", "c_fc", "wte", "lm_head"])
    assert json.loads((tmp_path / "a" / "adapter_config.json").read_text())["fan_in_fan_out"] is False
    tasks = open_tasks(words, base=saved(tmp_path, model.state_dict()))
    assert len(tasks.described) == 6
    assert furthest(tasks, merged) < 1e-5


def test_a_base_without_the_prefix_of_its_head(tmp_path: Path) -> None:
    """As on the hub for gpt2: the head is tied, and its weight the table's."""
    torch.manual_seed(0)
    model = gpt2()
    words, merged = adapted(tmp_path, model, target_modules=["c_attn", "c_proj"])
    tasks = open_tasks(words, base=saved(tmp_path, model.transformer.state_dict()))
    assert set(tasks.described) == {f"h.0.{name}.weight" for name in ("attn.c_attn", "attn.c_proj", "mlp.c_proj")}
    assert furthest(tasks, merged, "transformer.") < 1e-5
    assert tasks.notes[0] == "a: weights are compared without the prefix 'transformer.'."


def test_a_head_that_is_a_table_in_the_base(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = llama(tie_word_embeddings=True)
    state = {name: W for name, W in model.state_dict().items() if name != "lm_head.weight"}
    base = saved(tmp_path, state)
    factors = {
        "lm_head": (torch.randn(2, 24), torch.randn(40, 2)),
        "model.norm_q": (torch.ones(2, 4), torch.ones(4, 2)),
    }
    words = [f"{n}={adapter(tmp_path / n, factors)}" for n in "ab"]
    tasks = open_tasks(words, base=base)
    A, B = factors["lm_head"]
    expected = state["model.embed_tokens.weight"] + B @ A
    assert np.allclose(tasks.tasks[0].rows("lm_head.weight", slice(None)), expected.numpy(), atol=1e-5)
    tied, elsewhere = tasks.notes
    assert tied.startswith(
        "lm_head.weight is tied to model.embed_tokens.weight in the base, and adapters change it alone"
    )
    assert elsewhere.startswith("model.norm_q.weight: not in the base under that name, so compared by adapters alone")
    found = advise(tasks, FEW, write_base=tmp_path / "w.safetensors")
    assert found.unwritten == ("model.norm_q.weight",)
    assert {*load_file(tmp_path / "w.safetensors")} == {*state, "lm_head.weight"}


@pytest.mark.parametrize("targets", [["q_proj", "lm_head"], ["q_proj", "embed_tokens"]])
def test_adapted_tables_and_heads_are_those_that_peft_merges(tmp_path: Path, targets: list[str]) -> None:
    """peft saves the table itself beside the factors; it is the base's, and was not trained."""
    torch.manual_seed(0)
    model = llama(tie_word_embeddings=False)
    words, merged = adapted(tmp_path, model, target_modules=targets, lora_alpha=6)
    tasks = open_tasks(words, base=saved(tmp_path, model.state_dict()))
    assert len(tasks.described) == 2
    assert furthest(tasks, merged) < 1e-5
    found = advise(tasks, FEW, write_base=tmp_path / "w.safetensors")
    for name, W in load_file(tmp_path / "w.safetensors").items():
        assert torch.allclose(W, (merged[0][name] + merged[1][name]) / 2, atol=1e-5)
    assert [skip.reason for skip in found.skipped] == (
        ["is an embedding that adapters change: a table, not a linear map"] if "embed_tokens" in targets else []
    )


def test_multi_head_attention(tmp_path: Path) -> None:
    """Merged by peft up to 0.21 the output has its shift twice, which is said; the adapter has it once."""
    torch.manual_seed(0)
    model = Attention()
    config = {"lora_alpha": 6, "alpha_pattern": {"attn": 4}}
    words, merged = adapted(tmp_path, model, target_modules=["attn", "out", "conv"], **config)
    tasks = open_tasks(words, base=saved(tmp_path, model.state_dict()))
    assert set(tasks.described) == {"attn.in_proj_weight", "attn.out_proj.weight", "out.weight", "conv.weight"}
    file = load_file(tmp_path / "a" / "adapter_model.safetensors")
    A, B = (file[f"base_model.model.attn.base_layer.out_proj.lora_{which}.weight"] for which in "AB")
    merged[0]["attn.out_proj.weight"] = model.attn.out_proj.weight.detach() + 2 * B @ A
    del merged[1]
    assert furthest(tasks, merged) < 1e-5
    assert "adds it twice to the output of nn.MultiheadAttention" in tasks.notes[0]


def test_patterns_and_stabilised_scaling(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = llama(tie_word_embeddings=False)
    config: dict[str, Any] = {"rank_pattern": {"q_proj": 3}, "use_rslora": True, "lora_alpha": 3}
    alphas = {r"layers\.\d+.*(q|k)_proj": 7, "^model.layers.0.mlp.down_proj": 9}
    targets = ["q_proj", "k_proj", "v_proj", "down_proj"]
    words, merged = adapted(tmp_path, model, target_modules=targets, alpha_pattern=alphas, **config)
    tasks = open_tasks(words, base=saved(tmp_path, model.state_dict()))
    assert len(tasks.described) == 4
    assert furthest(tasks, merged) < 1e-5


def test_a_square_weight_of_unknown_orientation_is_left_out(tmp_path: Path) -> None:
    """The base has weights of both kinds, and none of this name that is not square."""
    base = {
        "a.weight": torch.ones(4, 6),
        "a.bias": torch.ones(6),
        "b.weight": torch.ones(8, 6),
        "b.bias": torch.ones(8),
    }
    path = saved(tmp_path, {**base, "c.weight": torch.ones(5, 5), "mlp.a.weight": torch.ones(5, 5)})
    square = (torch.randn(2, 5), torch.randn(5, 2))
    factors = {"c": (torch.ones(2, 5), torch.ones(5, 2)), "mlp.a": square}
    words = [f"{n}={adapter(tmp_path / n, factors)}" for n in "xy"]
    tasks = open_tasks(words, base=path)
    assert [(each.name, each.reason) for each in tasks.left_out] == [
        ("c.weight", "is square, so it is unknown whether the base keeps it as (in, out) or (out, in)")
    ]
    expected = torch.ones(5, 5) + (square[1] @ square[0]).T  # as a.weight is kept
    assert np.allclose(tasks.tasks[0].rows("mlp.a.weight", slice(None)), expected.numpy(), atol=1e-6)


def test_an_enlarged_vocabulary(tmp_path: Path) -> None:
    """Saved in full it is written as large as it is; as factors on a smaller base it is left out."""
    draw = torch.Generator().manual_seed(0)
    base = saved(tmp_path, {"embed_tokens.weight": torch.ones(40, 16), "one.weight": torch.ones(24, 16)})
    words = []
    for i, task in enumerate("ab"):
        folder = drawn_adapter(tmp_path / task, i)
        file = {n: W for n, W in load_file(folder / "adapter_model.safetensors").items() if "one" in n}
        file["base_model.model.embed_tokens.weight"] = torch.randn(43, 16, generator=draw)
        file["base_model.model.lm_head.lora_A.weight"] = torch.randn(2, 16, generator=draw)
        file["base_model.model.lm_head.lora_B.weight"] = torch.randn(43, 2, generator=draw)
        save_file(file, str(folder / "adapter_model.safetensors"))
        words.append(f"{task}={folder}")
    advise(open_tasks(words, base=base), FEW, write_base=tmp_path / "w.safetensors")
    assert load_file(tmp_path / "w.safetensors")["embed_tokens.weight"].shape == (43, 16)
    saved(tmp_path, {"lm_head.weight": torch.ones(40, 16), "one.weight": torch.ones(24, 16)})
    tasks = open_tasks(words, base=base)
    reasons = {each.name: each.reason for each in tasks.left_out}
    assert reasons == {"lm_head.weight": "has 40 rows in the base, and adapters are of 43"}


def test_one_base_under_several_names(tmp_path: Path) -> None:
    names = ["org/Base", "org/Base/", "/hub/models--org--Base/snapshots/0a1b", "quantised/base-4bit"]
    words = [f"{i}={drawn_adapter(tmp_path / str(i), i, base_model_name_or_path=name)}" for i, name in enumerate(names)]
    assert not open_tasks(words[:3]).notes
    with pytest.raises(InputError, match="under two names, name its checkpoint with --base"):
        open_tasks(words)
    tasks = open_tasks(words, base=saved(tmp_path, states(0)[0]))
    assert "The adapters name different bases" in tasks.notes[0]


def test_adapters_that_do_not_change_the_same_weights_in_the_same_way(tmp_path: Path) -> None:
    """One trains a weight in full and the others do not: that is compared on the base, and without it left out."""
    words = [f"{i}={drawn_adapter(tmp_path / str(i), i)}" for i in range(3)]
    file = tmp_path / "0" / "adapter_model.safetensors"
    save_file({**load_file(file), "base_model.model.head.weight": torch.randn(5, 16)}, str(file))
    (left,) = open_tasks(words).left_out
    assert left.reason == "is saved in full by some tasks, and the adapters of 1 and 2 need the base: give it as --base"
    tasks = open_tasks(words, base=saved(tmp_path, {**states(0)[0], "head.weight": torch.zeros(5, 16)}))
    assert not tasks.left_out
    assert not np.any(tasks.tasks[1].rows("head.weight", slice(None)))


def test_a_base_of_other_names_is_of_no_use_for_writing(tmp_path: Path) -> None:
    words = [f"{i}={drawn_adapter(tmp_path / str(i), i)}" for i in range(3)]
    tasks = open_tasks(words, base=saved(tmp_path, {"other.weight": torch.ones(3, 3)}))
    assert "one.weight and 1 more: not in the base" in tasks.notes[0]
    with pytest.raises(InputError, match="--write-base: the base has none of the weights"):
        advise(tasks, FEW, write_base=tmp_path / "w.safetensors")
