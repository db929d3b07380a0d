"""A small benchmark of made-up features, for which no encoder is needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from loraml_theory.harness.seeds import generator
from realdata.continual.features import FeatureTask
from realdata.text.splits import PARTS

LABEL = "made-up features (drawn, no texts)"
"""Label of results on them."""
WIDTH, LABELS, RANK = 32, 8, 4
SIZES = {"train": 96, "validation": 64, "test": 128}
NOISE, SIZE = 0.1, 6.0


def made_tasks(names: Sequence[str]) -> dict[str, FeatureTask]:
    """Return tasks whose sentences are near their label's features after a shift of rank 4 is undone.

    A sentence of label l has the features ``(I + R_t) e_l + ε``, normalised, with a unit vector e_l for each label, a
    task's own shift R_t of rank 4, and normal ε. All tasks are drawn from one seed, each for itself.
    """
    return {name: _made(name) for name in names}


def _made(name: str) -> FeatureTask:
    rng = generator(0, "made", name)
    labels = _unit(rng.standard_normal((LABELS, WIDTH)))
    shift = rng.standard_normal((WIDTH, RANK)) @ rng.standard_normal((RANK, WIDTH)) * (SIZE / WIDTH)
    sentences, right = {}, {}
    for part in PARTS:
        numbers = np.arange(SIZES[part]) % LABELS
        clean = labels[numbers] + labels[numbers] @ shift.T
        noisy = clean + NOISE * np.linalg.norm(clean, axis=1, keepdims=True) * rng.standard_normal(clean.shape)
        sentences[part] = torch.from_numpy(_unit(noisy)).float()
        right[part] = torch.from_numpy(numbers)
    texts = tuple(f"{name} {number}" for number in range(1, LABELS + 1))
    return FeatureTask(texts, torch.from_numpy(labels).float(), sentences, right)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
