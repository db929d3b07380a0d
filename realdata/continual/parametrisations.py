"""What stands between a raw factor and the one that the forward uses, for `torch.nn.utils.parametrize`.

Each is a module whose forward takes lora_A's or lora_B's weight; lora_A is wide, so filters see its transpose. After
training, the factor that the forward uses replaces the raw one, and inference costs nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from loraml_theory.continual import filters
from realdata.continual.settings import FilterName


class Haar(nn.Module):
    """The low-low band of the factor's one-level Haar transform times θ, which starts at 1; see `filters.haar`."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.theta = nn.Parameter(weight.new_ones((rows + 1) // 2, (columns + 1) // 2))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the filtered factor."""
        return filters.haar(weight, self.theta)


class Diagonal(nn.Module):
    """The factor with every vector of its long side times an entry of g, which starts at 1; see `filters.diagonal`."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.g = nn.Parameter(weight.new_ones(max(weight.shape)))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the filtered factor."""
        return _wide(weight, lambda wide: filters.diagonal(wide, self.g))


class Wiener(nn.Module):
    """The factor with its singular values σ at σ − v/σ, v the variance of the noise; see `filters.wiener`.

    It starts at `LEAST`, whose effect is below rounding, and counts as that below: at 0 its root has no derivative.
    """

    LEAST = 1e-16

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.variance = nn.Parameter(weight.new_full((), self.LEAST))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the filtered factor."""
        return _tall(weight, lambda tall: filters.wiener(tall, self.variance.clamp(min=self.LEAST).sqrt()))


class Heat(nn.Module):
    """The lora_A that makes the product's singular values σ those σ(1 − e^{−sσ²}); s starts at 1; see `filters.heat`.

    Parameters
    ----------
    other
        The raw lora_B.
    """

    def __init__(self, other: nn.Parameter) -> None:
        super().__init__()
        self.s = nn.Parameter(other.new_ones(()))
        self._other: Callable[[], Tensor] = lambda: other  # not a parameter of its own

    def forward(self, weight: Tensor) -> Tensor:
        """Return lora_A of the filtered product."""
        return filters.heat(weight, self._other(), self.s)


class Layer(nn.Module):
    """``δ(X ω + b)`` on the rank of a tall factor X, eq. 11, δ the positive part; ω by Kaiming, b zero."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rank = min(weight.shape)
        self.omega = nn.Parameter(weight.new_empty(rank, rank))
        nn.init.kaiming_uniform_(self.omega, nonlinearity="relu")
        self.b = nn.Parameter(weight.new_zeros(rank))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the factor of the network."""
        return _tall(weight, lambda X: functional.relu(X @ self.omega + self.b))

    def penalised(self) -> Sequence[Tensor]:
        """Return ω and b."""
        return self.omega, self.b


class Residual(nn.Module):
    """``X + δ(X ω + b) V`` on the rank of a tall factor; V starts at 0, where the network is the identity."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rank = min(weight.shape)
        hidden = hidden_width(rank)
        self.omega = nn.Parameter(weight.new_empty(rank, hidden))
        nn.init.kaiming_uniform_(self.omega, nonlinearity="relu")
        self.b = nn.Parameter(weight.new_zeros(hidden))
        self.V = nn.Parameter(weight.new_zeros(hidden, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the factor of the network."""
        return _tall(weight, lambda X: X + functional.relu(X @ self.omega + self.b) @ self.V)

    def penalised(self) -> Sequence[Tensor]:
        """Return V, which is how far the network is from the identity."""
        return (self.V,)


class Complement(nn.Module):
    """The factor without what lies in a span: rows of lora_A, or columns of lora_B.

    Parameters
    ----------
    earlier
        Vectors of the span as columns, ``(long side, vectors)``.
    """

    basis: Tensor

    def __init__(self, earlier: Tensor) -> None:
        super().__init__()
        self.register_buffer("basis", torch.linalg.qr(earlier.double())[0].to(earlier.dtype))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the projected factor."""
        return _tall(weight, lambda X: X - self.basis @ (self.basis.T @ X))


class ActivationNetwork(nn.Module):
    """The released network on activations, r → max(128, r/2) → r with a positive part; Kaiming, biases zero.

    Parameters
    ----------
    rank
        r.
    identity
        Add the activations, and start the last layer at 0, so that it begins as the identity.
    """

    def __init__(self, rank: int, *, identity: bool) -> None:
        super().__init__()
        self.first = nn.Linear(rank, hidden_width(rank))
        self.last = nn.Linear(hidden_width(rank), rank)
        self.identity = identity
        for layer in (self.first, self.last):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        if identity:
            nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return what lora_B gets."""
        y = self.last(functional.relu(self.first(x)))
        return x + y if self.identity else y


_FILTERS: dict[FilterName, type[Haar | Diagonal | Wiener]] = {"haar": Haar, "diagonal": Diagonal, "wiener": Wiener}


def filters_of(kind: FilterName, A: nn.Module, B: nn.Module) -> tuple[nn.Module | None, nn.Module | None]:
    """Return filters of lora_A and lora_B of a layer, whose weights are raw as yet; ``heat`` is lora_A's alone."""
    raw_A, raw_B = A.get_parameter("weight"), B.get_parameter("weight")
    if kind == "heat":
        return Heat(raw_B), None
    return _FILTERS[kind](raw_A), _FILTERS[kind](raw_B)


def register(layer: nn.Module, *steps: nn.Module | None) -> None:
    """Let a layer's weight pass through those of these steps that are there, the first one first."""
    for step in steps:
        if step is not None:
            parametrize.register_parametrization(layer, "weight", step)


def hidden_width(rank: int) -> int:
    """Return the hidden width of the released network."""
    return max(128, rank // 2)


def _tall(weight: Tensor, act: Callable[[Tensor], Tensor]) -> Tensor:
    """Act on a factor whose long side is first."""
    return act(weight) if weight.shape[0] >= weight.shape[1] else act(weight.T).T


def _wide(weight: Tensor, act: Callable[[Tensor], Tensor]) -> Tensor:
    """Act on a factor whose long side is last."""
    return act(weight) if weight.shape[0] <= weight.shape[1] else act(weight.T).T
