"""One base shared by all tasks and one adapter per task: the model of PEFT-ML."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import index
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from loraml_theory.harness.errors import InputError
from realdata.peft_ml.adapter_config import prepared
from realdata.peft_ml.adapters_in_use import AdaptersInUse
from realdata.peft_ml.base_model import frozen_names, plain_parameters, without_adapters
from realdata.peft_ml.data import Inputs
from realdata.peft_ml.mixed import Segment
from realdata.peft_ml.mixing_check import disagreement
from realdata.peft_ml.rows import chosen_rows, in_order, is_in_order, row_count, rows_by_task
from realdata.peft_ml.seeding import torch_seeded
from realdata.peft_ml.sharding import check_sharded
from realdata.peft_ml.task_adapters import Switch, adapter_name, check_base_kept, check_reached, redraw, with_adapters
from realdata.peft_ml.trained import Trained, frozen_note

if TYPE_CHECKING:
    from peft import PeftConfig

    from realdata.peft_ml.task_losses import TaskOutput


class MixedRows(NamedTuple):
    """Whether rows of several tasks share one forward, and why or why not."""

    possible: bool
    reason: str


class MetaPeftModel(nn.Module):
    """A model with one base θ, trained and shared by all tasks, and one adapter φ_t (and if asked one head) per task.

    Parameters
    ----------
    model
        Any torch or transformers model. It is left as it was: what is changed is a deep copy. What requires no gradient
        in it stays frozen, in copies of the head too.
    tasks
        Names of the tasks.
    adapter
        Settings of peft for the adapters, such as ``LoraConfig(r=1, target_modules="all-linear")``, where
        ``all-linear`` reaches every linear layer; None for no adapter but the copy of the head.
    head
        Name of a module of which every task gets a copy of its own, freshly drawn; None if all of the base is shared.
    seed
        Root of the starts of all adapters and heads; each depends on the seed and its task's name alone.
    train_base
        Whether θ is trained.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If names are missing or double, or the adapters do not fit the model.

    Notes
    -----
    The objective is ``min_θ Σ_t min_φt L_t(f(θ, φ_t))``, equation 5 of arXiv 2410.22264.
    """

    tasks: tuple[str, ...]

    def __init__(
        self,
        model: nn.Module,
        tasks: Sequence[str],
        *,
        adapter: PeftConfig | None,
        head: str | None = None,
        seed: int,
        train_base: bool = True,
    ) -> None:
        """Copy the model and add the adapters."""
        super().__init__()
        self.tasks = _checked_tasks(tasks)
        self.head = head
        self.seed = _checked_seed(seed)
        self.train_base = train_base
        self._adapter_names = {task: adapter_name(task) for task in self.tasks}
        self.peft = with_adapters(model, prepared(model, adapter, head=head), self._adapter_names, seed=self.seed)
        self._frozen = frozen_names(model)
        if head is not None:
            frozen = [name.removeprefix(f"{head}.") for name in self._frozen if name.startswith(f"{head}.")]
            for task in self.tasks:
                with torch_seeded(self.seed, "head", task):
                    redraw(self.head_of(task), head=head, frozen=frozen)
        self._activate = Switch(self.peft)
        check_base_kept(model, self.peft)
        check_reached(self.peft, train_base=train_base)
        self._mark_trained()
        first = self.adapter_parameters(self.tasks[0])
        self._frozen_own = frozenset(name for name, parameter in first.items() if not parameter.requires_grad)
        self._has_fast_path = any(isinstance(module, nn.TransformerEncoderLayer) for module in self.modules())
        self._in_use = AdaptersInUse(self.peft, self._activate)
        self._disagreements: dict[bool, str | None] = {}
        self.train(model.training)

    def forward(
        self,
        inputs: Inputs | None = None,
        task: str | Sequence[str] | None = None,
        *,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | None = None,
        **named: Tensor,
    ) -> Tensor | TaskOutput:
        """Return the model's outputs, ``(rows, ...)``, or as transformers' models do: ``loss`` and ``logits``.

        Parameters
        ----------
        inputs
            A tensor or named tensors, rows first.
        task
            One task for all rows, or one per row.
        labels
            Rows first. With them ``loss`` is Σ_t of the tasks' losses, each by the model's own kind of loss.
        num_items_in_batch
            What the sum of each task's losses is divided by, in the order of `tasks`; else its number of labels.
        named
            In place of `inputs`, as in ``meta(**batch)``.

        Raises
        ------
        TypeError
            If the inputs or outputs are no tensors.
        ValueError
            If a task is unknown or the numbers of rows differ; in the backward pass, if layers run again there when
            other adapters are in use, and not by ``torch.utils.checkpoint``.

        Warns
        -----
        UserWarning
            Once in each mode, if rows of several tasks were to share a forward and it turns out that they cannot.
        """
        if task is None:
            raise InputError("task: got none, expected one for all rows, or one for each")
        if inputs is not None and named:
            raise InputError(f"inputs: got them and {', '.join(named)}, expected one or the other")
        if inputs is not None and labels is None:
            return self._logits(inputs, task)
        return self._output(inputs, task, named, labels, num_items_in_batch)

    @property
    def config(self) -> Any:
        """The plain model's settings, where it has them."""
        return self._wrapped.config

    @property
    def activation_checkpointing_enable(self) -> Callable[..., None]:
        """The plain model's switch for gradient checkpointing, where it has one."""
        return self._wrapped.activation_checkpointing_enable  # type: ignore[return-value]

    def _output(
        self,
        inputs: Inputs | None,
        task: str | Sequence[str],
        named: Mapping[str, Tensor],
        labels: Tensor | None,
        counts: Tensor | None,
    ) -> TaskOutput:
        """Return what a model of transformers would."""
        from realdata.peft_ml import task_losses

        given = task_losses.with_decoder_inputs(self._wrapped, named, labels) if inputs is None else inputs
        outputs = self._logits(given, task)
        if labels is None:
            return task_losses.TaskOutput(logits=outputs)
        rows = {task: torch.arange(len(labels))} if isinstance(task, str) else rows_by_task(task)
        items = None if counts is None else dict(zip(self.tasks, counts, strict=True))
        return task_losses.output(self._wrapped, outputs, labels, rows=rows, items=items)

    def _logits(self, inputs: Inputs, task: str | Sequence[str]) -> Tensor:
        """Return the model's outputs."""
        check_sharded(self, {task} if isinstance(task, str) else set(task), self.tasks, tried=self._disagreements)
        with self._own_layers_called():
            if isinstance(task, str):
                return self._of_one(inputs, self._known(task))
            if (rows := row_count(inputs)) != len(task):
                raise ValueError(f"task: got {len(task)} names, expected one for each of {rows} rows")
            tasks = [self._known(name) for name in task]
            if len(set(tasks)) == 1:
                return self._of_one(inputs, tasks[0])
            if self._may_mix(inputs, tasks):
                return self._mixed(inputs, tasks)
            return self._task_by_task(inputs, tasks)

    @property
    def mixed_rows(self) -> MixedRows:
        """Whether rows of several tasks share one forward, in the present mode, or why they do not."""
        if reason := self._in_use.mixed.obstacle():
            return MixedRows(False, reason)
        if self.training not in self._disagreements:
            return MixedRows(True, "to be compared with one forward per task on the first such batch")
        found = self._disagreements[self.training]
        return MixedRows(True, "agrees with one forward per task") if found is None else MixedRows(False, found)

    def base_parameters(self) -> dict[str, nn.Parameter]:
        """Return θ by the plain model's names, without its own copy of a head that tasks have; tied tensors once."""
        return plain_parameters(self._wrapped, copied=False)

    def adapter_parameters(self, task: str) -> dict[str, nn.Parameter]:
        """Return φ_t, every tensor of the adapter and of copied modules, by peft's names without the adapter's."""
        own = self._adapter_names[self._known(task)]
        return {
            name.replace(f".{own}", ""): parameter
            for name, parameter in self.peft.named_parameters()
            if own in name.split(".")
        }

    def all_adapter_parameters(self) -> dict[str, dict[str, nn.Parameter]]:
        """Return φ_t of every task."""
        return {task: self.adapter_parameters(task) for task in self.tasks}

    def base(self) -> nn.Module:
        """Return a deep copy of the plain model as it now is, to which stock ``get_peft_model`` applies.

        Where tasks have heads of their own, its head is the one it came with, untrained.
        """
        return without_adapters(self._wrapped, frozen=self._frozen, hooked=self._in_use)

    def trained(self) -> Trained:
        """Return what is trained and what is frozen, to print before the first step and to check after one pass."""
        base = self.base_parameters()
        shared = {id(parameter) for parameter in base.values()}
        copied = plain_parameters(self._wrapped, copied=True)
        possible, reason = self.mixed_rows
        rows = f"rows of several tasks: {'one forward' if possible else 'one forward per task'} ({reason})"
        off = {name: parameter for name, parameter in base.items() if not parameter.requires_grad}
        moving = {name: parameter for name, parameter in base.items() if name not in off or name not in self._frozen}
        own = self.all_adapter_parameters()
        kept = {name: own[self.tasks[0]][name] for name in sorted(self._frozen_own)}
        named = {**(base if self.train_base else {}), **{_name_of_original(name): p for name, p in kept.items()}}
        return Trained(
            {"base": moving} if self.train_base and moving else {},
            {task: {n: p for n, p in each.items() if n not in self._frozen_own} for task, each in own.items()},
            frozen={
                ("base", "train_base is off" if not self.train_base else "requires_grad is off"): off,
                ("each task's own", "requires_grad is off"): kept,
                ("the base's own head", "each task has a copy of its own"): {
                    name: parameter for name, parameter in copied.items() if id(parameter) not in shared
                },
            },
            notes=[*frozen_note(named), *([rows] if len(self.tasks) > 1 else ())],
        )

    def head_of(self, task: str) -> nn.Module:
        """Return the task's own head.

        Raises
        ------
        ValueError
            If tasks share the head, or the task is unknown.
        """
        if self.head is None:
            raise ValueError("head: tasks share it, as `head` is None")
        wrapper: Any = self._wrapped.get_submodule(self.head)
        head: nn.Module = wrapper.modules_to_save[self._adapter_names[self._known(task)]]
        return head

    def config_of(self, task: str) -> PeftConfig:
        """Return peft's settings of a task's adapter."""
        config: PeftConfig = self.peft.peft_config[self._adapter_names[self._known(task)]]
        return config

    def adapter_state(self, task: str) -> dict[str, Tensor]:
        """Return what stock peft saves of a task's adapter, by its names."""
        from peft import get_peft_model_state_dict

        name = self._adapter_names[self._known(task)]
        state: dict[str, Tensor] = get_peft_model_state_dict(self.peft, adapter_name=name, save_embedding_layers=False)
        return state

    def load_adapter_state(self, task: str, state: Mapping[str, Tensor]) -> None:
        """Take a task's adapter from what stock peft saved."""
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(self.peft, dict(state), adapter_name=self._adapter_names[self._known(task)])

    @property
    def _wrapped(self) -> nn.Module:
        return self.peft.get_base_model()

    def _known(self, task: str) -> str:
        if task not in self._adapter_names:
            raise ValueError(f"task: got {task!r}, expected one of {', '.join(map(repr, self.tasks))}")
        return task

    def _of_one(self, inputs: Inputs, task: str) -> Tensor:
        with self._in_use.one(self._adapter_names[task]):
            return self._outputs(inputs)

    def _outputs(self, inputs: Inputs) -> Tensor:
        return logits(self.peft(**inputs) if isinstance(inputs, Mapping) else self.peft(inputs))

    def _task_by_task(self, inputs: Inputs, tasks: Sequence[str]) -> Tensor:
        rows = rows_by_task(tasks)
        outputs = [self._of_one(chosen_rows(inputs, indices), task) for task, indices in rows.items()]
        return in_order(outputs, list(rows.values()))

    def _mixed(self, inputs: Inputs, tasks: Sequence[str]) -> Tensor:
        rows = rows_by_task(tasks)
        places = torch.cat(list(rows.values()))
        segments = [Segment(self._adapter_names[task], len(indices)) for task, indices in rows.items()]
        sorted_inputs = inputs if is_in_order(places) else chosen_rows(inputs, places)
        with self._in_use.several(segments):
            return in_order([self._outputs(sorted_inputs)], [places])

    def _may_mix(self, inputs: Inputs, tasks: Sequence[str]) -> bool:
        """Say whether rows of several tasks share a forward; try it on the first such batch in each mode."""
        possible, _ = self.mixed_rows
        if not possible or self.training in self._disagreements:
            return possible
        found = disagreement(
            self,
            inputs,
            tasks,
            mixed=self._mixed,
            task_by_task=self._task_by_task,
            adapters=self.all_adapter_parameters(),
        )
        self._disagreements[self.training] = found
        if found is not None:
            warnings.warn(f"rows of several tasks go through the model task by task: {found}", stacklevel=6)
        return found is None

    @contextmanager
    def _own_layers_called(self) -> Iterator[None]:
        """Keep torch's transformer layers from their fast path, which reads weights past the adapters."""
        if not self._has_fast_path or self.training:
            yield
            return
        enabled = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(enabled)

    def _mark_trained(self) -> None:
        """Let the base, if it is trained, and all adapters require gradients, but for what is to stay frozen.

        That is what requires none in the model given, in copies of its modules too, and what peft itself keeps.
        """
        trained = []
        for task, name in self._adapter_names.items():
            self.peft.set_adapter(name)
            own = self.adapter_parameters(task)
            trained += [p for n, p in own.items() if p.requires_grad and _name_of_original(n) not in self._frozen]
        self._activate(self._adapter_names[self.tasks[0]])
        self.peft.requires_grad_(False)
        if self.train_base:
            trained += [p for name, p in self.base_parameters().items() if name not in self._frozen]
        for parameter in trained:
            parameter.requires_grad_(True)


def _name_of_original(copied: str) -> str:
    """Return the plain model's name for a parameter of a copied module, from peft's without the adapter's."""
    return copied.removeprefix("base_model.model.").replace(".modules_to_save.", ".")


def logits(output: Any) -> Tensor:
    """Return a model's output if it is a tensor, else its logits.

    Raises
    ------
    TypeError
        If it is neither a tensor nor has ``logits``.
    """
    found = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if not isinstance(found, Tensor):
        raise TypeError(f"model: returned {type(output).__name__}, expected a tensor or an output with logits")
    return found


def _checked_seed(seed: int) -> int:
    try:
        return index(seed)
    except TypeError:
        raise TypeError(f"seed: got {seed!r}, expected an integer") from None


def _checked_tasks(tasks: Sequence[str]) -> tuple[str, ...]:
    if isinstance(tasks, str) or not all(isinstance(task, str) for task in tasks):
        raise TypeError(f"tasks: got {tasks!r}, expected a sequence of names")
    if not tasks or len(set(tasks)) != len(tasks) or "" in tasks:
        raise ValueError(f"tasks: got {list(tasks)!r}, expected names, at least one, none empty, none twice")
    return tuple(tasks)
