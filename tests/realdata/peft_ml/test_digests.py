from __future__ import annotations

import hashlib

import pytest
import torch
from torch import Tensor

from realdata.peft_ml.digests import tensor_digest, tensors_digest


def test_digest_is_that_of_dtype_shape_and_bytes() -> None:
    expected = hashlib.sha256(b"torch.float32 (2, 1) " + bytes.fromhex("0000803f00000040")).hexdigest()
    assert tensor_digest(torch.tensor([[1.0], [2.0]])) == expected


@pytest.mark.parametrize(
    "other",
    [
        torch.zeros(3, 2),
        torch.zeros(6),
        torch.zeros(2, 3, dtype=torch.int32),
        torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, -0.0]]),
        torch.zeros(2, 3, dtype=torch.bfloat16),
    ],
)
def test_digests_differ(other: Tensor) -> None:
    assert tensor_digest(other) != tensor_digest(torch.zeros(2, 3))


def test_digest_does_not_depend_on_memory_layout_or_gradients() -> None:
    matrix = torch.arange(6.0).view(2, 3)
    assert tensor_digest(matrix.T.contiguous().T) == tensor_digest(matrix)
    assert tensor_digest(matrix.clone().requires_grad_()) == tensor_digest(matrix)
    assert tensor_digest(torch.tensor(float("nan"))) == tensor_digest(torch.tensor(float("nan")))
    assert tensor_digest(torch.empty(0, 2)) != tensor_digest(torch.empty(2, 0))


def test_digest_of_several_depends_on_names_and_not_on_order() -> None:
    a, b = torch.zeros(1), torch.ones(1)
    assert tensors_digest({"a": a, "b": b}) == tensors_digest({"b": b, "a": a})
    assert tensors_digest({"a": a, "b": b}) != tensors_digest({"a": b, "b": a})
    assert tensors_digest({"a": a}) != tensors_digest({"a": a, "b": b})
