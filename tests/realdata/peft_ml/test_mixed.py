from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, LoraModel, PeftModel
from torch import Tensor, nn

from realdata.peft_ml import mixed
from realdata.peft_ml.data import Inputs
from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.seeding import torch_seeded
from tests.realdata.peft_ml.small_models import (
    Mlp,
    TokenMixer,
    TokensFirst,
    disturb,
    gradients,
    gradients_by_task,
    rows_of,
    seeded,
    tiny_bert,
    tiny_gpt2,
)

TASKS = ("a", "b", "ab")
ROWS = ("b", "a", "ab", "a", "b", "ab", "ab", "a")  # neither sorted nor in equal shares
LORA = LoraConfig(r=2, lora_alpha=4, target_modules="all-linear")
IA3 = IA3Config(target_modules="all-linear", feedforward_modules=[])

CASES: dict[str, tuple[Callable[[], nn.Module], Any, str | None, bool]] = {
    "lora": (lambda: seeded(0, Mlp), LORA, None, True),
    "lora with heads": (lambda: seeded(0, Mlp), LORA, "head", True),
    "last layer": (lambda: seeded(0, Mlp), None, "head", True),
    "activation in place": (lambda: seeded(0, InPlace), LORA, None, True),
    "head of several layers": (lambda: seeded(0, Deep), LORA, "head", True),
    "tokens": (lambda: seeded(0, TokenMixer), LORA, None, True),
    "bert": (tiny_bert, LORA, None, True),
    "bert with heads": (tiny_bert, LORA, "classifier", True),
    "gpt2": (tiny_gpt2, LORA, None, True),
    "rank-stabilised": (lambda: seeded(0, Mlp), LoraConfig(r=3, use_rslora=True, target_modules=["body"]), None, True),
    "ia3": (lambda: seeded(0, Mlp), IA3, None, False),
    "ia3 with heads on bert": (
        tiny_bert,
        IA3Config(target_modules=["query"], feedforward_modules=[]),
        "classifier",
        False,
    ),
    "dora": (lambda: seeded(0, Mlp), LoraConfig(r=2, use_dora=True, target_modules=["body"]), None, False),
}


class Deep(Mlp):
    """An Mlp whose head is itself several layers."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 2))


class InPlace(Mlp):
    """Works in place on what its layer returns."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).tanh_())


def made(case: str, *, train: bool = True) -> tuple[MetaPeftModel, Inputs]:
    make, adapter, head, _ = CASES[case]
    model = make()
    meta = MetaPeftModel(model.train(train), TASKS, adapter=adapter, head=head, seed=0)
    disturb(meta)
    return meta, rows_of(model, len(ROWS))


