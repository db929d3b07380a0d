from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import IA3Config, LoHaConfig, LoraConfig, VeraConfig, get_peft_model
from torch import Tensor, nn

from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.seeding import torch_seeded
from realdata.peft_ml.task_adapters import adapter_name, file_name
from tests.realdata.peft_ml.small_models import (
    Mlp,
    TokenMixer,
    disturb,
    gradients,
    gradients_by_task,
    rows_of,
    seeded,
    tiny_bert,
    tiny_gpt2,
)

LORA = LoraConfig(r=2, target_modules="all-linear")
IA3 = IA3Config(target_modules="all-linear", feedforward_modules=[])


def make(
    tasks: tuple[str, ...] = ("a", "b"), *, adapter: Any = LORA, head: str | None = None, **more: Any
) -> MetaPeftModel:
    return MetaPeftModel(more.pop("model", None) or seeded(0, Mlp), tasks, adapter=adapter, head=head, seed=0, **more)


def values(meta: MetaPeftModel) -> dict[str, dict[str, Tensor]]:
    return {t: {n: p.detach().clone() for n, p in own.items()} for t, own in meta.all_adapter_parameters().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# what is trained


@pytest.mark.parametrize("adapter", [LORA, IA3, None], ids=["lora", "ia3", "none"])
@pytest.mark.parametrize("make_model", [lambda: seeded(0, Mlp), tiny_bert], ids=["mlp", "bert"])
def test_all_of_base_and_adapters_require_gradients_and_keep_them(
    make_model: Callable[[], nn.Module], adapter: Any
) -> None:
    model = make_model()
    head = "classifier" if hasattr(model, "classifier") else "head"
    meta = make(("a", "b", "c"), model=model, adapter=adapter, head=head)
    off = [name for name, p in meta.named_parameters() if not p.requires_grad]
    assert off == [f"peft.base_model.model.{head}.original_module.{name}" for name in ("weight", "bias")]
    inputs = rows_of(model, 4)
    for tasks in ("a", "b", ["c", "a", "b", "b"], "a"):
        meta(inputs, tasks)
        assert [name for name, p in meta.named_parameters() if not p.requires_grad] == off


def test_flags_set_from_outside_are_kept() -> None:
    """The alternating scheme freezes one half at a time."""
    meta = make()
    for adapter in meta.all_adapter_parameters().values():
        for parameter in adapter.values():
            parameter.requires_grad_(False)
    meta(rows_of(seeded(0, Mlp), 2), "b")
    assert not any(p.requires_grad for own in meta.all_adapter_parameters().values() for p in own.values())
    assert all(p.requires_grad for p in meta.base_parameters().values())


def test_base_and_adapters_are_all_parameters_and_disjoint() -> None:
    meta = make(("a", "aa", "weight"), head="head")
    base = {id(p) for p in meta.base_parameters().values()}
    own = [id(p) for adapter in meta.all_adapter_parameters().values() for p in adapter.values()]
    trained = {id(p) for p in meta.parameters() if p.requires_grad}
    assert len(set(own)) == len(own)
    assert base | set(own) == trained
    assert not base & set(own)


def test_base_parameters_have_the_plain_models_names() -> None:
    for model in (seeded(0, Mlp), tiny_bert(), tiny_gpt2(), tiny_bert(masked=True)):
        meta = make(model=model)
        base, plain = meta.base_parameters(), dict(model.named_parameters())
        assert list(base) == list(plain)  # tied ones once in both
        assert all(torch.equal(base[name], plain[name]) for name in plain)


def test_other_copied_modules_are_no_part_of_the_base() -> None:
    model = seeded(0, Mlp, norm=nn.LayerNorm(8))
    meta = make(model=model, adapter=LoraConfig(r=1, target_modules=["body"], modules_to_save=["norm"]), head="head")
    assert list(meta.base_parameters()) == ["body.weight", "body.bias"]
    assert len(meta.adapter_parameters("a")) == 6
    assert torch.equal(meta.adapter_parameters("a")["base_model.model.norm.modules_to_save.weight"], torch.ones(8))
    assert list(meta.base().state_dict()) == list(model.state_dict())


def test_a_head_tied_to_the_base_is_untied_in_the_tasks_copies() -> None:
    model = tiny_gpt2()
    meta = make(model=model, head="lm_head")
    base = meta.base_parameters()
    assert list(base) == [name for name, _ in model.named_parameters()]  # the embedding, under its first name
    assert all(parameter.requires_grad for parameter in base.values())
    meta(rows_of(model, 2), ["a", "b"]).square().sum().backward()
    assert all(p.grad is not None for p in meta.parameters() if p.requires_grad)
    plain = meta.base()
    assert plain.get_parameter("lm_head.weight") is plain.get_parameter("transformer.wte.weight")


def test_frozen_base() -> None:
    meta = make(train_base=False)
    assert not any(p.requires_grad for p in meta.base_parameters().values())
    meta(rows_of(seeded(0, Mlp), 2), ["a", "b"]).sum().backward()
    assert all(p.grad is None for p in meta.base_parameters().values())


def test_tuners_with_a_switch_of_their_own_are_switched_by_it() -> None:
    meta = make(("a", "b", "c"), adapter=IA3)
    disturb(meta)
    inputs, rows = rows_of(seeded(0, Mlp), 3), ["c", "a", "b"]
    assert meta._activate._no_more
    expected, flags = meta(inputs, rows), [p.requires_grad for p in meta.parameters()]
    meta._activate._no_more = False
    assert torch.equal(meta(inputs, rows), expected)
    assert [p.requires_grad for p in meta.parameters()] == flags


# starts


def test_starts_depend_on_seed_and_name_alone() -> None:
    config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)  # both factors are drawn
    torch.manual_seed(1)
    first = values(make(("a", "b", "c"), adapter=config, head="head"))
    torch.manual_seed(2)
    second = values(make(("d", "c", "a"), adapter=config, head="head"))
    assert equal(first["a"], second["a"])
    assert equal(first["c"], second["c"])
    for task in ("b", "c"):
        for name, drawn in first["a"].items():
            assert not torch.equal(drawn, first[task][name]), name
    other_seed = MetaPeftModel(seeded(0, Mlp), ["a"], adapter=config, head="head", seed=1)
    assert not any(torch.equal(p, first["a"][n]) for n, p in other_seed.adapter_parameters("a").items())


