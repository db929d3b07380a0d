"""transformers' Trainer for a base shared by several tasks and an adapter for each."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.utils.data import Subset
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import speed_metrics

from loraml_theory.harness.errors import InputError
from realdata.peft_ml import bundle
from realdata.peft_ml.meta_model import MetaPeftModel, logits
from realdata.peft_ml.rows import rows_by_task
from realdata.peft_ml.sharding import is_sharded
from realdata.peft_ml.task_losses import TaskOutput, item_counts, shifts_labels, summed_loss
from realdata.peft_ml.task_sampler import TASK, Batches, StepSize, TaskSampler, rows_of_tasks

BUNDLE = "bundle"  # the folder inside a checkpoint, or inside where `save_model` writes

_SHARDED = "fsdp or deepspeed: got one, expected neither: divide the model by realdata.peft_ml.shard before"


class MetaTrainer(Trainer):
    """A Trainer that descends on ``min_θ Σ_t min_φt L_t(f(θ, φ_t))``, equation 5 of arXiv 2410.22264.

    Every gradient step is on Σ_t of the tasks' mean losses over all that the step sees, whatever the accumulation of
    gradients and the number of processes. What is logged as ``loss`` is its mean over the tasks.

    Parameters
    ----------
    model
        The base with the adapters, whole or divided among the processes by `realdata.peft_ml.shard`.
    args
        As of Trainer. ``data_seed``, or else ``seed``, is the root of the order of rows.
    batches
        ``mixed``: every step has equal shares of all tasks, and every batch as many of them as it can hold. ``blocks``:
        every batch is of one task, the tasks in turn.
    options
        As of Trainer. Rows of the datasets name their task in the column ``task``. A ``compute_loss_func`` is called
        for the rows of each task, with their outputs, labels and ``num_items_in_batch``.

    Raises
    ------
    InputError
        If the model is another one, or the arguments ask for what would train something else.
    """

    model: MetaPeftModel

    def __init__(
        self,
        model: MetaPeftModel,
        args: TrainingArguments | None = None,
        *,
        batches: Batches = "mixed",
        **options: Any,
    ) -> None:
        """Check the arguments and let batches keep the names of tasks."""
        if not isinstance(model, MetaPeftModel):
            raise InputError(f"model: got {type(model).__name__}, expected a MetaPeftModel")
        if batches not in get_args(Batches):
            raise InputError(f"batches: got {batches!r}, expected one of {', '.join(get_args(Batches))}")
        if args is not None:
            _check(args)
        self._sharded = is_sharded(model)
        if self._sharded:
            _check_sharded(args, batches)
            marked: Any = model  # as Trainer knows models that are divided already, of which it makes no copy
            marked.is_distributed_loading_by_transformers = marked._is_fsdp_managed_module = True
        super().__init__(model, args, **options)
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:  # by the settings of accelerate launch
            raise InputError(_SHARDED)
        self.batches = batches
        self.data_collator = TaskCollator(self.data_collator)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return Σ_t of the tasks' losses, so that their mean over the processes is that of all rows of the step."""
        if self.compute_loss_func is None:
            outputs = model(**inputs, num_items_in_batch=num_items_in_batch)
        else:
            outputs = self._with_loss_given(model, inputs, num_items_in_batch)
        if outputs.loss is None:
            raise InputError(f"labels: got the columns {', '.join(inputs)}, expected one named labels")
        loss = outputs.loss if num_items_in_batch is None else outputs.loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Take the gradient of one batch; return its part of the mean loss over the tasks of the step."""
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        return loss if num_items_in_batch is None else loss / (num_items_in_batch > 0).sum()

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return the metrics of every task, such as ``eval_TASK_loss``, and their means, such as ``eval_loss``."""
        given: Any = self.eval_dataset
        dataset = given if eval_dataset is None else eval_dataset
        if isinstance(dataset, str):
            dataset = given[dataset]
        if dataset is None or isinstance(dataset, Mapping):
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        start = time.time()
        metrics = self._metrics(dataset, ignore_keys, metric_key_prefix)
        speed: Any = speed_metrics
        metrics |= speed(metric_key_prefix, start, num_samples=len(dataset))
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _metrics(self, dataset: Any, ignore_keys: list[str] | None, prefix: str) -> dict[str, float]:
        rows = rows_of_tasks(dataset, self.model.tasks, called="eval_dataset", all_of_them=False)
        metrics: dict[str, float] = {}
        by_name: dict[str, list[float]] = {}
        for task, own in rows.items():
            for name, value in self._metrics_of(task, Subset(dataset, own), ignore_keys, prefix).items():
                metrics[f"{prefix}_{task}_{name}"] = value
                by_name.setdefault(name, []).append(value)
        return metrics | {f"{prefix}_{name}": sum(values) / len(values) for name, values in by_name.items()}

    def _metrics_of(self, task: str, rows: Subset[Any], ignore_keys: list[str] | None, prefix: str) -> dict[str, float]:
        """Return one task's metrics by their names without prefix."""
        full = f"{prefix}_{task}"
        output = self.evaluation_loop(
            self.get_test_dataloader(rows),
            description=f"Evaluation of {task}",
            prediction_loss_only=True if self.compute_metrics is None else None,
            ignore_keys=ignore_keys,
            metric_key_prefix=full,
        )
        return {name.removeprefix(f"{full}_"): value for name, value in (output.metrics or {}).items()}

    def _with_loss_given(
        self, model: nn.Module, inputs: Mapping[str, Any], num_items_in_batch: Tensor | None
    ) -> TaskOutput:
        """Return outputs with the loss of the user's function, which sees the rows of one task at a time."""
        given = {name: value for name, value in inputs.items() if name != "labels"}
        if (labels := inputs.get("labels")) is None:
            return TaskOutput()
        rows = rows_by_task(inputs[TASK])
        found = logits(model(**given))
        items = self._items([inputs]) if num_items_in_batch is None else num_items_in_batch
        function: Any = self.compute_loss_func

        def loss(part: Tensor, expected: Tensor, **count: Tensor) -> Tensor:
            taken: Tensor = function(TaskOutput(logits=part), expected, **count)
            return taken

        by_task = dict(zip(self.model.tasks, items, strict=True))
        return TaskOutput(loss=summed_loss(loss, found, labels, rows=rows, items=by_task), logits=found)

    def _get_num_items_in_batch(self, batch_samples: Sequence[Any], device: torch.device) -> Tensor | None:
        """Return how many labels each task has in a step, over all of its batches and all processes."""
        if not batch_samples or "labels" not in batch_samples[0]:
            return None
        counts: Tensor = self.accelerator.reduce(self._items(batch_samples).to(device), reduction="sum")
        return counts

    def _items(self, batches: Sequence[Any]) -> Tensor:
        """Return how many labels each task has in some batches, ``(tasks,)``."""
        shifted = shifts_labels(self.model.peft.get_base_model())
        total = dict.fromkeys(self.model.tasks, torch.zeros((), dtype=torch.int64))
        for batch in batches:
            for task, count in item_counts(batch["labels"], rows_by_task(batch[TASK]), shifted=shifted).items():
                total[task] = total[task].to(count.device) + count
        device = batches[0]["labels"].device
        return torch.stack([count.to(device) for count in total.values()])

    def _get_train_sampler(self, train_dataset: Any = None) -> TaskSampler:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        processes = 1 if self.accelerator.split_batches else self.accelerator.num_processes
        if self._sharded and self._train_batch_size < (tasks := len(self.model.tasks)):
            raise InputError(
                f"per_device_train_batch_size: got {self._train_batch_size}, expected at least {tasks} for a sharded "
                "model, a row of every task in each batch"
            )
        sampler = TaskSampler(
            rows_of_tasks(dataset, self.model.tasks, called="train_dataset", all_of_them=True),
            size=StepSize(self._train_batch_size, self.args.gradient_accumulation_steps * processes),
            batches=self.batches,
            seed=self.args.seed if self.args.data_seed is None else self.args.data_seed,
            epoch=lambda: self.state.global_step // sampler.steps,
        )
        return sampler

    def _set_signature_columns_if_needed(self) -> None:
        """Keep the columns that the plain model takes, and the one that names the task."""
        if self._signature_columns is None:
            super()._set_signature_columns_if_needed()
            taken = inspect.signature(self.model.peft.get_base_model().forward).parameters
            kept: Any = [*(self._signature_columns or ()), *taken, TASK]
            self._signature_columns = kept

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ARG002
        """Write the bundle of base and adapters, beside what Trainer keeps."""
        if not self.args.should_save and not self._sharded:  # all processes put a sharded one together
            return
        folder = Path(output_dir or self.args.output_dir or "")
        bundle.save(self.model, folder / BUNDLE, provenance={"steps": self.state.global_step})
        if self.processing_class is not None and self.args.should_save:
            self.processing_class.save_pretrained(folder)

    @contextmanager
    def _defer_fsdp_gradient_reduction(self) -> Iterator[None]:
        """Add up the gradients of a sharded model's batches before the processes exchange them."""
        model: Any = self.model
        model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            model.set_requires_gradient_sync(True)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:  # noqa: ARG002
        if self._sharded:
            raise InputError("resume_from_checkpoint: got one, expected none for a sharded model")
        bundle.restore(self.model, Path(resume_from_checkpoint, BUNDLE))

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(str(self.state.best_model_checkpoint))


