"""What the tests of the shallow network share: small batches, and the plain torch loop that engines must follow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from sims.shallow.network import Network, Samples
from sims.shallow.settings import AdamW


def batch(
    seed: int, *, size: int = 3, d: int = 7, k: int = 2, T: int = 3, N: int = 45, zero: bool = False
) -> tuple[Samples, Network]:
    """Draw samples and starts, of which the U are 0 if asked for."""
    rng = np.random.default_rng(seed)
    samples = Samples(rng.standard_normal((size, T, N, d)), rng.standard_normal((size, T, N)))
    A, c = 0.5 * rng.standard_normal((size, d, d)), rng.standard_normal((size, d))
    U, V = 0.5 * rng.standard_normal((2, size, T, d, k))
    return samples, Network(A, c, 0 * U if zero else U, V)


class Plain(torch.nn.Module):
    """One network, as one would write it."""

    def __init__(self, start: Network, dtype: torch.dtype, *, train_base: bool = True) -> None:
        super().__init__()
        parts = {name: torch.tensor(part, dtype=dtype) for name, part in vars(start).items()}
        self.A, self.c = (torch.nn.Parameter(parts[name], requires_grad=train_base) for name in ("A", "c"))
        self.U, self.V = (torch.nn.ParameterList(parts[name].unbind()) for name in ("U", "V"))

    def forward(self, x: torch.Tensor, task: int) -> torch.Tensor:
        z = torch.nn.functional.linear(x, self.A) + (x @ self.V[task]) @ self.U[task].T
        return torch.sigmoid(z) @ self.c

    def point(self) -> Network:
        U, V = (np.stack([part.detach().numpy() for part in parts]) for parts in (self.U, self.V))
        return Network(self.A.detach().numpy().copy(), self.c.detach().numpy().copy(), U, V)


def plain_descent(
    samples: Samples, start: Network, settings: AdamW, *, dtype: torch.dtype = torch.float64, train_base: bool = True
) -> Iterator[Network]:
    """Yield the points of one network after every step of torch's AdamW, gradients by autograd."""
    net = Plain(start, dtype, train_base=train_base)
    betas = (settings.mean_rate, settings.square_rate)
    trained = [part for part in net.parameters() if part.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, settings.step_size, betas=betas, eps=settings.epsilon, weight_decay=settings.weight_decay
    )
    x, y = (torch.tensor(part, dtype=dtype) for part in samples)
    while True:
        torch.autograd.backward([torch.nn.functional.mse_loss(net(x[t], t), y[t]) for t in range(len(y))])
        optimizer.step()
        optimizer.zero_grad()
        yield net.point()