def assert_equal_gradients(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    largest = max(torch.linalg.vector_norm(gradient) for gradient in other.values())
    for name, gradient in one.items():  # that of a bias of attention's keys is zero but for rounding
        allowed = 1e-8 * torch.linalg.vector_norm(other[name]) + 1e-14 * largest
        assert torch.linalg.vector_norm(gradient - other[name]) <= allowed, name


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_mixed_rows_give_outputs_and_gradients_of_one_pass_per_task(case: str, train: bool) -> None:
    meta, inputs = made(case, train=train)
    expected, by_task = gradients_by_task(meta, inputs, ROWS)
    outputs, found = gradients(meta, inputs, ROWS)
    torch.testing.assert_close(outputs, expected, rtol=1e-9, atol=1e-12)
    assert_equal_gradients(found, by_task)
    assert meta.mixed_rows.possible == CASES[case][3]
    assert {name for name, p in meta.named_parameters() if p.requires_grad} == found.keys()


def test_rows_of_two_tasks_in_one_forward_call_the_model_once() -> None:
    meta, inputs = made("lora")
    calls: list[int] = []
    meta.peft.get_base_model().register_forward_hook(lambda _m, args, _out: calls.append(len(args[0])))
    meta(inputs, ROWS)
    calls.clear()  # the first such batch is compared with one pass per task
    meta(inputs, ROWS)
    assert calls == [len(ROWS)]


def test_sorted_rows_are_not_copied() -> None:
    meta, inputs = made("lora")
    assert isinstance(inputs, Tensor)
    rows = sorted(ROWS)
    meta(inputs, rows)
    seen: list[int] = []
    meta.peft.get_base_model().register_forward_hook(lambda _m, args, _out: seen.append(args[0].data_ptr()))
    meta(inputs, rows)
    assert seen == [inputs.data_ptr()]


@pytest.mark.parametrize("frozen", ["base", "adapters"])
def test_gradients_of_half_the_parameters(frozen: str) -> None:
    """The alternating scheme switches the gradients of one half off."""
    meta, inputs = made("tokens")
    base = list(meta.base_parameters().values())
    adapters = [p for adapter in meta.all_adapter_parameters().values() for p in adapter.values()]
    for parameter in base if frozen == "base" else adapters:
        parameter.requires_grad_(False)
    _, by_task = gradients_by_task(meta, inputs, ROWS)
    _, found = gradients(meta, inputs, ROWS)
    assert_equal_gradients(found, by_task)
    assert len(found) == len(adapters if frozen == "base" else base)


def test_first_derivatives_only() -> None:
    meta, inputs = made("lora")
    parameter = meta.base_parameters()["body.weight"]
    (gradient,) = torch.autograd.grad(meta(inputs, ROWS).sum(), parameter, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        torch.autograd.backward(gradient.sum())


def test_dropout_of_adapters_drops_a_share_of_their_inputs() -> None:
    config = LoraConfig(r=2, target_modules=["body"], lora_dropout=0.25)
    meta = MetaPeftModel(seeded(0, Mlp), ["a", "b"], adapter=config, seed=0)
    disturb(meta)
    inputs, rows = rows_of(seeded(0, Mlp), 4000), ["a"] * 2000 + ["b"] * 2000
    meta(inputs, rows)
    layer: Any = meta.peft.get_base_model().get_submodule("body")
    shifts: list[Tensor] = []
    layer.register_forward_hook(lambda _m, args, out: shifts.append((out - layer.base_layer(args[0])).detach()))
    with torch_seeded(0, "dropout"):
        meta(inputs, rows)
    meta.eval()
    meta(inputs, rows)
    dropped, whole = shifts[0], shifts[-1]
    assert not torch.allclose(dropped, whole)
    for part in (slice(0, 2000), slice(2000, 4000)):
        ratio = dropped[part].square().mean(0) / whole[part].square().mean(0)
        # E (b' A m x)^2, coordinates of x independent and m = 4/3 in 3 of 4 cases, else 0, is 4/3 of that with m = 1;
        # over 2000 rows its relative standard error is about sqrt(2 / 2000) = 0.03
        assert ((ratio > 4 / 3 - 0.15) & (ratio < 4 / 3 + 0.15)).all()


def test_dropout_of_adapters_has_the_gradient_of_what_was_computed() -> None:
    """With the dropout's draw held fixed, the fused layer's gradient is that of the formula."""
    config = LoraConfig(r=2, target_modules=["body", "head"], lora_dropout=0.5)
    meta = MetaPeftModel(seeded(0, Mlp), ["a", "b"], adapter=config, seed=0)
    disturb(meta)
    inputs, rows = rows_of(seeded(0, Mlp), 6), ["a"] * 3 + ["b"] * 3
    meta(inputs, rows)
    found = []
    for plain in (True, False):
        with pytest.MonkeyPatch.context() as patch, torch_seeded(0, "dropout"):
            if plain:
                patch.setattr(mixed, "_is_plain", lambda *_: False)
            found.append(gradients(meta, inputs, rows))
    (outputs, one), (expected, other) = found
    torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)
    assert_equal_gradients(one, other)


def test_dropout_of_the_model_is_drawn_once_for_all_rows_and_from_torch() -> None:
    meta = MetaPeftModel(seeded(0, Mlp, dropout=0.5), TASKS, adapter=LORA, seed=0)
    inputs = rows_of(seeded(0, Mlp), len(ROWS))
    meta(inputs, ROWS)
    outputs = []
    for _ in range(2):
        with torch_seeded(3, "step"):
            outputs.append(meta(inputs, ROWS))
    assert torch.equal(*outputs)
    assert not torch.equal(outputs[0], meta(inputs, ROWS))


def test_comparison_leaves_model_generators_and_pending_graphs_alone() -> None:
    meta, inputs = made("lora")
    pending = meta(inputs, "a").sum()
    before = {name: p.detach().clone() for name, p in meta.named_parameters()}
    modes = [module.training for module in meta.modules()]
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    meta(inputs, ROWS)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(p, before[name]) for name, p in meta.named_parameters())
    assert [module.training for module in meta.modules()] == modes
    pending.backward()


