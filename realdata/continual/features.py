"""Tasks of frozen features: one square map, from the identity on, is what is adapted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from loraml_theory.harness.atomic import write_whole
from loraml_theory.harness.errors import InputError
from loraml_theory.harness.input_files import check_regular, read_bytes, read_json
from realdata.continual.problem import SimilarityProblem
from realdata.text.splits import PARTS, Part

if TYPE_CHECKING:
    import numpy as np


class FeatureTask(NamedTuple):
    """A task as an encoder sees it.

    Parameters
    ----------
    texts
        The labels.
    labels
        Their features, ``(labels, width)``.
    sentences, right
        By part: features ``(rows, width)``, and the number of each row's label.
    """

    texts: tuple[str, ...]
    labels: Tensor
    sentences: Mapping[Part, Tensor]
    right: Mapping[Part, Tensor]


class FeatureMap(nn.Module):
    """One square linear map without a bias, at first the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.map = nn.Linear(width, width, bias=False)
        with torch.no_grad():
            self.map.weight.copy_(torch.eye(width))

    def forward(self, features: Tensor) -> Tensor:
        """Return the mapped features."""
        return self.map(features)


class FeatureProblem(SimilarityProblem):
    """Tasks of features; sentences and labels pass through the same map."""

    def __init__(self, tasks: Mapping[str, FeatureTask], *, temperature: float, orders: Sequence[int]) -> None:
        super().__init__({name: task.texts for name, task in tasks.items()}, temperature=temperature, orders=orders)
        self.tasks = tasks
        self.plain = FeatureMap(next(iter(tasks.values())).labels.shape[1])

    def size(self, task: str, part: Part) -> int:
        """Return the number of rows."""
        return len(self.tasks[task].right[part])

    def sentences(self, model: nn.Module, task: str, part: Part, rows: NDArray[np.int64] | None = None) -> Tensor:
        """Return the mapped features."""
        features = self.tasks[task].sentences[part]
        return model(_on(model, features if rows is None else features[torch.from_numpy(rows)]))

    def label_texts(self, model: nn.Module, tasks: Sequence[str]) -> list[Tensor]:
        """Return the mapped features of labels, all in one pass."""
        features = [self.tasks[task].labels for task in tasks]
        return list(model(_on(model, torch.cat(features))).split([len(one) for one in features]))

    def right(self, task: str, part: Part) -> Tensor:
        """Return the numbers of the right labels."""
        return self.tasks[task].right[part]

    def document(self, tasks: Sequence[str]) -> dict[str, Any]:
        """Return sizes, labels and hashes of features; a hash is of values rounded, which threads do not change."""
        return {
            task: {
                "labels": list(self.labels[task]),
                **{part: [self.size(task, part), _digest(self.tasks[task], part)] for part in PARTS},
            }
            for task in tasks
        }


def saved_features(path: Path, tasks: Mapping[str, FeatureTask], *, source: Mapping[str, Any]) -> None:
    """Write features, so that they are computed once, and beside them, last, a JSON file of labels and source.

    Parameters
    ----------
    path
        Of the features; the other file has the ending ``.json``.
    tasks
        The features.
    source
        What they follow from.
    """
    from safetensors.torch import save

    tensors = {}
    for name, task in tasks.items():
        tensors[f"{name}/labels"] = task.labels
        for part in PARTS:
            tensors[f"{name}/{part}"], tensors[f"{name}/{part}/right"] = task.sentences[part], task.right[part]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").unlink(missing_ok=True)
    write_whole(path, save(tensors))
    texts = {name: list(task.texts) for name, task in tasks.items()}
    write_whole(path.with_suffix(".json"), json.dumps({"source": source, "labels": texts}))


def read_features(path: Path, *, source: Mapping[str, Any] | None = None) -> dict[str, FeatureTask] | None:
    """Return features that are there, None if none are, or of another source than the one given.

    Raises
    ------
    InputError
        If a file is damaged.
    """
    from safetensors.torch import load

    if not path.with_suffix(".json").exists():
        return None
    about = read_json(path.with_suffix(".json"), expected="what features are of; remove it and run again")
    content = read_bytes(path, expected="features", limit=check_regular(path, expected="features"))
    try:
        if source is not None and _written(about["source"]) != _written(source):
            return None
        tensors = load(content)
        return {
            name: FeatureTask(
                tuple(texts),
                tensors[f"{name}/labels"],
                {part: tensors[f"{name}/{part}"] for part in PARTS},
                {part: tensors[f"{name}/{part}/right"] for part in PARTS},
            )
            for name, texts in about["labels"].items()
        }
    except Exception as error:  # of safetensors, a KeyError of another file
        raise InputError(f"{path}: is damaged; remove it and run again") from error


def _written(source: Any) -> str:
    """Return what features follow from as text, in which tuples and lists are the same."""
    return json.dumps(source, sort_keys=True)


def _on(model: nn.Module, features: Tensor) -> Tensor:
    return features.to(next(model.parameters()).device)


def _digest(task: FeatureTask, part: Part) -> str:
    rounded = (task.sentences[part] * 1000).round().to(torch.int32).numpy().tobytes()
    return hashlib.sha256(rounded + task.right[part].numpy().tobytes()).hexdigest()[:16]
