"""A forward of one task's rows, against peft's own, and what it costs."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from realdata.peft_ml import mixed
from realdata.peft_ml.meta_model import MetaPeftModel
from tests.realdata.peft_ml.small_models import Mlp, gradients, rows_of, seeded
from tests.realdata.peft_ml.test_mixed import CASES, LORA, ROWS, TASKS, assert_equal_gradients, made


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_one_task_agrees_with_pefts_own_forward(case: str, train: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    meta, inputs = made(case, train=train)
    tasks = ["ab"] * len(ROWS)
    mine, my_gradients = gradients(meta, inputs, tasks)
    with torch.no_grad():
        evaluated = meta(inputs, "ab")
    monkeypatch.setattr(mixed, "_lora_of_one", lambda layer, _, *args, **kw: type(layer).forward(layer, *args, **kw))
    theirs, their_gradients = gradients(meta, inputs, tasks)
    torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(evaluated, theirs)
    assert_equal_gradients(my_gradients, their_gradients)


def test_evaluation_of_one_task_takes_the_products_of_the_plain_model() -> None:
    meta = MetaPeftModel(seeded(0, Mlp), TASKS, adapter=LORA, seed=0)
    rows = rows_of(Mlp(), 1024)
    counted = []
    for forward in (partial(meta, task="a"), seeded(0, Mlp)):
        with torch.no_grad(), FlopCounterMode(display=False) as flops:
            forward(rows)
        counted.append(flops.get_total_flops())
    assert counted[0] < 1.05 * counted[1]
