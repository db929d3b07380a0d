"""Small random models of the architectures that people retrain, each with a batch, and what `MetaTrainer` does on it.

Called as a program it prints the table of docs/trainer.md.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig
from torch import Tensor, nn

from realdata.peft_ml.bundle import load
from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.seeding import torch_seeded
from realdata.peft_ml.trainer import BUNDLE
from tests.realdata.peft_ml.trainer_runs import TASKS, Rows, distance, state, trained

WORDS, LENGTH, ROWS = 20, 6, 12
LORA = LoraConfig(r=2, target_modules="all-linear")
SIZES: Mapping[str, Any] = {
    "vocab_size": WORDS,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 16,
}
PLAIN: Mapping[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
DECODER: Mapping[str, Any] = {
    **SIZES,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


class Architecture(NamedTuple):
    """A class of transformers, its settings, the kind of its labels, and the head that tasks may have copies of."""

    made: str
    config: str
    settings: Mapping[str, Any]
    labels: str
    head: str | None


ARCHITECTURES: Mapping[str, Architecture] = {
    "BERT": Architecture("BertForSequenceClassification", "BertConfig", {**SIZES, **PLAIN}, "classes", "classifier"),
    "RoBERTa": Architecture(
        "RobertaForSequenceClassification", "RobertaConfig", {**SIZES, **PLAIN}, "classes", "classifier"
    ),
    "DistilBERT": Architecture(
        "DistilBertForSequenceClassification",
        "DistilBertConfig",
        {"vocab_size": WORDS, "dim": 8, "n_layers": 2, "n_heads": 2, "hidden_dim": 16, "max_position_embeddings": 16}
        | {"dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0},
        "classes",
        "classifier",
    ),
    "GPT-2": Architecture(
        "GPT2LMHeadModel",
        "GPT2Config",
        {"vocab_size": WORDS, "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 16}
        | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": 0, "eos_token_id": 0},
        "tokens",
        None,
    ),
    "Llama": Architecture("LlamaForCausalLM", "LlamaConfig", DECODER, "tokens", "lm_head"),
    "Llama, classes": Architecture("LlamaForSequenceClassification", "LlamaConfig", DECODER, "classes", "score"),
    "Qwen": Architecture("Qwen3ForCausalLM", "Qwen3Config", {**DECODER, "head_dim": 4}, "tokens", "lm_head"),
    "T5": Architecture(
        "T5ForConditionalGeneration",
        "T5Config",
        {"vocab_size": WORDS, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 2, "num_heads": 2}
        | {"dropout_rate": 0.0, "decoder_start_token_id": 0},
        "tokens",
        None,
    ),
    "ViT": Architecture(
        "ViTForImageClassification",
        "ViTConfig",
        {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
        | {"image_size": 8, "patch_size": 4, **PLAIN},
        "classes",
        "classifier",
    ),
}


def made(name: str) -> nn.Module:
    """Draw a model."""
    import transformers

    kind = ARCHITECTURES[name]
    with torch_seeded(0, "architecture"):
        config = getattr(transformers, kind.config)(**kind.settings)
        model: nn.Module = getattr(transformers, kind.made)(config).double()
    return model.eval()


def rows(name: str) -> Rows:
    """Draw four rows of each task that a model takes, their words and labels of different lengths."""
    drawn = torch.Generator().manual_seed(0)
    found: list[Mapping[str, Any]] = []
    for place in range(ROWS):
        words = torch.randint(3, WORDS, (LENGTH,), generator=drawn)
        length = 3 + place % 4
        inputs: dict[str, Tensor] = {"input_ids": words, "attention_mask": (torch.arange(LENGTH) < length).long()}
        if name == "ViT":
            inputs = {"pixel_values": torch.randn(3, 8, 8, generator=drawn, dtype=torch.float64)}
        ignored = torch.arange(LENGTH) >= length
        tokens = ARCHITECTURES[name].labels == "tokens"
        labels = words.masked_fill(ignored, -100) if tokens else torch.randint(0, 2, (), generator=drawn)
        found.append({"task": TASKS[place % len(TASKS)], **inputs, "labels": labels})
    return found


def batch(some: Rows) -> dict[str, Any]:
    """Return rows as a batch."""
    names = [name for name in some[0] if name != "task"]
    return {name: torch.stack([row[name] for row in some]) for name in names} | {"task": [row["task"] for row in some]}


class Facts(NamedTuple):
    """What is true of an architecture; every one is computed."""

    layers: int
    mixed: bool
    loss: bool
    accumulated: bool
    checkpointed: bool
    bundle: bool
    heads: bool | None


def facts(name: str) -> Facts:
    """Train a model in several ways and compare."""
    with tempfile.TemporaryDirectory() as folder:
        model = made(name)
        whole = trained(folder, _meta(model), rows(name), num_train_epochs=1, learning_rate=0.1)
        whole.save_model()
        end = state(whole.model)

        def same(**changes: Any) -> bool:
            other = trained(folder, _meta(model), rows(name), num_train_epochs=1, learning_rate=0.1, **changes)
            return distance(state(other.model), end) < 1e-7

        return Facts(
            layers=sum(hasattr(module, "lora_A") for module in whole.model.modules()),
            mixed=whole.model.mixed_rows == (True, "agrees with one forward per task"),
            loss=has_own_loss(name, model),
            accumulated=same(per_device_train_batch_size=3, gradient_accumulation_steps=4),
            checkpointed=same(activation_checkpointing=True),
            bundle=distance(state(load(model, Path(folder) / BUNDLE)), end) == 0,
            heads=_heads_move(folder, name, model),
        )


def _meta(model: nn.Module, **options: Any) -> MetaPeftModel:
    return MetaPeftModel(model, TASKS, **{"adapter": LORA, "seed": 0, **options})


def has_own_loss(name: str, model: nn.Module) -> bool:
    """Say whether the loss is Σ_t of what the plain model takes of the tasks' rows; fresh adapters change nothing."""
    meta, some = _meta(model), rows(name)
    with torch.no_grad():
        loss = meta(**batch(some)).loss
        own = [batch([row for row in some if row["task"] == task]) for task in TASKS]
        expected = sum(model(**{key: value for key, value in part.items() if key != "task"}).loss for part in own)
    return abs(float(loss - expected)) < 1e-6


