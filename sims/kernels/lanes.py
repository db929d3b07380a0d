"""How batches of trials lie in memory for `sims.kernels.descent`: in blocks of LANES trials side by side."""

from __future__ import annotations

import numpy as np

from sims.kernels.simd import LANES

_CACHE_LINE = 64


def padded(rows: int) -> int:
    """Return the next multiple of 4: panels have 8 rows, or 4."""
    return (rows + 3) // 4 * 4


def aligned(*shape: int) -> np.ndarray:
    """Return zeros of this shape, aligned to a cache line; the padding of a matrix must not be NaN."""
    size = int(np.prod(shape)) * 8
    room = np.zeros(size + _CACHE_LINE, np.uint8)
    offset = -room.ctypes.data % _CACHE_LINE
    return room[offset : offset + size].view(np.float64).reshape(shape)


def to_lanes(trials: np.ndarray) -> np.ndarray:
    """Turn ``(B, ...)`` into ``(blocks, ..., LANES)``; lanes beyond the last trial repeat it."""
    blocks = -(-len(trials) // LANES)
    out = aligned(blocks, *trials.shape[1:], LANES)
    for lane in range(LANES):
        mine = trials[lane::LANES]
        out[: len(mine), ..., lane] = mine
        out[len(mine) :, ..., lane] = trials[-1]
    return out


def from_lanes(vectors: np.ndarray, trials: int) -> np.ndarray:
    """Undo `to_lanes` for this many trials."""
    moved = np.moveaxis(vectors, -1, 1)
    return moved.reshape(-1, *moved.shape[2:])[:trials]


def to_panels(matrices: np.ndarray) -> np.ndarray:
    """Turn ``(..., rows, d, LANES)``, rows a multiple of 4, into panels, ``(..., rows * d, LANES)``.

    A panel is 8 rows, the last one perhaps 4, column by column.
    """
    *lead, rows, d, lanes = matrices.shape
    full = rows // 8 * 8
    out = aligned(*lead, rows * d, lanes)
    for first, last, height in ((0, full, 8), (full, rows, 4)):
        panels = matrices[..., first:last, :, :].reshape(*lead, -1, height, d, lanes)
        out[..., first * d : last * d, :] = panels.swapaxes(-3, -2).reshape(*lead, -1, lanes)
    return out


def stacked(*matrices: np.ndarray) -> np.ndarray:
    """Stack ``(..., d, d, LANES)`` vertically, with zeros below up to a multiple of 4 rows."""
    *lead, _, d, lanes = matrices[0].shape
    rows = sum(M.shape[-3] for M in matrices)
    bottom = np.zeros((*lead, padded(rows) - rows, d, lanes))
    return np.concatenate([*matrices, bottom], axis=-3)
