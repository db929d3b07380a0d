"""Layers that run again in the backward pass see the adapters of their forward, or are refused."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from loraml_theory.harness.errors import InputError
from realdata.peft_ml.adapters_in_use import AdaptersInUse
from realdata.peft_ml.data import Batch, Task
from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.recomputation import is_kept
from realdata.peft_ml.seeding import torch_seeded
from tests.realdata.peft_ml import toy
from tests.realdata.peft_ml.runs import retrained, same_retrained
from tests.realdata.peft_ml.small_models import disturb, rows_of, seeded, tiny_bert

LORA = LoraConfig(r=2, target_modules="all-linear")
ADAPTERS: dict[str, tuple[Any, str | None]] = {
    "lora": (LORA, None),
    "lora with dropout": (LoraConfig(r=2, target_modules="all-linear", lora_dropout=0.3), None),
    "lora with heads": (LORA, "last"),
    "heads": (None, "last"),
    "a copied layer inside": (LoraConfig(r=2, target_modules=["a"], modules_to_save=["b"]), None),
    "ia3": (IA3Config(target_modules="all-linear", feedforward_modules=[]), None),
}
ROWS = ["x", "y"] * 3
Block = Callable[[Tensor], Tensor]
Way = Callable[["Blocks", Block, Tensor], Tensor]


class Recomputed(torch.autograd.Function):
    """Runs a block again in the backward pass, unknown to torch."""

    @staticmethod
    def forward(ctx: Any, block: Block, x: Tensor, *_parameters: Tensor) -> Tensor:
        ctx.block = block
        ctx.save_for_backward(x)
        with torch.no_grad():
            return block(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            torch.autograd.backward(ctx.block(x), gradients)
        return (None, x.grad, *[None] * (len(ctx.needs_input_grad) - 2))


def plain(_model: Blocks, block: Block, x: Tensor) -> Tensor:
    return block(x)


def by_autograd(model: Blocks, block: Block, x: Tensor) -> Tensor:
    return Recomputed.apply(block, x, *model.parameters())  # type: ignore[no-untyped-call]


def checkpointed(*, reentrant: bool) -> Way:
    return lambda _model, block, x: checkpoint(block, x, use_reentrant=reentrant)


def in_sequence(_model: Blocks, block: Block, x: Tensor) -> Tensor:
    return checkpoint_sequential([block, nn.Tanh()], 2, x, use_reentrant=False)  # type: ignore[no-untyped-call]


def by_name_of_the_module(_model: Blocks, block: Block, x: Tensor) -> Tensor:
    return torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)


class Blocks(nn.Module):
    """Two blocks of two layers, one inside the other's way, and how each of them is run."""

    def __init__(self, *, outer: Way, inner: Way, dropout: float) -> None:
        super().__init__()
        self.first, self.a, self.b, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        self.dropout = nn.Dropout(dropout)
        self.outer, self.inner = outer, inner

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.outer(self, self.both, self.first(x))))

    def both(self, x: Tensor) -> Tensor:
        return self.block(self.inner(self, self.block, x)) + x

    def block(self, x: Tensor) -> Tensor:
        return torch.tanh(self.b(self.dropout(torch.tanh(self.a(x)))))


def made(adapter: str = "lora", *, outer: Way = plain, inner: Way = plain, dropout: float = 0.0) -> MetaPeftModel:
    settings, head = ADAPTERS[adapter]
    model = seeded(0, Blocks, outer=outer, inner=inner, dropout=dropout).train()
    meta = MetaPeftModel(model, ("x", "y"), adapter=settings, head=head, seed=0)
    disturb(meta)
    return meta


def points(seed: int) -> Any:
    return rows_of(nn.Linear(1, 1), len(ROWS), seed=seed)


def backward(*losses: Tensor) -> None:
    torch.autograd.backward(torch.stack(losses).sum())


def losses_added(meta: MetaPeftModel) -> None:
    backward(*(meta(points(0), task).square().mean() for task in meta.tasks))


def rows_mixed(meta: MetaPeftModel) -> None:
    backward(meta(points(0), ROWS).square().sum())


def interleaved(meta: MetaPeftModel) -> None:
    first, second = meta(points(0), "x").square().sum(), meta(points(0), ROWS).square().sum()
    third, fourth = meta(points(1), "y").square().sum(), meta(points(1), ["y", "y", *"xxxx"]).pow(3).sum()
    backward(second)
    backward(first, fourth)
    backward(third)


def one_after_another(meta: MetaPeftModel) -> None:
    hidden = meta(points(0), "x").repeat(1, 3)
    backward(meta(hidden, "y").sum(), meta(hidden, ROWS).square().sum())


