"""Penalties, filters and networks against plainly written references, values and gradients, in double precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from realdata.continual import penalties
from realdata.continual.factors import Pair, Pairs
from realdata.continual.parametrisations import Complement, Diagonal, Haar, Heat, Layer, Residual, Wiener
from tests.realdata.continual.small import drawn

TOLERANCE = 1e-10


def numerical(act: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    """Return the gradient of a plain function by central differences of fourth order."""
    found, step = np.zeros_like(at), 1e-3
    for where in np.ndindex(at.shape):

        def moved(by: float, where: tuple[int, ...] = where) -> float:
            other = at.copy()
            other[where] += by
            return act(other)

        found[where] = (8 * (moved(step) - moved(-step)) - (moved(2 * step) - moved(-2 * step))) / (12 * step)
    return found


def along_the_imaginary_axis(act: Callable[[np.ndarray], complex], at: np.ndarray) -> np.ndarray:
    """Return the gradient of a plain function, to rounding also beside the kinks of a positive part."""
    found, step = np.zeros(at.shape), 1e-30
    for where in np.ndindex(at.shape):
        other = at.astype(complex)
        other[where] += 1j * step
        found[where] = act(other).imag / step
    return found


def positive(x: np.ndarray) -> np.ndarray:
    return np.where(x.real > 0, x, 0)


def close(found: Tensor, wanted: np.ndarray) -> bool:
    return bool(np.max(np.abs(found.detach().numpy() - wanted)) <= TOLERANCE * max(1.0, float(np.max(np.abs(wanted)))))


@pytest.mark.parametrize("factor", ["down", "up"])
def test_the_overlap_and_its_gradient(factor: str) -> None:
    earlier, new = drawn(1, rank=6), drawn(2)
    leaves = {name: Pair(*(x.clone().requires_grad_() for x in pair)) for name, pair in new.items()}
    value = penalties.overlap(earlier, leaves, factor=factor)  # type: ignore[arg-type]
    value.backward()  # type: ignore[no-untyped-call]
    total = 0.0
    for name, (A, B) in new.items():
        old = earlier[name].A.numpy() if factor == "down" else earlier[name].B.numpy().T
        own = A.numpy() if factor == "down" else B.numpy().T
        gradient = np.zeros_like(own)
        for row in old:
            for at, vector in enumerate(own):
                product = float(np.sum(row * vector))
                total += abs(product)
                gradient[at] += np.sign(product) * row
        leaf = leaves[name].A if factor == "down" else leaves[name].B
        assert leaf.grad is not None
        assert close(leaf.grad, gradient if factor == "down" else gradient.T)
    assert abs(value.item() - total) <= TOLERANCE * total


def test_the_overlap_is_not_a_function_of_the_update() -> None:
    earlier, new = drawn(1), drawn(2)
    other: Pairs = {name: Pair(10 * A, B / 10) for name, (A, B) in new.items()}
    assert all(torch.allclose(other[name].B @ other[name].A, new[name].B @ new[name].A) for name in new)
    values = [penalties.overlap(earlier, pairs, factor="down").item() for pairs in (new, other)]
    assert values[1] == pytest.approx(10 * values[0])


def test_norms_and_powers_and_the_anchor() -> None:
    new = drawn(3)
    norms = sum(float(np.sqrt(np.sum(x.numpy() ** 2))) for pair in new.values() for x in pair)
    assert penalties.frobenius_norms(new).item() == pytest.approx(norms, rel=TOLERANCE)
    x = torch.tensor([0.5, -2.0, 1.0], dtype=torch.float64, requires_grad=True)
    value = penalties.powers([x], 3.0, around=1.0)
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == pytest.approx(0.5**3 + 3.0**3, rel=TOLERANCE)
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([-0.75, -27.0, 0.0])
    now = {"a": torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)}
    kept = {"fisher.a": torch.tensor([3.0, 0.0]).double(), "value.a": torch.tensor([0.0, 9.0]).double()}
    pulled = penalties.anchored(now, kept)
    pulled.backward()  # type: ignore[no-untyped-call]
    assert pulled.item() == 1.5
    assert now["a"].grad is not None
    assert now["a"].grad.tolist() == [3.0, 0.0]


def svd_filter(Y: np.ndarray, act: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    u, s, v = np.linalg.svd(Y, full_matrices=False)
    return (u * act(s)) @ v


def haar(A: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Scale the low-low band of each block of four by the plain rule."""
    found = A.astype(np.result_type(A, theta))
    for i, j in np.ndindex(theta.shape):
        block = A[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        found[2 * i : 2 * i + 2, 2 * j : 2 * j + 2] += (theta[i, j] - 1) * block.sum() / 4
    return found


def heat(A: np.ndarray, B: np.ndarray, s: float) -> np.ndarray:
    """Filter the product by its singular values, and solve for the A that gives it with the same B."""
    u, sigma, v = np.linalg.svd(B @ A, full_matrices=False)
    return np.linalg.pinv(B) @ ((u * (sigma * (1 - np.exp(-s * sigma**2)))) @ v)


WIDE = 0.3 * drawn(5)["one"].A.numpy()  # (3, 10)
TALL = 0.3 * drawn(6)["one"].B.numpy()  # (6, 3)


def parametrised(
    kind: str, weight: np.ndarray
) -> tuple[nn.Module, Callable[[np.ndarray, Mapping[str, np.ndarray]], np.ndarray]]:
    """Return a module with drawn parameters, and its plain reference of a weight and these parameters."""
    given = torch.from_numpy(weight)

    def tall(act: Callable[[np.ndarray], np.ndarray], Y: np.ndarray) -> np.ndarray:
        return act(Y) if Y.shape[0] >= Y.shape[1] else act(Y.T).T

    made: dict[str, tuple[nn.Module, Callable[[np.ndarray, Mapping[str, np.ndarray]], np.ndarray]]] = {
        "haar": (Haar(given), lambda X, p: haar(X, p["theta"])),
        "diagonal": (Diagonal(given), lambda X, p: tall(lambda Y: p["g"][:, None] * Y, X)),
        "wiener": (
            Wiener(given),
            lambda X, p: tall(lambda Y: svd_filter(Y, lambda s: s - p["variance"] / s), X),
        ),
        "layer": (Layer(given), lambda X, p: tall(lambda Y: positive(Y @ p["omega"] + p["b"]), X)),
        "residual": (
            Residual(given),
            lambda X, p: tall(lambda Y: Y + positive(Y @ p["omega"] + p["b"]) @ p["V"], X),
        ),
    }
    module, reference = made[kind]
    rng = np.random.default_rng(7)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            value = rng.uniform(0.02, 0.04) if name == "variance" else rng.uniform(0.5, 1.5, tuple(parameter.shape))
            parameter.copy_(torch.as_tensor(value))
    return module, reference


@pytest.mark.parametrize("weight", [WIDE, TALL], ids=["wide", "tall"])
@pytest.mark.parametrize("kind", ["haar", "diagonal", "wiener", "layer", "residual"])
def test_filters_and_networks_and_their_gradients(kind: str, weight: np.ndarray) -> None:
    if kind == "haar":  # even sizes: blocks of four without padding
        weight = np.concatenate([weight, weight[:1]]) if weight.shape[0] % 2 else weight
        weight = weight[:, : weight.shape[1] // 2 * 2]
    module, reference = parametrised(kind, weight)
    parameters = {name: x.detach().numpy().copy() for name, x in module.named_parameters()}
    direction = np.random.default_rng(8).standard_normal(weight.shape)
    raw = torch.from_numpy(weight).clone().requires_grad_()
    found = module(raw)
    assert close(found, reference(weight, parameters))
    (found * torch.from_numpy(direction)).sum().backward()
    assert raw.grad is not None
    derivative: Any = numerical if kind == "wiener" else along_the_imaginary_axis
    assert close(raw.grad, derivative(lambda X: np.sum(direction * reference(X, parameters)), weight))
    for name, parameter in module.named_parameters():

        def moved(value: np.ndarray, name: str = name) -> Any:
            return np.sum(direction * reference(weight, {**parameters, name: value}))

        assert parameter.grad is not None
        assert close(parameter.grad, derivative(moved, parameters[name]))


def test_heat_and_its_gradients() -> None:
    other = nn.Parameter(torch.from_numpy(2 * TALL))
    module = Heat(other)
    raw = torch.from_numpy(2 * WIDE).clone().requires_grad_()
    direction = np.random.default_rng(8).standard_normal(WIDE.shape)
    found = module(raw)
    assert close(found, heat(2 * WIDE, 2 * TALL, 1.0))
    (found * torch.from_numpy(direction)).sum().backward()
    assert raw.grad is not None
    assert module.s.grad is not None
    assert other.grad is not None
    assert close(raw.grad, numerical(lambda A: float(np.sum(direction * heat(A, 2 * TALL, 1.0))), 2 * WIDE))
    assert close(
        module.s.grad, numerical(lambda s: float(np.sum(direction * heat(2 * WIDE, 2 * TALL, float(s)))), np.array(1.0))
    )
    assert [name for name, _ in module.named_parameters()] == ["s"]  # lora_B is trained in its own layer


def test_the_complement_is_orthogonal_to_the_span() -> None:
    earlier = torch.from_numpy(np.random.default_rng(3).standard_normal((10, 4)))
    found = Complement(earlier)(torch.from_numpy(WIDE)).numpy()
    basis = np.linalg.qr(earlier.numpy())[0]
    assert np.max(np.abs(found - (WIDE - WIDE @ basis @ basis.T))) < 1e-14
    assert np.max(np.abs(found @ earlier.numpy())) < 1e-13
