"""AdamW on batches of networks by torch, on the CPU or a CUDA device: the whole batch in every operation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from sims.shallow.descent import require_batch
from sims.shallow.network import Network, Samples
from sims.shallow.settings import AdamW

REPORT_EVERY = 200  # steps between reports of progress


class TorchDescent:
    """Runs a whole batch at once, gradients written out.

    Parameters
    ----------
    device
        "cpu", "cuda" or "cuda:INDEX".
    precision
        "float32", the paper's, or "float64".
    """

    name = "torch"

    def __init__(self, device: str = "cpu", *, precision: str = "float32") -> None:
        self.device = device
        self.precision = precision

    @torch.no_grad()
    def descend(
        self,
        samples: Samples,
        start: Network,
        settings: AdamW,
        *,
        at: np.ndarray,
        train_base: bool = True,
        progress: Callable[[float], None] = lambda _: None,
    ) -> Network:
        """Run AdamW; see `sims.shallow.descent.Descent`."""
        require_batch(samples, start, at)
        repeats = len(start.U) // len(samples.x)
        x, y = (torch.cat([self._tensor(part)] * repeats) for part in samples)
        point = Network(*(self._tensor(part) for part in (start.A, start.c, start.U, start.V)))
        trained = [point.A, point.c, point.U, point.V] if train_base else [point.U, point.V]
        averages = [(torch.zeros_like(part), torch.zeros_like(part)) for part in trained]
        records: list[list[np.ndarray]] = []
        last = int(at[-1])
        for step in range(last + 1):
            if step:
                slopes = gradient(point, x.mT, y)[-len(trained) :]
                for part, slope, (mean, square) in zip(trained, slopes, averages, strict=True):
                    _adamw(part, slope, mean, square, step, settings)
            if step == at[len(records)]:
                records.append([part.cpu().numpy().astype(float) for part in vars(point).values()])
            if step % REPORT_EVERY == 0 and step:
                progress(step / last)
        return Network(*(np.stack(parts) for parts in zip(*records, strict=True)))

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, dtype=getattr(torch, self.precision), device=self.device)


def gradient(point: Network, inputs: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the gradients of the batch's losses by A, c, U and V.

    With ``s = sigmoid(W_t x)`` and ``r = 2 (c^T s - y)/N``: by c it is ``sum r s``, by W_t
    ``G_t = sum (r c * s * (1 - s)) x^T``, by A ``sum_t G_t``, by U_t ``G_t V_t``, by V_t ``G_t^T U_t``.

    Parameters
    ----------
    inputs
        ``(B, T, d, N)``.
    y
        ``(B, T, N)``.
    """
    c = point.c[:, None, None, :]
    s = torch.sigmoid(point.W @ inputs)
    residual = ((c @ s).squeeze(-2) - y).mul_(2 / y.shape[-1])
    by_c = (s @ residual[..., None])[..., 0].sum(dim=1)
    slope = s.mul_(1 - s).mul_(residual[..., None, :]).mul_(c.mT)
    by_W = slope @ inputs.mT
    return by_W.sum(dim=1), by_c, by_W @ point.V, by_W.mT @ point.U


def _adamw(
    part: torch.Tensor, slope: torch.Tensor, mean: torch.Tensor, square: torch.Tensor, step: int, settings: AdamW
) -> None:
    """Take one step in place."""
    mean.lerp_(slope, 1 - settings.mean_rate)
    square.mul_(settings.square_rate).addcmul_(slope, slope, value=1 - settings.square_rate)
    root = (square / (1 - settings.square_rate**step)).sqrt_().add_(settings.epsilon)
    part.mul_(1 - settings.step_size * settings.weight_decay)
    part.addcdiv_(mean, root, value=-settings.step_size / (1 - settings.mean_rate**step))