def twice(meta: MetaPeftModel) -> None:
    loss = meta(points(0), "x").square().sum() + meta(points(0), ROWS).square().sum()
    torch.autograd.backward(loss, retain_graph=True)
    meta(points(1), "y")
    torch.autograd.backward(loss)


def evaluating(meta: MetaPeftModel) -> None:
    meta.eval()
    interleaved(meta)


def switched_by_peft(meta: MetaPeftModel) -> None:
    """peft's own switch also freezes all other adapters."""
    loss = meta(points(0), "x").square().sum()
    meta.peft.set_adapter("<y>")
    backward(loss)
    meta.peft.requires_grad_(True)


def adapters_off(meta: MetaPeftModel) -> None:
    with meta.peft.disable_adapter():
        losses = [meta(points(0), rows).square().sum() for rows in ("x", ROWS)]
    backward(*losses)


def checkpointed_as_a_whole(meta: MetaPeftModel) -> None:
    calls = [checkpoint(meta, points(0), rows, use_reentrant=False) for rows in ("x", ROWS, "y")]
    backward(*(outputs.square().sum() for outputs in calls))


PASSES = [
    losses_added,
    rows_mixed,
    interleaved,
    one_after_another,
    twice,
    evaluating,
    switched_by_peft,
    adapters_off,
    checkpointed_as_a_whole,
]
WAYS: dict[str, tuple[Way, Way]] = {
    "reentrant": (checkpointed(reentrant=True), plain),
    "not reentrant": (checkpointed(reentrant=False), plain),
    "by the module": (by_name_of_the_module, plain),
    "both in reentrant": (checkpointed(reentrant=True), checkpointed(reentrant=True)),
    "reentrant in not": (checkpointed(reentrant=False), checkpointed(reentrant=True)),
    "not in reentrant": (checkpointed(reentrant=True), checkpointed(reentrant=False)),
}


def gradients_of(meta: MetaPeftModel, run: Callable[[MetaPeftModel], None]) -> dict[str, Tensor]:
    meta(points(2), ROWS)  # whether rows can be mixed is tried once
    meta.train()
    with torch_seeded(0, "dropout"):
        run(meta)
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in meta.named_parameters()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert any(gradient.any() for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("run", PASSES, ids=lambda run: run.__name__)
@pytest.mark.long
def test_checkpoints_have_the_gradients_of_their_forward(run: Callable[[MetaPeftModel], None], way: str) -> None:
    outer, inner = WAYS[way]
    expected = gradients_of(made(dropout=0.4), run)
    assert_same(gradients_of(made(outer=outer, inner=inner, dropout=0.4), run), expected)


@pytest.mark.parametrize("way", ["reentrant", "not reentrant"])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_checkpoints_with_every_adapter_and_head(adapter: str, way: str) -> None:
    outer, inner = WAYS[way]
    for run in (losses_added, interleaved):
        assert_same(
            gradients_of(made(adapter, outer=outer, inner=inner), run), gradients_of(made(adapter, inner=inner), run)
        )


def test_checkpoints_in_sequence() -> None:
    unchecked = made(outer=lambda _model, block, x: torch.tanh(block(x)))
    assert_same(gradients_of(made(outer=in_sequence), interleaved), gradients_of(unchecked, interleaved))


@pytest.mark.long
def test_a_compiled_block_runs_again_with_the_adapter_of_its_forward() -> None:
    found = []
    for compiled in (False, True):
        meta = made(outer=checkpointed(reentrant=False))
        wrapped: Any = meta.peft.get_base_model()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's compiler, about itself
            if compiled:
                wrapped.block = torch.compile(wrapped.block, backend="eager", dynamic=False)
            losses_added(meta)
        found.append({name: p.grad for name, p in meta.named_parameters() if p.grad is not None})
    assert_same(found[1], found[0])


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_of_transformers(reentrant: bool) -> None:
    found = []
    for enabled in (False, True):
        model = bert(checkpointing=enabled, reentrant=reentrant)
        meta = MetaPeftModel(model, ("x", "y"), adapter=LORA, head="classifier", seed=0)
        disturb(meta)
        inputs = rows_of(model, 6)
        backward(*(meta(inputs, rows).square().sum() for rows in ("x", ROWS, "y")))
        found.append({name: p.grad for name, p in meta.named_parameters() if p.grad is not None})
    assert_same(found[1], found[0])


def bert(*, checkpointing: bool, reentrant: bool = False) -> nn.Module:
    model: Any = tiny_bert().train()
    if checkpointing:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # transformers is about to rename it
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    return model


class Sentences:
    """Rows of words and their classes."""

    def __init__(self, seed: int) -> None:
        drawn = torch.Generator().manual_seed(seed)
        self.words, self.y = torch.randint(2, 20, (12, 6), generator=drawn), torch.arange(12) % 2
        self.fingerprint = str(seed)

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, indices: Any, rng: object = None) -> Batch:  # noqa: ARG002
        rows = torch.as_tensor(indices)
        return Batch({"input_ids": self.words[rows]}, self.y[rows])