def _heads_move(folder: str, name: str, model: nn.Module) -> bool | None:
    """Say whether every task's copy of the head is trained, and is its own; None where the model ties its head."""
    if (head := ARCHITECTURES[name].head) is None:
        return None
    meta = _meta(model, head=head)
    start = {task: state(meta.head_of(task)) for task in TASKS}
    trained(folder, meta, rows(name), num_train_epochs=1)
    ends = {task: state(meta.head_of(task)) for task in TASKS}
    pairs = [(ends[task], start[task]) for task in TASKS] + [(ends["a"], ends["b"]), (ends["b"], ends["c"])]
    return all(distance(one, other) > 0 for one, other in pairs)


COLUMNS: Mapping[str, Callable[[str, Facts], str]] = {
    "model": lambda name, _: name,
    "layers": lambda _, found: f"{found.layers}",
    "mixed": lambda _, found: _yes(found.mixed),
    "loss": lambda _, found: _yes(found.loss),
    "step": lambda _, found: _yes(found.accumulated and found.checkpointed),
    "bundle": lambda _, found: _yes(found.bundle),
    "own heads": lambda name, found: (
        "tied" if found.heads is None else f"{_yes(found.heads)}, {ARCHITECTURES[name].head}"
    ),
}


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"


def row(name: str) -> str:
    """Return a model's line of the table."""
    found = facts(name)
    return f"| {' | '.join(cell(name, found) for cell in COLUMNS.values())} |"


if __name__ == "__main__":
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
    for each in ARCHITECTURES:
        print(row(each))