def test_making_a_model_leaves_generators_and_the_model_given_alone() -> None:
    model = seeded(0, Mlp)
    before, text = copy.deepcopy(model.state_dict()), repr(model)
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    meta = make(model=model, head="head")
    disturb(meta)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert equal(model.state_dict(), before)
    assert repr(model) == text
    assert all(p.requires_grad for p in model.parameters())


def test_lora_starts_as_the_plain_model_and_differs_by_task_later() -> None:
    model = seeded(0, Mlp)
    meta, x = make(model=model), rows_of(model, 3)
    torch.testing.assert_close(meta(x, "a"), model(x))
    disturb(meta)
    assert not torch.allclose(meta(x, "a"), meta(x, "b"))


# forward


@pytest.mark.parametrize("adapter", [LORA, IA3], ids=["lora", "ia3"])
@given(rows=st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=9))
@pytest.mark.long
def test_rows_stay_in_order_whatever_their_tasks(rows: list[str], adapter: Any) -> None:
    meta = _three(repr(adapter.peft_type), adapter)
    for model in ("mlp", "bert"):
        _assert_rows_in_order(*meta[model], rows)


_MADE: dict[str, dict[str, tuple[MetaPeftModel, nn.Module]]] = {}


def _three(key: str, adapter: Any) -> dict[str, tuple[MetaPeftModel, nn.Module]]:
    if key not in _MADE:
        models = {"mlp": seeded(0, Mlp).eval(), "bert": tiny_bert().eval()}
        _MADE[key] = {name: (make(("a", "b", "c"), model=m, adapter=adapter), m) for name, m in models.items()}
        for meta, _ in _MADE[key].values():
            disturb(meta)
    return _MADE[key]


