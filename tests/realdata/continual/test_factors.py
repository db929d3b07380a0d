from __future__ import annotations

from pathlib import Path

import pytest
import torch

from loraml_theory.harness.errors import InputError
from realdata.continual.factors import attached, divided, factors, joined, loaded, merged, put, save
from tests.realdata.continual.small import Two, drawn, layers


def inputs() -> torch.Tensor:
    return torch.randn(5, 10, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def expected(plain: Two, shifts: list[dict[str, torch.Tensor]]) -> torch.Tensor:
    """Return the outputs of the two layers with shifts of their weights."""
    one, two = (getattr(plain, name).weight.detach() + sum(shift[name] for shift in shifts) for name in ("one", "two"))
    return torch.tanh(inputs() @ one.T + plain.one.bias.detach()) @ two.T + plain.two.bias.detach()


def shift_of(seed: int) -> dict[str, torch.Tensor]:
    return {name: layers().scale * pair.B @ pair.A for name, pair in drawn(seed).items()}


def test_pairs_side_by_side_have_the_sum_of_their_shifts_and_divide_again() -> None:
    first, second = drawn(1), drawn(2)
    both = joined([first, second])
    for name in ("one", "two"):
        assert torch.allclose(
            both[name].B @ both[name].A, first[name].B @ first[name].A + second[name].B @ second[name].A
        )
    again = divided(both, rank=3)
    assert len(again) == 2
    for one, given in zip(again, (first, second), strict=True):
        assert all(torch.equal(x, y) for name in one for x, y in zip(one[name], given[name], strict=True))


def test_frozen_pairs_act_while_merged_and_the_very_weights_come_back() -> None:
    plain = Two()
    before = dict(plain.named_parameters())
    with attached(plain, layers(), seed=0) as model:
        with merged(model, [drawn(1), drawn(2)], scale=layers().scale), torch.no_grad():
            outputs = model.eval()(inputs())  # lora_B is zero
        assert model.get_base_model() is plain
    assert torch.allclose(outputs, expected(plain, [shift_of(1), shift_of(2)]), rtol=0, atol=1e-12)
    assert [name for name, _ in plain.named_parameters()] == list(before)
    assert all(parameter is before[name] for name, parameter in plain.named_parameters())


def test_a_saved_adapter_is_a_stock_one_with_the_shift_of_all_pairs(tmp_path: Path) -> None:
    plain = Two()
    save(tmp_path / "row", plain, layers(), [drawn(1), drawn(2), drawn(3)])
    assert {path.name for path in (tmp_path / "row").iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
    with loaded(tmp_path / "row", plain) as model, torch.no_grad():
        outputs = model.eval()(inputs())
        held = divided(factors(model), rank=3)
    wanted = expected(plain, [shift_of(seed) for seed in (1, 2, 3)])
    assert torch.allclose(outputs, wanted, rtol=0, atol=1e-4)  # peft loads into single precision
    assert torch.allclose(held[1]["one"].A.double(), drawn(2)["one"].A, atol=1e-6)


def test_a_folder_without_an_adapter_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"adapter_config\.json: cannot be read"), loaded(tmp_path, Two()):
        pass


def test_put_gives_the_factors() -> None:
    with attached(Two(), layers(), seed=0) as model:
        put(model, drawn(4))
        found = factors(model)
    assert torch.allclose(found["two"].B.double(), drawn(4)["two"].B)
