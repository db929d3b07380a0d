"""What a chain of tasks needs of models and data: a plain model, the loss of some rows, and scores of tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from realdata.experiments.experiment import Score
from realdata.text.splits import Part

if TYPE_CHECKING:
    import numpy as np

Rows = Mapping[str, "NDArray[np.int64]"]
"""Numbers of rows to train on, by task."""


class Problem(ABC):
    """Tasks of one kind for one kind of model.

    Attributes
    ----------
    scores
        By name; the first is the main one.
    plain
        The model as it is, which no one changes for good.
    labels
        Texts of the labels, by task.
    """

    scores: Mapping[str, Score]
    plain: nn.Module
    labels: Mapping[str, tuple[str, ...]]

    @abstractmethod
    def size(self, task: str, part: Part) -> int:
        """Return the number of rows of a part of a task."""

    @abstractmethod
    def loss(self, model: nn.Module, rows: Rows) -> Tensor:
        """Return the mean loss of some rows to train on."""

    @abstractmethod
    def evaluated(self, model: nn.Module, tasks: Sequence[str], part: Part) -> dict[str, list[float]]:
        """Return every score of every task, on a part of each."""

    @abstractmethod
    def document(self, tasks: Sequence[str]) -> dict[str, Any]:
        """Return what tells the model and these tasks from others, as JSON holds it: hashes, sizes and labels."""


class SimilarityProblem(Problem):
    """The choice of the label whose text is nearest to a sentence, by the cosine of their embeddings.

    The loss of a row is the cross-entropy of ``cosines / temperature`` over its own task's labels: while it is trained,
    no other task's are known to belong together with it. Its scores are the shares of right choices among the labels of
    all tasks of the order, ``all``, for which no one says which task a sentence is of, and among its task's, ``own``.
    """

    temperature: float

    @abstractmethod
    def sentences(self, model: nn.Module, task: str, part: Part, rows: NDArray[np.int64] | None = None) -> Tensor:
        """Return the embeddings of sentences, ``(rows, width)``; of all, in evaluation, if no rows are given."""

    @abstractmethod
    def label_texts(self, model: nn.Module, tasks: Sequence[str]) -> list[Tensor]:
        """Return the embeddings of the labels of each of some tasks, ``(labels, width)``."""

    @abstractmethod
    def right(self, task: str, part: Part) -> Tensor:
        """Return the number of the right label of every row."""

    def __init__(self, labels: Mapping[str, tuple[str, ...]], *, temperature: float, orders: Sequence[int]) -> None:
        self.labels, self.temperature = labels, temperature
        own = sum(1 / len(texts) for texts in labels.values()) / len(labels)
        several = sum(map(len, labels.values())) / len(labels) * max(orders)
        self.scores = {
            "all": Score("accuracy among the labels of all tasks of the order", 1 / several),
            "own": Score("accuracy among the labels of the task", own),
        }

    def loss(self, model: nn.Module, rows: Rows) -> Tensor:
        """Return the mean cross-entropy over each row's own labels."""
        tasks = [task for task, own in rows.items() if len(own)]
        losses = []
        for task, labels in zip(tasks, self.label_texts(model, tasks), strict=True):
            cosines = _cosines(self.sentences(model, task, "train", rows[task]), labels)
            right = self.right(task, "train")[torch.from_numpy(rows[task])].to(cosines.device)
            losses.append(functional.cross_entropy(cosines / self.temperature, right, reduction="none"))
        return torch.cat(losses).mean()

    def evaluated(self, model: nn.Module, tasks: Sequence[str], part: Part) -> dict[str, list[float]]:
        """Return the shares of right choices."""
        found: dict[str, list[float]] = {name: [] for name in self.scores}
        with torch.no_grad():
            labels = self.label_texts(model, tasks)
            texts = [text for task in tasks for text in self.labels[task]]
            for task, own in zip(tasks, labels, strict=True):
                embedded = self.sentences(model, task, part)
                right = self.right(task, part).tolist()
                chosen = _cosines(embedded, own).argmax(dim=1).tolist()
                found["own"].append(_share(chosen, right))
                among_all = _cosines(embedded, torch.cat(labels)).argmax(dim=1).tolist()
                names = self.labels[task]
                found["all"].append(_share([texts[at] for at in among_all], [names[at] for at in right]))
        return found


def _cosines(sentences: Tensor, labels: Tensor) -> Tensor:
    """Return the cosines of every sentence with every label, ``(sentences, labels)``."""
    return functional.normalize(sentences.float(), dim=1) @ functional.normalize(labels.float(), dim=1).T


def _share(got: Sequence[Any], wanted: Sequence[Any]) -> float:
    return sum(map(bool, (a == b for a, b in zip(got, wanted, strict=True)))) / len(wanted)
