"""Losses and scores of the choice among candidate replies, for turns whose candidates are rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from realdata.language.settings import OUTPUTS, Head
from realdata.peft_ml.data import Batch, Inputs
from realdata.text.examples import stacked


@dataclass(frozen=True)
class CandidateProblem:
    """The choice of the true reply, from a model's outputs on the rows of turns.

    The rows of a turn are consecutive, the same number for each. The score of a candidate is its output of a one-score
    head, or the difference of the logits (true minus false) of a two-label head.

    Parameters
    ----------
    head
        ``two-label``, every pair is classified, as in the paper: the loss of a turn is the mean cross-entropy of its
        pairs. ``one-score``: the loss is the cross-entropy of the softmax over its candidates.
    padding
        Token and type for padding where batches are joined.

    Notes
    -----
    The scores are ``accuracy``, 1 if the true reply is ranked first and 0 otherwise (hits@1), and
    ``reciprocal_rank``. Equal candidate scores are ranked by index. The index of the true reply is drawn uniformly
    (`distractors.choices`), so this is a random order of the equal ones, the same for every model: a model with
    constant outputs is at chance level. A candidate score that is not a number counts as minus infinity.
    """

    head: Head
    padding: tuple[int, int] = (0, 0)
    score_names: tuple[str, ...] = ("accuracy", "reciprocal_rank")

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each turn, ``(turns,)``, from the outputs ``(turns * candidates, 2 or 1)``."""
        if self.head == "one-score":
            return functional.cross_entropy(self.candidate_scores(outputs, len(targets)), targets, reduction="none")
        logits = self._by_turn(outputs, len(targets))
        labels = functional.one_hot(targets, num_classes=logits.shape[1])
        return (
            functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels).mean(1)
        )

    def scores(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return accuracy and reciprocal rank of each turn, ``(turns, 2)``."""
        ranks = self.ranks(outputs, targets)
        return torch.stack([(ranks == 1).double(), 1.0 / ranks.double()], dim=1)

    def ranks(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the rank of each turn's true reply, 1 if it is first, ``(turns,)``."""
        scores = self.candidate_scores(outputs, len(targets)).nan_to_num(
            nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf
        )
        own = scores.gather(1, targets[:, None])
        earlier = torch.arange(scores.shape[1], device=scores.device) < targets[:, None]
        return 1 + ((scores > own) | ((scores == own) & earlier)).sum(dim=1)

    def candidate_scores(self, outputs: Tensor, turns: int) -> Tensor:
        """Return the candidates' scores, ``(turns, candidates)``; the largest is the choice."""
        by_turn = self._by_turn(outputs, turns)
        return by_turn[..., 0] if self.head == "one-score" else by_turn[..., 1] - by_turn[..., 0]

    def join(self, batches: Sequence[Batch]) -> Batch:
        """Return one batch of the turns of several batches, in order, padded to the longest row.

        Raises
        ------
        ValueError
            If turns have different numbers of candidates.
        """
        candidates = {(_rows(batch.inputs), len(batch.targets)) for batch in batches}
        if len({rows / turns for rows, turns in candidates}) != 1:
            raise ValueError(f"batches: got (rows, turns) {sorted(candidates)}; expected one number of rows per turn")
        targets = torch.cat([batch.targets for batch in batches])
        first = batches[0].inputs
        if isinstance(first, Tensor):
            return Batch(torch.cat([batch.inputs for batch in batches if isinstance(batch.inputs, Tensor)]), targets)
        named = [batch.inputs for batch in batches if isinstance(batch.inputs, Mapping)]
        return Batch({name: self._joined(name, [inputs[name] for inputs in named]) for name in first}, targets)

    def _joined(self, name: str, parts: Sequence[Tensor]) -> Tensor:
        """Return the rows of several batches, padded on the right."""
        fill = {"input_ids": self.padding[0], "token_type_ids": self.padding[1], "attention_mask": 0}[name]
        return stacked(parts, fill)

    def _by_turn(self, outputs: Tensor, turns: int) -> Tensor:
        """Return outputs as ``(turns, candidates, labels)``."""
        labels = OUTPUTS[self.head]
        if outputs.ndim != 2 or outputs.shape[1] != labels or turns < 1 or len(outputs) % turns:
            raise ValueError(
                f"outputs: got shape {tuple(outputs.shape)} for {turns} turns; "
                f"expected (turns * candidates, {labels}) from a {self.head} head"
            )
        return outputs.view(turns, -1, labels)


def _rows(inputs: Inputs) -> int:
    return len(inputs if isinstance(inputs, Tensor) else next(iter(inputs.values())))


def chance_level(candidates: int) -> tuple[float, float]:
    """Return the expected accuracy and reciprocal rank of a choice at random.

    Examples
    --------
    >>> chance_level(20)[0], round(chance_level(20)[1], 4)
    (0.05, 0.1799)
    """
    return 1 / candidates, sum(1 / rank for rank in range(1, candidates + 1)) / candidates