@pytest.mark.parametrize("method", ["lora-ml", "last-layer-ml"])
def test_retraining_with_gradient_checkpointing_is_that_without(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def join(_problem: toy.TwoClasses, batches: Any) -> Batch:
        words = torch.cat([batch.inputs["input_ids"] for batch in batches])
        return Batch({"input_ids": words}, torch.cat([batch.targets for batch in batches]))

    monkeypatch.setattr(toy.TwoClasses, "join", join)
    tasks = [Task(name, *(Sentences(3 * at + part) for part in range(3))) for at, name in enumerate("ab")]
    runs = [
        retrained(
            method, tasks, model=bert(checkpointing=on), head="classifier", changes={"epochs": 2, "batch_size": 4}
        )
        for on in (False, True)
    ]
    assert same_retrained(*runs)


def test_unknown_recomputation_is_right_with_one_task_at_a_time() -> None:
    def each_alone(meta: MetaPeftModel) -> None:
        for task in (*meta.tasks, "y"):
            backward(meta(points(0), task).square().sum())

    assert_same(gradients_of(made(outer=by_autograd), each_alone), gradients_of(made(), each_alone))


@pytest.mark.parametrize("run", [losses_added, rows_mixed, interleaved, switched_by_peft], ids=lambda run: run.__name__)
def test_unknown_recomputation_is_refused_elsewhere(run: Callable[[MetaPeftModel], None]) -> None:
    meta = made(outer=by_autograd)
    with pytest.raises(
        InputError, match=r"^model: its layer a runs again in the backward pass, .*backward before the n"
    ):
        run(meta)


def test_recomputation_by_hooks_of_saved_tensors_is_refused() -> None:
    def kept_by_recipe(_model: Blocks, block: Block, x: Tensor) -> Tensor:
        hidden = block(x)
        with torch.autograd.graph.saved_tensors_hooks(lambda _: None, lambda _: block(x)):
            return hidden.sin()

    def one_task(meta: MetaPeftModel) -> None:
        backward(meta(points(0), "x").sum())

    unchecked = made(outer=lambda _model, block, x: block(x).sin())
    assert_same(gradients_of(made(outer=kept_by_recipe), one_task), gradients_of(unchecked, one_task))
    with pytest.raises(InputError, match="runs again in the backward pass"):
        losses_added(made(outer=kept_by_recipe))


def test_peft_switched_inside_is_noticed() -> None:
    """The tuner's own switch leaves peft's model in the belief that the other adapter is the active one."""
    meta = made()
    expected = meta(points(0), "x")
    tuner: Any = meta.peft.base_model
    tuner.set_adapter("<y>")
    assert torch.equal(meta(points(0), "x"), expected)


def test_state_is_given_back_after_recomputation() -> None:
    meta = made(outer=checkpointed(reentrant=False))
    loss = meta(points(0), "x").square().sum()
    expected = meta(points(0), "y")
    backward(loss)
    assert not is_kept()
    assert meta.peft.active_adapter == "<y>"
    assert torch.equal(meta(points(0), "y"), expected)
    assert all(parameter.requires_grad for parameter in meta.parameters())
    assert not [module for module in meta.modules() if "forward" in vars(module)]


def test_checkpoints_elsewhere_are_as_they_were() -> None:
    layer, calls = nn.Linear(2, 2), []

    def run(x: Tensor) -> Tensor:
        calls.append(is_kept())
        return layer(x)

    for reentrant in (True, False):
        x = torch.ones(1, 2, requires_grad=True)
        backward(checkpoint(run, x, use_reentrant=reentrant).sum())
    assert calls == [False] * 4


def test_a_copy_of_the_model_watches_its_own_layers() -> None:
    meta = made(outer=by_autograd)
    copied = copy.deepcopy(meta)
    loss = copied(points(0), "x").sum()
    meta(points(0), "y")
    backward(loss)
    loss = copied(points(0), "x").sum()
    copied(points(0), "y")
    with pytest.raises(InputError, match="layer a runs again"):
        backward(loss)
    assert isinstance(copied._in_use, AdaptersInUse)
    assert copied._in_use is not meta._in_use
