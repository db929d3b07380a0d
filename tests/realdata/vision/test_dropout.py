"""Dropout joined with GELU and with sums: its statistics, its gradients, and what its draws depend on.

A statistical test fails by chance for less than one seed in a million.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import chi2, norm
from torch import Tensor, nn
from torch.nn import functional

from realdata.peft_ml.seeding import torch_seeded
from realdata.vision.dropout import DropoutAdd, GELUDropout, Mask, _DropoutAdd, _GELUDropout
from realdata.vision.dropout_kernels import BLOCK, HALF_BLOCK

FALSE_ALARM = 1e-6
PROBABILITIES = [0.001, 0.1, 0.5, 0.9]
NEVER = 1e-13  # rounds to a threshold of 0: the kernels run and drop nothing


def kept(count: int, p: float, *, seed: int = 0) -> Tensor:
    """Return one where an element stays, and zero elsewhere."""
    with torch_seeded(seed, "dropout"):
        return DropoutAdd(p)(torch.zeros(count), torch.ones(count)).ne(0).double()


def limit(tests: int) -> float:
    """Return what the largest of so many standard normal variables rarely exceeds in absolute value."""
    return float(norm.isf(FALSE_ALARM / 2 / tests))


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("p", PROBABILITIES)
def test_a_part_p_of_the_elements_becomes_zero(p: float, seed: int) -> None:
    count = 1 << 22
    zeros = count - float(kept(count, p, seed=seed).sum())
    assert abs(zeros - p * count) <= limit(3 * len(PROBABILITIES)) * math.sqrt(p * (1 - p) * count)


@pytest.mark.parametrize("p", PROBABILITIES)
def test_what_stays_is_multiplied_so_that_the_mean_is_kept(p: float) -> None:
    drawn = Mask.drawn(p)
    assert abs(drawn.threshold / 2**32 - p) <= 2**-33
    assert drawn.scale * (1 - drawn.threshold / 2**32) == pytest.approx(1, abs=1e-15)
    out = DropoutAdd(p)(torch.zeros(1 << 17), torch.ones(1 << 17))
    assert set(out.tolist()) == {0.0, float(np.float32(drawn.scale))}


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_elements_are_independent(p: float) -> None:
    """Neighbours, rows of usual widths, elements of one hash, of neighbouring blocks, of calls one after another."""
    count = 1 << 21
    centred = (kept(count, p) - (1 - p)) / math.sqrt(p * (1 - p))
    lags = [1, 2, 3, 4, 8, 64, 128, 256, 512, HALF_BLOCK - 1, HALF_BLOCK, HALF_BLOCK + 1, BLOCK, 64 * 128]
    found = [float((centred[lag:] * centred[:-lag]).sum()) / math.sqrt(count - lag) for lag in lags]
    with torch_seeded(0, "dropout"):
        calls = [DropoutAdd(p)(torch.zeros(count), torch.ones(count)).ne(0).double() for _ in range(3)]
    assert torch.equal(calls[0], kept(count, p))
    centred_calls = [(call - (1 - p)) / math.sqrt(p * (1 - p)) for call in calls]
    found += [float(centred_calls[a] @ centred_calls[b]) / math.sqrt(count) for a, b in ((0, 1), (1, 2), (0, 2))]
    assert np.abs(found).max() <= limit(len(found))


def test_patterns_of_eight_neighbours_are_as_frequent_as_they_should_be() -> None:
    p, count = 0.3, 1 << 21
    patterns = kept(8 * count, p).view(count, 8)
    seen = torch.bincount((patterns @ (2.0 ** torch.arange(8, dtype=torch.float64))).long(), minlength=256)
    ones = torch.tensor([bin(pattern).count("1") for pattern in range(256)])
    expected = count * (1 - p) ** ones * p ** (8 - ones)
    statistic = float(((seen - expected) ** 2 / expected).sum())
    low, high = chi2.ppf(FALSE_ALARM / 2, 255), chi2.isf(FALSE_ALARM / 2, 255)
    assert low <= statistic <= high


def test_draws_follow_from_torchs_global_generator_alone() -> None:
    x = torch.randn(5000)
    with torch_seeded(1, "a"):
        state = torch.get_rng_state()
        first, second = (GELUDropout(0.5)(x) for _ in range(2))
        later = torch.get_rng_state()
        torch.set_rng_state(state)
        assert torch.equal(GELUDropout(0.5)(x), first)
        assert torch.equal(GELUDropout(0.5)(x), second)
        assert torch.equal(torch.get_rng_state(), later)
    with torch_seeded(2, "a"):
        other = GELUDropout(0.5)(x)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)


def test_threads_change_nothing(threads: Callable[[int], None]) -> None:
    x, residual, gradient = torch.randn(3, 200, 1001)
    found = []
    for count in (1, 2, 3):
        threads(count)
        inputs = [x.clone().requires_grad_(), residual.clone().requires_grad_()]
        with torch_seeded(0, "threads"):
            out = DropoutAdd(0.1)(inputs[1], GELUDropout(0.1)(inputs[0]))
        found.append([out, *torch.autograd.grad(out, inputs, gradient)])
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("transposed", [False, True])
def test_gradients_with_a_fixed_mask(transposed: bool) -> None:
    """By finite differences in float64, over the borders of a block and of a half, and the last block not full."""
    mask = Mask(key=5, threshold=1 << 30)
    x, residual = torch.randn(2, 3, 1000, dtype=torch.float64, requires_grad=True)
    if transposed:
        x, residual = x.T, residual.T

    def gelu(x: Tensor) -> Tensor:
        out: Tensor = _GELUDropout.apply(x, mask)  # type: ignore[no-untyped-call]
        return out

    def add(residual: Tensor, x: Tensor) -> Tensor:
        out: Tensor = _DropoutAdd.apply(residual, x, mask)  # type: ignore[no-untyped-call]
        return out

    assert torch.autograd.gradcheck(gelu, (x,), fast_mode=True)
    assert torch.autograd.gradcheck(add, (residual, x), fast_mode=True)
    small, other = torch.randn(2, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gelu, (small,))
    assert torch.autograd.gradcheck(add, (other, small))


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_without_drops_it_is_gelu_and_a_sum(dtype: torch.dtype, allowed: float) -> None:
    x, residual, gradient = (4 * torch.randn(3, 70, 301)).to(dtype)
    found = []
    for ours in (True, False):
        inputs = [x.clone().requires_grad_(), residual.clone().requires_grad_()]
        inner = GELUDropout(NEVER)(inputs[0]) if ours else functional.gelu(inputs[0])
        out = DropoutAdd(NEVER)(inputs[1], inner) if ours else inputs[1] + inner
        found.append([out.detach(), *torch.autograd.grad(out, inputs, gradient)])
    for a, b in zip(*found, strict=True):
        assert float((a - b).abs().max()) <= allowed * float(b.abs().max())


def test_backward_passes_have_the_mask_of_the_forward_pass() -> None:
    x = torch.full((3, 5000), 2.0, requires_grad=True)
    activation = GELUDropout(0.5)(x)
    out = DropoutAdd(0.5)(torch.zeros_like(x), activation)
    (gradient,) = torch.autograd.grad(out.sum(), x, retain_graph=True)
    assert torch.equal(gradient.ne(0), out.ne(0))
    (again,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(gradient, again)


@pytest.mark.parametrize("module", [GELUDropout, lambda p: partial(DropoutAdd(p), torch.zeros(10))])
def test_second_derivatives_are_refused(module: Callable[[float], Callable[[Tensor], Tensor]]) -> None:
    x = torch.randn(10, requires_grad=True)
    with pytest.raises(RuntimeError, match="create_graph=True, expected first derivatives only"):
        torch.autograd.grad(module(0.5)(x).sum(), x, create_graph=True)


@pytest.mark.parametrize("inactive", ["evaluating", "zero"])
def test_where_nothing_is_dropped_nothing_is_drawn(inactive: str) -> None:
    x, residual = torch.randn(2, 4, 5)
    gelu, add = (module(0.0 if inactive == "zero" else 0.5) for module in (GELUDropout, DropoutAdd))
    if inactive == "evaluating":
        gelu.eval()
        add.eval()
    before = torch.get_rng_state()
    assert torch.equal(gelu(x), functional.gelu(x))
    assert torch.equal(add(residual, x), residual + x)
    assert torch.equal(torch.get_rng_state(), before)


def test_inputs_stay_as_they_are_and_need_no_gradient() -> None:
    x, residual = torch.randn(2, 70, 301)
    copies = x.clone(), residual.clone()
    with torch.no_grad():
        out = DropoutAdd(0.5)(residual, GELUDropout(0.5)(x))
    assert not out.requires_grad
    assert torch.equal(x, copies[0])
    assert torch.equal(residual, copies[1])
    frozen = DropoutAdd(0.5)(residual.requires_grad_(), x)
    (gradient,) = torch.autograd.grad(frozen.sum(), residual)
    assert torch.equal(gradient, torch.ones_like(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_precisions_are_torchs(dtype: torch.dtype) -> None:
    x, residual = torch.randn(2, 300).to(dtype)
    with torch_seeded(0, "torch"):
        found = GELUDropout(0.5)(x), DropoutAdd(0.5)(residual, x)
    with torch_seeded(0, "torch"):
        expected = functional.dropout(functional.gelu(x), 0.5), residual + functional.dropout(x, 0.5)
    assert all(torch.equal(a, b) and a.dtype == dtype for a, b in zip(found, expected, strict=True))


def test_other_devices_are_torchs() -> None:
    x = torch.empty(3, 4, device="meta")
    assert GELUDropout(0.5)(x).shape == DropoutAdd(0.5)(x, x).shape == (3, 4)
    assert DropoutAdd(0.5)(torch.zeros(3), torch.ones(3, dtype=torch.bfloat16)).dtype == torch.float32


def test_memory_is_used_again_only_when_nothing_refers_to_it() -> None:
    x = torch.randn(1 << 19)
    module = GELUDropout(NEVER)
    held = [module(x) for _ in range(3)]
    parts = [module(-x)[5:10], module(-x).view(2, -1).T.detach()]
    places = {out.data_ptr() for out in held}
    assert len(places) == 3
    for _ in range(5):
        assert module(2 * x).data_ptr() not in places
    assert all(torch.equal(out, held[0]) for out in held)
    torch.testing.assert_close(held[0], functional.gelu(x))
    torch.testing.assert_close(parts[0], functional.gelu(-x[5:10]))
    torch.testing.assert_close(parts[1], functional.gelu(-x).view(2, -1).T)
    del held
    assert len(places & {out.data_ptr() for out in [module(x) for _ in range(3)]}) == 3


@pytest.mark.parametrize("module", [GELUDropout, DropoutAdd])
@pytest.mark.parametrize("p", [-0.1, 1.0, math.nan])
def test_probabilities_that_are_none(module: type[nn.Module], p: float) -> None:
    with pytest.raises(ValueError, match=r"dropout: got .*, expected a probability >= 0 and < 1"):
        module(p)


def test_a_sum_of_different_shapes() -> None:
    with pytest.raises(ValueError, match=r"x: got shape \(3,\), expected the residual's, \(2, 3\)"):
        DropoutAdd(0.5)(torch.zeros(2, 3), torch.zeros(3))


def test_modules_show_their_probability() -> None:
    assert repr(nn.Sequential(GELUDropout(0.25))) == "Sequential(\n  (0): GELUDropout(p=0.25)\n)"
