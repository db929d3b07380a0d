"""The loss of a batch with rows of several tasks, as transformers' models return one: Σ_t of the tasks' losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from transformers.loss.loss_utils import LOSS_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils.generic import ModelOutput

from loraml_theory.harness.errors import InputError

IGNORED = -100  # transformers' label of what no loss is taken of

Loss: TypeAlias = Callable[..., Tensor]
"""Called with logits, labels and ``num_items_in_batch``, by which it divides the sum of its items' losses."""


@dataclass
class TaskOutput(ModelOutput):
    """What a model with adapters returns where transformers' models return an output.

    Attributes
    ----------
    loss
        Σ_t of the tasks' losses; None without labels.
    logits
        Rows first, in the order of the inputs.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None


def output(
    model: nn.Module,
    logits: Tensor,
    labels: Tensor,
    *,
    rows: Mapping[str, Tensor],
    items: Mapping[str, Tensor] | None = None,
) -> TaskOutput:
    """Return a model's output for rows of several tasks, its loss by the model's own kind of loss.

    Parameters
    ----------
    model
        Of transformers.
    logits, labels, rows, items
        As in `summed_loss`; without items, the mean over each task's labels is taken.
    """
    loss = loss_of(model)
    counts = item_counts(labels, rows, shifted=shifts_labels(model)) if items is None else items
    return TaskOutput(loss=summed_loss(loss, logits, labels, rows=rows, items=counts), logits=logits)


def loss_of(model: nn.Module) -> Loss:
    """Return the loss that a model of transformers takes by itself when it is given labels.

    Raises
    ------
    InputError
        If it is not one of those that are known to be a mean over labels.
    """
    kind = _kind(model)
    if kind in ("ForCausalLM", "ForMaskedLM"):
        return partial(_of_tokens, kind)
    if kind in ("ForSequenceClassification", "ForImageClassification", "ForTokenClassification"):
        config: Any = model.config
        return partial(_of_classes, kind, problem_type=getattr(config, "problem_type", None))
    raise InputError(
        f"model: {type(model).__name__} has no loss that is known here (loss_type {kind}), expected a model of "
        "transformers with a head for classes or tokens; or give MetaTrainer a compute_loss_func"
    )


def shifts_labels(model: nn.Module) -> bool:
    """Say whether a model's loss compares each token's outputs with the label of the next."""
    return _kind(model) == "ForCausalLM"


def _kind(model: nn.Module) -> str | None:
    """Return transformers' name for a model's loss; one of decoders with inputs of their own shifts no labels."""
    if any(base.__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values() for base in type(model).__mro__):
        return "ForCausalLM"  # some, GPT-2 for one, have no loss_type
    kind: str | None = getattr(model, "loss_type", None)
    if kind == "ForConditionalGeneration":
        decoder_apart = getattr(model.config, "is_encoder_decoder", False)
        return "ForMaskedLM" if decoder_apart else "ForCausalLM"
    return kind


def item_count(labels: Tensor, *, shifted: bool) -> Tensor:
    """Return how many labels a loss is taken of."""
    return (labels[:, 1:] if shifted and labels.ndim > 1 else labels).ne(IGNORED).sum()


def item_counts(labels: Tensor, rows: Mapping[str, Tensor], *, shifted: bool) -> dict[str, Tensor]:
    """Return how many labels each task has."""
    return {task: item_count(labels[own.to(labels.device)], shifted=shifted) for task, own in rows.items()}


def summed_loss(
    loss: Loss, logits: Tensor, labels: Tensor, *, rows: Mapping[str, Tensor], items: Mapping[str, Tensor]
) -> Tensor:
    """Return Σ_t of the tasks' losses.

    Parameters
    ----------
    loss
        Of the rows of one task.
    logits, labels
        Rows first.
    rows
        Which rows are of which task.
    items
        What the sum of a task's losses is divided by; 0 counts as 1, since the sum is then 0.
    """
    losses = []
    for task, own in rows.items():
        part, expected = logits[own.to(logits.device)], labels[own.to(labels.device)]
        losses.append(loss(part, expected, num_items_in_batch=items[task].clamp(min=1)))
    return torch.stack(losses).sum()


def with_decoder_inputs(model: Any, named: Mapping[str, Tensor], labels: Tensor | None) -> Mapping[str, Tensor]:
    """Return named inputs with those of the decoder, where a model would make them of the labels it is given."""
    prepare = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    if labels is None or prepare is None or "decoder_input_ids" in named:
        return named
    return {**named, "decoder_input_ids": prepare(labels)}


def _of_tokens(kind: str, logits: Tensor, labels: Tensor, *, num_items_in_batch: Tensor) -> Tensor:
    size = logits.shape[-1]
    return _theirs(kind, logits=logits, labels=labels, vocab_size=size, num_items_in_batch=num_items_in_batch)


def _of_classes(
    kind: str, logits: Tensor, labels: Tensor, *, num_items_in_batch: Tensor, problem_type: str | None
) -> Tensor:
    """Return the loss of classes or of numbers; the latter's functions take a mean, so it is weighted here."""
    head = SimpleNamespace(num_labels=logits.shape[-1], problem_type=problem_type)
    given = {("logits" if kind == "ForTokenClassification" else "pooled_logits"): logits, "labels": labels}
    if not labels.is_floating_point():
        return _theirs(kind, config=head, num_items_in_batch=num_items_in_batch, **given)
    return _theirs(kind, config=head, **given) * labels.numel() / num_items_in_batch


def _theirs(kind: str, **given: Any) -> Tensor:
    functions: Mapping[str, Any] = LOSS_MAPPING
    loss: Tensor = functions[kind](**given)
    return loss