def _assert_rows_in_order(meta: MetaPeftModel, model: nn.Module, rows: list[str]) -> None:
    inputs = rows_of(model, len(rows))
    with torch.no_grad():
        outputs = meta(inputs, rows)
        for at, task in enumerate(rows):
            torch.testing.assert_close(outputs[at], meta(inputs, task)[at], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "adapter",
    [
        LoHaConfig(r=2, target_modules=["body"]),
        VeraConfig(r=2, target_modules=["body"]),
        LoraConfig(r=2, target_modules=["body"], use_dora=True),
    ],
    ids=["loha", "vera", "dora"],
)
def test_other_tuners_take_the_same_path(adapter: Any) -> None:
    meta = make(adapter=adapter)
    disturb(meta)
    inputs, rows = rows_of(seeded(0, Mlp), 4), ["b", "a", "a", "b"]
    outputs, found = gradients(meta, inputs, rows)
    expected, by_task = gradients_by_task(meta, inputs, rows)
    torch.testing.assert_close(outputs, expected)
    assert found.keys() == by_task.keys()
    assert {id(p) for t in "ab" for p in meta.adapter_parameters(t).values()} <= {
        id(p) for p in meta.parameters() if p.grad is not None
    }
    assert equal({n: p.detach() for n, p in meta.base().named_parameters()}, dict(seeded(0, Mlp).named_parameters()))


def test_torchs_fast_path_does_not_pass_the_adapters_by() -> None:
    with torch_seeded(0, "encoder"):
        model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0).eval()
    meta = make(model=model)
    disturb(meta)
    x = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(0))
    expected = meta(x, "a")
    enabled = torch.backends.mha.get_fastpath_enabled()
    with torch.no_grad():
        torch.testing.assert_close(meta(x, "a"), expected)
        torch.testing.assert_close(meta(x, ["a"] * 3 + ["b"])[:3], expected[:3])
    assert torch.backends.mha.get_fastpath_enabled() == enabled
    assert not torch.allclose(expected, model(x))


# the base


@pytest.mark.parametrize("head", [None, "head"])
@pytest.mark.parametrize("adapter", [LORA, IA3], ids=["lora", "ia3"])
def test_base_is_plain_and_stock_peft_applies(adapter: Any, head: str | None) -> None:
    model = seeded(0, Mlp)
    meta = make(model=model, adapter=adapter, head=head)
    with torch.no_grad():
        meta.base_parameters()["body.weight"].mul_(2.0)
    base = meta.base()
    assert repr(base) == repr(model)
    assert list(base.state_dict()) == list(model.state_dict())
    assert torch.equal(base.get_parameter("body.weight"), 2 * model.get_parameter("body.weight"))
    assert torch.equal(
        base.get_parameter("head.weight"), model.get_parameter("head.weight")
    )  # a head of its own: as given
    assert all(p.requires_grad for p in base.parameters())
    base.get_parameter("body.weight").data.zero_()
    assert meta.base_parameters()["body.weight"].abs().sum() > 0  # a copy
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stock = get_peft_model(base, LoraConfig(r=1, target_modules=["body"]))
    assert stock(rows_of(model, 2)).shape == (2, 2)


def test_base_of_transformers_stays_tied_and_loads_into_a_fresh_model() -> None:
    for model in (tiny_gpt2(), tiny_bert(masked=True)):
        base = make(model=model).base()
        assert not hasattr(base, "peft_config")
        output = base.get_output_embeddings().weight  # type: ignore[operator]
        assert output is base.get_input_embeddings().weight  # type: ignore[operator]
        assert copy.deepcopy(model).load_state_dict(base.state_dict()) is not None


@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about itself and about Python
def test_the_base_of_a_compiled_model_is_that_of_the_model_itself() -> None:
    bases = []
    for compiled in (False, True):
        model = seeded(0, Mlp)
        given: Any = torch.compile(model, backend="eager") if compiled else model
        meta = MetaPeftModel(given, ("a", "b"), adapter=LORA, seed=0)
        meta(rows_of(model, 2), "a").sum().backward()
        with torch.no_grad():
            for parameter in meta.base_parameters().values():
                parameter.mul_(2)
        bases.append(meta.base())
    inner: Any = bases[1].get_submodule("_orig_mod")
    assert equal(inner.state_dict(), bases[0].state_dict())
    assert torch.equal(bases[1](rows_of(model, 2)), bases[0](rows_of(model, 2)))


# other uses of a module