class TaskCollator:
    """Makes a batch of rows by another collator, and keeps the names of their tasks.

    Parameters
    ----------
    collate
        For rows without ``task``.
    """

    def __init__(self, collate: Callable[[list[Any]], Mapping[str, Any]]) -> None:
        """Keep the other collator."""
        self._collate = collate

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the batch, with the task of every row as a list of names."""
        plain = [{name: value for name, value in row.items() if name != TASK} for row in rows]
        return {**self._collate(plain), TASK: [row[TASK] for row in rows]}


def _check_sharded(args: TrainingArguments | None, batches: Batches) -> None:
    """Raise InputError where a batch would lack a task, or more than the model would have to be read again."""
    if batches != "mixed":
        raise InputError(f"batches: got {batches!r}, expected 'mixed' for a sharded model")
    if args is not None and args.load_best_model_at_end:
        raise InputError("load_best_model_at_end: got True, expected False for a sharded model")
    if args is not None and args.save_strategy != "no" and not args.save_only_model:
        raise InputError("save_only_model: got False, expected True for a sharded model, or save_strategy='no'")


def _check(args: TrainingArguments) -> None:
    """Raise InputError where Trainer's arguments ask for what would train something else."""
    if args.ddp_find_unused_parameters is False:
        raise InputError("ddp_find_unused_parameters: got False, expected True, as a batch may lack a task")
    if args.fsdp or args.deepspeed:
        raise InputError(_SHARDED)
    if args.label_smoothing_factor:
        raise InputError(f"label_smoothing_factor: got {args.label_smoothing_factor}, expected 0")
    if args.train_sampling_strategy != "random":
        raise InputError(f"train_sampling_strategy: got {args.train_sampling_strategy!r}, expected 'random'")
    if args.n_gpu > 1:
        raise InputError(f"args: one process has {args.n_gpu} devices, expected one each: start it by torchrun")