def test_batch_norm_in_training_takes_one_pass_per_task() -> None:
    model = seeded(0, Mlp, norm=nn.BatchNorm1d(8))
    meta = MetaPeftModel(model.train(), TASKS, adapter=LORA, seed=0)
    disturb(meta)
    inputs = rows_of(model, len(ROWS))
    assert not meta.mixed_rows.possible
    assert "norm normalises over the batch" in meta.mixed_rows.reason
    outputs, found = gradients(meta, inputs, ROWS)
    expected, by_task = gradients_by_task(meta, inputs, ROWS)
    torch.testing.assert_close(outputs, expected)
    assert_equal_gradients(found, by_task)
    meta.eval()
    assert meta.mixed_rows.possible


class Centred(Mlp):
    """Subtracts the batch's mean in training, unannounced."""

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out - out.mean(0) if self.training else out


class Positional(Mlp):
    """Adds something that depends on where in the batch a row is."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.arange(len(x), dtype=x.dtype)[:, None]


class PastTheAdapters(Mlp):
    """Uses the weights of its layers and never calls them."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.body.weight.T)


class TwoInputs(Mlp):
    """Gives its head a second argument."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Bilinear(8, 8, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.body(x))
        return self.head(hidden, hidden)


@pytest.mark.parametrize(
    ("kind", "adapter", "head", "reason"),
    [
        (Centred, LORA, None, "rows of a batch depend on each other in training"),
        (Positional, LORA, None, "outputs differ from those of one forward per task"),
        (PastTheAdapters, LoraConfig(r=1, target_modules=["body"]), None, "outputs are the same for the tasks"),
        (TokensFirst, LORA, None, "a layer is called with shape (5, 8, 8), expected 8 rows or a multiple first"),
        (TwoInputs, None, "head", "is called with more than one tensor of rows"),
    ],
)
def test_models_whose_rows_cannot_be_mixed_are_found_out(
    kind: type[nn.Module], adapter: Any, head: str | None, reason: str
) -> None:
    model = seeded(0, kind)
    meta = MetaPeftModel(model.train(), TASKS, adapter=adapter, head=head, seed=0)
    disturb(meta)
    inputs = rows_of(model, len(ROWS))
    with pytest.warns(UserWarning, match="task by task") as caught:
        outputs, found = gradients(meta, inputs, ROWS)
    assert caught[0].filename == __file__.replace("test_mixed", "small_models")
    assert len(caught) == 1
    assert not meta.mixed_rows.possible
    assert reason in meta.mixed_rows.reason
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        expected, by_task = gradients_by_task(meta, inputs, ROWS)
        torch.testing.assert_close(meta(inputs, ROWS), outputs)
    torch.testing.assert_close(outputs, expected)
    assert_equal_gradients(found, by_task)


def test_a_shape_that_no_longer_fits_is_an_error_and_restores_the_layers() -> None:
    meta, inputs = made("lora")
    meta(inputs, ROWS)
    layers = [m for m in meta.modules() if "forward" in vars(m)]
    assert not layers
    wrapped = meta.peft.get_base_model()
    with (
        pytest.raises(mixed.MixingError, match="expected 3 rows or a multiple first"),
        mixed.MixedForward(wrapped).rows([mixed.Segment("<a>", 3)]),
    ):
        wrapped(torch.ones(4, 6, dtype=torch.float64))
    assert not [m for m in meta.modules() if "forward" in vars(m)]


@pytest.mark.parametrize("form", ["fused", "plain"])
def test_layer_by_layer_against_the_formula(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if form == "plain":
        monkeypatch.setattr(mixed, "_is_plain", lambda *_: False)
    meta, _ = made("lora")
    layer: Any = meta.peft.get_base_model().get_submodule("body")
    x = torch.randn(6, 3, 6, dtype=torch.float64, requires_grad=True)
    with mixed.MixedForward(layer).rows([mixed.Segment("<ab>", 2), mixed.Segment("<a>", 4)]):
        out = layer(x)
    for part, task in ((slice(0, 2), "<ab>"), (slice(2, 6), "<a>")):
        W = layer.base_layer.weight + 2.0 * layer.lora_B[task].weight @ layer.lora_A[task].weight  # alpha / r = 2
        torch.testing.assert_close(out[part], x[part] @ W.T + layer.base_layer.bias)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    W = layer.base_layer.weight + 2.0 * layer.lora_B["<a>"].weight @ layer.lora_A["<a>"].weight
    torch.testing.assert_close(gradient[3, 1], W.sum(0))


def test_adapters_switched_off_and_scaled() -> None:
    meta, inputs = made("lora with heads")
    assert isinstance(inputs, Tensor)
    meta(inputs, ROWS)
    with meta.peft.disable_adapter():
        torch.testing.assert_close(meta(inputs, ROWS), meta.base()(inputs))
    layer: Any = meta.peft.get_base_model().get_submodule("body")
    layer.set_scale("<b>", 3.0)
    outputs = meta(inputs, ROWS)
    for at, task in enumerate(ROWS):
        torch.testing.assert_close(outputs[at], meta(inputs, task)[at])


def test_fused_layer_passes_gradcheck() -> None:
    drawn = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=drawn, dtype=torch.float64, requires_grad=True)

    x, W, b = random(5, 2, 3), random(4, 3), random(4)
    factors = [random(2, 3), random(2, 3), random(4, 2), random(4, 2)]
    apply: Any = mixed._LinearWithShifts.apply
    assert torch.autograd.gradcheck(
        lambda *t: apply(t[0], None, t[1], t[2], [0.7, 2.0], [4, 6], *t[3:]), (x, W, b, *factors)
    )
    assert torch.autograd.gradcheck(
        lambda *t: apply(t[0], None, t[1], None, [0.7, 2.0], [4, 6], *t[2:]), (x, W, *factors)
    )
    assert torch.autograd.gradcheck(
        lambda *t: apply(t[0], t[1], t[2], t[3], [0.7, 2.0], [4, 6], *t[4:]), (x, random(5, 2, 3), W, b, *factors)
    )


def test_autocast_and_lower_precision_agree_with_one_pass_per_task() -> None:
    meta, inputs = made("tokens")
    meta.float()
    assert isinstance(inputs, Tensor)
    x = inputs.float()
    expected = meta(x, "a")
    meta(x, ROWS)
    rows = torch.tensor([row == "a" for row in ROWS])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = meta(x, ROWS)
    assert meta.mixed_rows.possible
    assert outputs.dtype == torch.bfloat16
    torch.testing.assert_close(outputs[rows].float(), expected[rows], rtol=0.1, atol=0.1)
    outputs.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in meta.parameters())


def test_base_in_bfloat16_with_adapters_in_float32() -> None:
    model = seeded(0, Mlp).bfloat16()
    meta = MetaPeftModel(model, TASKS, adapter=LORA, seed=0)
    assert {p.dtype for p in meta.adapter_parameters("a").values()} == {torch.float32}
    inputs = rows_of(seeded(0, Mlp), len(ROWS))
    assert isinstance(inputs, Tensor)
    outputs = meta(inputs.bfloat16(), ROWS)
    assert meta.mixed_rows.possible
    assert outputs.dtype == torch.bfloat16
    rows = torch.tensor([row == "b" for row in ROWS])
    torch.testing.assert_close(outputs[rows], meta(inputs.bfloat16(), "b")[rows], rtol=0.02, atol=0.02)


def test_pefts_own_mixed_forward_agrees() -> None:
    meta, inputs = made("lora")
    outputs = meta(inputs, ROWS)
    meta.eval()
    peft: PeftModel = meta.peft
    assert isinstance(peft.base_model, LoraModel)
    torch.testing.assert_close(peft(inputs, adapter_names=[f"<{row}>" for row in ROWS]), outputs)
