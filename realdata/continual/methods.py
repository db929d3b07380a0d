"""The methods of continual adaptation under one signature: what each does before, in and after the training of a task.

Each keeps one pair of factors and goes on with it, unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from loraml_theory.harness.seeds import generator
from realdata.continual import penalties
from realdata.continual.factors import ADAPTER, Pair, Pairs, factors, joined, modules
from realdata.continual.parametrisations import Complement, register
from realdata.continual.problem import Problem, Rows

if TYPE_CHECKING:
    from realdata.continual.settings import ContinualSettings


class Stage(NamedTuple):
    """A training: the row of the matrix that it leads to, and the task or tasks of its rows."""

    row: int
    tasks: tuple[str, ...]


@dataclass
class State:
    """What a method has after a task: pairs whose shifts are added, and what else it keeps, which only training needs.

    A pair alone is what most methods have.
    """

    pairs: list[Pairs] = field(default_factory=list)
    kept: dict[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device) -> State:
        """Return the state on a device."""
        pairs = [{name: Pair(A.to(device), B.to(device)) for name, (A, B) in one.items()} for one in self.pairs]
        return State(list(pairs), {name: x.to(device) for name, x in self.kept.items()})


class Method:
    """Sequential adaptation: one pair, trained on one task after another.

    Parameters
    ----------
    settings
        Of the experiment.
    problem
        The tasks.
    seed
        Of everything that is drawn.
    """

    accumulates = False
    """Whether a task gets a fresh pair over those of earlier tasks, which are frozen and stay."""
    fresh = False
    """Whether a task gets a fresh pair in place of the earlier one."""

    def __init__(self, settings: ContinualSettings, problem: Problem, *, seed: int) -> None:
        self.settings = settings
        self.problem = problem
        self.seed = seed

    def stages(self, order: Sequence[str]) -> list[Stage]:
        """Return the trainings of an order of tasks."""
        return [Stage(row, (task,)) for row, task in enumerate(order, start=1)]

    def rows(self, stage: Stage, order: Sequence[str]) -> Rows:  # noqa: ARG002  (of replay)
        """Return the rows to train on."""
        return {task: np.arange(self.problem.size(task, "train")) for task in stage.tasks}

    def prepare(self, model: nn.Module, state: State) -> None:
        """Put between raw factors and forward what belongs there; the factors have their values already."""

    def penalty(self, model: nn.Module, state: State) -> Tensor | None:  # noqa: ARG002
        """Return what is added to the loss."""
        return None

    def ended(self, model: nn.Module, state: State, stage: Stage) -> State:  # noqa: ARG002
        """Return the state after the training of a task."""
        return State([*(state.pairs if self.accumulates else ()), factors(model)])

    def equip(self, model: nn.Module, state: State) -> None:
        """Add to a loaded model what its adapter does not hold."""


class Incremental(Method):
    """A fresh pair for each task over the frozen earlier ones."""

    accumulates = True


class OLora(Incremental):
    """A fresh pair for each task, whose lora_A is kept away from earlier ones by a penalty."""

    def prepare(self, model: nn.Module, state: State) -> None:  # noqa: ARG002
        """Put earlier pairs side by side."""
        self._earlier = joined(state.pairs) if state.pairs else None

    def penalty(self, model: nn.Module, state: State) -> Tensor | None:  # noqa: ARG002
        """Return the overlap with earlier pairs, and the norms of the new one, each times its weight."""
        weights = self.settings.o_lora
        new = {
            name: Pair(one.lora_A[ADAPTER].weight, one.lora_B[ADAPTER].weight) for name, one in modules(model).items()
        }
        terms = []
        if weights.orthogonality and self._earlier is not None:
            terms.append(weights.orthogonality * penalties.overlap(self._earlier, new, factor=weights.factor))
        if weights.norm:
            terms.append(weights.norm * penalties.frobenius_norms(new))
        return torch.stack(terms).sum() if terms else None


class OLoraExact(Incremental):
    """A fresh pair for each task; lora_A has its rows in the complement of all earlier rows, or lora_B its columns."""

    def prepare(self, model: nn.Module, state: State) -> None:
        """Project the factor at every forward.

        Raises
        ------
        ValueError
            If there is no room left.
        """
        down = self.settings.o_lora.factor == "down"
        for name, layer in modules(model).items() if state.pairs else ():
            earlier = torch.cat([one[name].A.T if down else one[name].B for one in state.pairs], dim=1)
            width, taken = earlier.shape
            rank = self.settings.training.rank
            if taken + rank > width:
                raise ValueError(
                    f"o-lora-exact: {name} has {width} directions, {taken} are taken, no room for {rank} more"
                )
            register(layer.lora_A[ADAPTER] if down else layer.lora_B[ADAPTER], Complement(earlier))


class Replay(Method):
    """Sequential adaptation on the task's rows and on some that were kept of each earlier task."""

    def rows(self, stage: Stage, order: Sequence[str]) -> Rows:
        """Return all rows of the task, and those kept of earlier ones, the same at every later task."""
        found = dict(super().rows(stage, order))
        for task in order[: stage.row - 1]:
            size = self.problem.size(task, "train")
            drawn = generator(self.seed, "replay", task).permutation(size)[: self.settings.replay.rows]
            found[task] = np.sort(drawn)
        return found


class Ewc(Method):
    """Sequential adaptation with elastic weight consolidation of both factors, online: Fisher information is summed."""

    def penalty(self, model: nn.Module, state: State) -> Tensor | None:
        """Return the weighted distance from the factors after the last task."""
        if not (state.kept and self.settings.ewc.weight):
            return None
        return self.settings.ewc.weight * penalties.anchored(dict(_named(model)), state.kept)

    def ended(self, model: nn.Module, state: State, stage: Stage) -> State:
        """Add the task's diagonal Fisher information, the mean squared gradient of single rows, to the earlier."""
        (task,) = stage.tasks
        size = self.problem.size(task, "train")
        rows = generator(self.seed, "fisher", task).permutation(size)[: self.settings.ewc.rows]
        fisher = {name: state.kept.get(f"fisher.{name}", torch.zeros_like(x)) for name, x in _named(model).items()}
        model.eval()
        for row in rows:
            parameters = _named(model)
            loss = self.problem.loss(model, {task: np.array([row])})
            gradients = torch.autograd.grad(loss, list(parameters.values()))
            for name, gradient in zip(parameters, gradients, strict=True):
                fisher[name] = fisher[name] + gradient**2 / len(rows)
        kept = {f"fisher.{name}": value for name, value in fisher.items()}
        kept |= {f"value.{name}": x.detach().clone() for name, x in _named(model).items()}
        return State([factors(model)], kept)


class PerTask(Method):
    """An adapter of its own for each task, which is told which task it is at."""

    fresh = True


class Joint(Method):
    """One training on all tasks at once, with all their data."""

    def stages(self, order: Sequence[str]) -> list[Stage]:
        """Return the one training."""
        return [Stage(len(order), tuple(order))]


class NoTraining(Method):
    """The model as it is."""

    def stages(self, order: Sequence[str]) -> list[Stage]:  # noqa: ARG002
        """Return no training."""
        return []


def _named(model: nn.Module) -> Mapping[str, Tensor]:
    """Return the factors of all layers by name."""
    return {
        f"{name}.{factor}": layer.weight
        for name, module in modules(model).items()
        for factor, layer in (("A", module.lora_A[ADAPTER]), ("B", module.lora_B[ADAPTER]))
    }