def test_state_dict_round_trip_and_deep_copy() -> None:
    first, second = make(head="head"), MetaPeftModel(seeded(1, Mlp), ["a", "b"], adapter=LORA, head="head", seed=7)
    disturb(first)
    x = rows_of(seeded(0, Mlp), 2)
    assert not torch.allclose(first(x, "a"), second(x, "a"))
    second.load_state_dict(first.state_dict())
    for other in (second, copy.deepcopy(first)):
        assert torch.equal(first(x, "a"), other(x, "a"))
        assert torch.equal(first(x, ["b", "a"]), other(x, ["b", "a"]))
    copied = copy.deepcopy(first)
    disturb(copied, seed=1)
    assert not torch.allclose(first(x, "a"), copied(x, "a"))


def test_moves_between_devices_and_dtypes() -> None:
    meta = make()
    parameters = dict(meta.named_parameters())
    assert {p.dtype for p in meta.float().parameters()} == {torch.float32}
    assert all(dict(meta.named_parameters())[name] is p for name, p in parameters.items())
    on_meta = copy.deepcopy(meta).to("meta")
    assert on_meta(torch.empty(3, 6, device="meta"), "a").shape == (3, 2)
    assert {p.device.type for p in on_meta.base_parameters().values()} == {"meta"}


def test_mode_is_that_of_the_model_given() -> None:
    assert make(model=seeded(0, Mlp).train()).training
    assert not any(module.training for module in make(model=seeded(0, Mlp).eval()).modules())


# names


@given(st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=8))
def test_file_names_are_safe_and_differ(one: str, other: str) -> None:
    try:
        name = file_name(one)
        second = file_name(other)
    except UnicodeEncodeError:
        return  # a lone surrogate
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-~%")
    assert (name == second) == (one == other)
    assert (adapter_name(one) in adapter_name(other)) == (one == other)


def test_tasks_named_like_modules_and_like_each_other() -> None:
    tasks = ("weight", "lora_A", "body", "a", "aa", "v1.0", "v1", "..", "a/b", "default", "keys")
    meta = make(tasks, head="head")
    disturb(meta)
    x = rows_of(seeded(0, Mlp), len(tasks))
    outputs = meta(x, tasks)
    for at, task in enumerate(tasks):
        assert len(meta.adapter_parameters(task)) == 4
        torch.testing.assert_close(outputs[at], meta(x, task)[at])


# heads and targets


def test_a_head_that_is_also_a_target_is_copied_and_not_adapted() -> None:
    meta = make(adapter=LoraConfig(r=1, target_modules=["body", "head"]), head="head")
    assert isinstance(meta.head_of("a"), nn.Linear)
    assert len(meta.adapter_parameters("a")) == 4


def test_the_type_of_task_gives_no_heads_that_were_not_asked_for() -> None:
    """Stock peft copies what it takes for the head of a classifier."""
    adapter = LoraConfig(r=1, target_modules=["query"], task_type="SEQ_CLS")
    meta = make(model=tiny_bert(), adapter=adapter)
    assert len(meta.adapter_parameters("a")) == 2
    assert adapter.task_type == "SEQ_CLS"  # the settings given are left as they were


def test_head_of() -> None:
    meta = make(head="head")
    assert dict(meta.head_of("a").named_parameters()).keys() == {"weight", "bias"}
    assert meta.head_of("a").weight is not meta.head_of("b").weight
    with pytest.raises(ValueError, match="tasks share it"):
        make().head_of("a")
    with pytest.raises(ValueError, match="got 'c'"):
        meta.head_of("c")


def test_all_linear_reaches_every_linear_layer() -> None:
    for model, expected in (
        (tiny_gpt2(), {"c_attn", "c_proj", "c_fc", "lm_head"}),
        (tiny_bert(), {"query", "key", "value", "dense", "classifier"}),
        (seeded(0, TokenMixer), {"embed", "tokens", "head"}),
        (nn.TransformerEncoderLayer(8, 2, 16), {"linear1", "linear2"}),  # attention reads the weight of its own past it
    ):
        wrapped = make(model=model).peft.get_base_model()
        assert {n.split(".")[-1] for n, m in wrapped.named_modules() if hasattr(m, "lora_A")} == expected
