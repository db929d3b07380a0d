from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from realdata.peft_ml.by_length import adapted_outputs, by_length, outputs_of
from realdata.peft_ml.data import Inputs
from realdata.peft_ml.fine_tuning import fine_tune
from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.retraining import retrain
from realdata.peft_ml.settings import FineTuningSettings
from tests.realdata.language.tiny import bert_tokenizer, tiny_bert
from tests.realdata.peft_ml.test_choices import RETRAINING, Choice, roberta, task

LENGTHS = (30, 4, 17, 4, 29, 9, 31)


def drawn_inputs() -> dict[str, Tensor]:
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
    ids = torch.randint(4, 11, mask.shape, generator=torch.Generator().manual_seed(0)) * mask
    return {"input_ids": ids, "token_type_ids": torch.zeros_like(ids), "attention_mask": mask}


def check_same(forward: Callable[..., Tensor], model: nn.Module, *, rows: int) -> None:
    """Compare outputs and gradients of parts with those of one pass."""
    weights = torch.linspace(-1, 1, 14).view(7, 2)
    results = []
    for rows_at_once in (None, rows):
        model.zero_grad()
        outputs = forward(drawn_inputs(), rows_at_once=rows_at_once)
        torch.autograd.backward((outputs * weights).sum())
        gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
        results.append((outputs.detach(), gradients))
    (whole, whole_gradients), (parts, part_gradients) = results
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)
    assert whole_gradients
    for mine, theirs in zip(part_gradients, whole_gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5 * max(1.0, float(theirs.abs().max())))


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_outputs_and_gradients_of_parts_are_those_of_one_pass(rows: int) -> None:
    model = tiny_bert(bert_tokenizer())
    check_same(partial(outputs_of, model), model, rows=rows)


@pytest.mark.parametrize("tasks", ["b", ["a", "b", "b", "a", "c", "a", "b"]], ids=["one task", "mixed"])
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_with_adapters_every_row_keeps_its_task(tasks: Any, training: bool) -> None:
    from peft import LoraConfig

    adapter = LoraConfig(r=2, target_modules="all-linear")
    model = MetaPeftModel(tiny_bert(bert_tokenizer()), list("abc"), adapter=adapter, head="classifier", seed=0)
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameters in model.all_adapter_parameters().values():
            for parameter in parameters.values():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=noise))
    model.train(training)
    check_same(partial(adapted_outputs, model, task=tasks), model, rows=2)
    of_a = adapted_outputs(model, drawn_inputs(), task="a", rows_at_once=2)
    own = adapted_outputs(model, drawn_inputs(), task=tasks, rows_at_once=2)
    same = [bool(torch.allclose(x, y, atol=1e-5)) for x, y in zip(of_a, own, strict=True)]
    assert same == [name == "a" for name in (tasks if isinstance(tasks, list) else ["b"] * 7)]


@pytest.mark.parametrize(
    ("rows", "shapes"),
    [
        (1, [(1, width) for width in (31, 30, 29, 17, 9, 4, 4)]),
        (3, [(3, 31), (3, 17), (1, 4)]),
        (100, [(7, 31)]),
        (None, [(7, 31)]),
    ],
)
def test_parts_are_cut_to_their_longest_row(rows: int | None, shapes: list[tuple[int, int]]) -> None:
    inputs, seen = drawn_inputs(), []

    def forward(part: Inputs, chosen: Tensor) -> Tensor:
        assert isinstance(part, dict)
        seen.append(tuple(part["input_ids"].shape))
        assert torch.equal(part["input_ids"], inputs["input_ids"][chosen, : part["input_ids"].shape[1]])
        return chosen[:, None]

    assert by_length(forward, inputs, rows_at_once=rows)[:, 0].tolist() == list(range(7))
    assert seen == shapes


@pytest.mark.parametrize("inputs", [torch.arange(14.0).view(7, 2), {"features": torch.arange(14.0).view(7, 2)}])
def test_without_a_mask_rows_are_taken_as_they_come(inputs: Inputs) -> None:
    def forward(part: Inputs, _rows: Tensor) -> Tensor:
        return 2 * (part if isinstance(part, Tensor) else part["features"])

    assert torch.equal(by_length(forward, inputs, rows_at_once=3), 2 * torch.arange(14.0).view(7, 2))


def test_refused_numbers_of_rows() -> None:
    with pytest.raises(ValueError, match="rows_at_once: got 0, expected at least 1"):
        by_length(lambda _part, rows: rows, drawn_inputs(), rows_at_once=0)


@pytest.mark.parametrize("method", ["standard", "lora-ml", "reptile"])
@pytest.mark.long
def test_retraining_is_the_same_but_for_rounding(method: str) -> None:
    curves = [
        retrain(
            plain(),
            [task("a"), task("b", train=20)],
            Choice(),
            method=method,
            settings=RETRAINING,
            head="classifier",
            seed=0,
            rows_at_once=rows,
            say=lambda _: None,
        ).curve["train_loss"]
        for rows in (None, 5)
    ]
    assert curves[1] == pytest.approx(curves[0], rel=1e-3)
    assert curves[0][-1] < 0.9 * curves[0][0]


@pytest.mark.parametrize("finetune", ["lora", "full"])
@pytest.mark.long
def test_fine_tuning_is_the_same_but_for_rounding(finetune: Any) -> None:
    settings = FineTuningSettings(epochs=3, batch_size=8, learning_rate=2e-2, rank=4)
    curves = [
        fine_tune(
            plain(),
            task("z"),
            Choice(),
            finetune=finetune,
            settings=settings,
            head="classifier",
            seed=0,
            rows_at_once=rows,
            say=lambda _: None,
        ).curve["train_loss"]
        for rows in (None, 5)
    ]
    assert curves[1] == pytest.approx(curves[0], rel=1e-3)


def plain() -> nn.Module:
    """Return a random model without dropout, which would draw in another order."""
    model = roberta()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.train(False)
