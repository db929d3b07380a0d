"""Small models of the kinds that adapters meet, with inputs that fit them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from realdata.peft_ml.data import Inputs
from realdata.peft_ml.meta_model import MetaPeftModel
from realdata.peft_ml.rows import row_count
from realdata.peft_ml.seeding import torch_seeded

FEATURES, CLASSES = 6, 2


class Mlp(nn.Module):
    """Two linear layers, dropout between them."""

    def __init__(self, *, dropout: float = 0.0, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.body = nn.Linear(FEATURES, 8)
        self.norm = norm or nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.head: nn.Module = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(torch.tanh(self.norm(self.body(x)))))


class TokenMixer(nn.Module):
    """Rows of five tokens: linear layers over channels and over tokens, the mean over tokens, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(FEATURES, 8)
        self.tokens = nn.Linear(5, 5, bias=False)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.embed(x.flatten(0, 1))).view(len(x), 5, 8)  # rows and tokens in one axis
        x = x + torch.tanh(self.tokens(x.transpose(1, 2)).transpose(1, 2))
        return self.head(x.mean(1))


class TokensFirst(nn.Module):
    """Linear layers of which the second has rows along its second axis."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(FEATURES, 8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.embed(x)).transpose(0, 1)).mean(0)


class Convolution(nn.Module):
    """No linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.only = nn.Conv1d(1, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.only(x[:, None]).mean(-1)


def seeded(seed: int, kind: type[nn.Module], **options: object) -> nn.Module:
    """Return a model drawn from a seed, in float64."""
    with torch_seeded(seed, "model"):
        return kind(**options).double()


def tiny_bert(*, dropout: float = 0.0, masked: bool = False) -> nn.Module:
    """Return a BERT of one layer for classification, or for masked words, which ties the output to the embedding."""
    from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

    config = BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=8,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    with torch_seeded(0, "bert"):
        return (BertForMaskedLM if masked else BertForSequenceClassification)(config).double()


def tiny_gpt2() -> nn.Module:
    """Return a GPT-2 of one layer, whose output layer is tied to the embedding and whose layers are Conv1D."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=20,
        n_embd=8,
        n_layer=1,
        n_head=2,
        n_positions=8,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch_seeded(0, "gpt2"):
        return GPT2LMHeadModel(config).double()


def rows_of(model: nn.Module, n: int, *, seed: int = 0) -> Inputs:
    """Return n rows that a model above takes, the last of them padded if they are words."""
    drawn = torch.Generator().manual_seed(seed)
    if isinstance(model, TokenMixer | TokensFirst):
        return torch.randn(n, 5, FEATURES, generator=drawn, dtype=torch.float64)
    if not hasattr(model, "config"):
        return torch.randn(n, FEATURES, generator=drawn, dtype=torch.float64)
    mask = torch.ones(n, 6, dtype=torch.int64)
    mask[-1, 4:] = 0
    return {"input_ids": torch.randint(0, 20, (n, 6), generator=drawn), "attention_mask": mask}


def disturb(meta: MetaPeftModel, *, seed: int = 0) -> None:
    """Move every adapter away from its start, where LoRA changes nothing."""
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for adapter in meta.all_adapter_parameters().values():
            for parameter in adapter.values():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=drawn, dtype=torch.float64))


def gradients(meta: MetaPeftModel, inputs: Inputs, tasks: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return outputs of one call, and the gradients of a sum in which every output has a weight of its own."""
    meta.zero_grad(set_to_none=True)
    outputs = meta(inputs, tasks)
    torch.autograd.backward(_weighted(outputs, torch.arange(row_count(inputs))))
    return outputs.detach(), _taken(meta)


def gradients_by_task(meta: MetaPeftModel, inputs: Inputs, tasks: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the same from one call and one backward pass per task."""
    from realdata.peft_ml.rows import chosen_rows, in_order, rows_by_task

    meta.zero_grad(set_to_none=True)
    rows, outputs = rows_by_task(tasks), []
    for task, places in rows.items():
        outputs.append(meta(chosen_rows(inputs, places), task))
        torch.autograd.backward(_weighted(outputs[-1], places))
    return in_order([output.detach() for output in outputs], list(rows.values())), _taken(meta)


def _weighted(outputs: Tensor, places: Tensor) -> Tensor:
    flat = outputs.reshape(len(outputs), -1)
    weights = torch.cos(places[:, None] * 1.7 + torch.arange(flat.shape[1]) + 0.5)
    return (flat * weights).sum()


def _taken(meta: MetaPeftModel) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in meta.named_parameters() if p.grad is not None}
