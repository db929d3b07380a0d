"""Retrain a small transformer on three tasks, save the base, and go on with stock peft.

    python examples/retrain.py [FOLDER]

The tasks are made up: sequences of numbers whose label is the parity of one token's count.
"""

from __future__ import annotations

import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import BertConfig, BertForSequenceClassification

from realdata.peft_ml import MetaPeftModel, save

TASKS = ("token 1", "token 2", "token 3")
LORA = LoraConfig(r=2, target_modules=["query", "value"])


def model() -> BertForSequenceClassification:
    """Return a small BERT, the same every time."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return BertForSequenceClassification(BertConfig(vocab_size=20, max_position_embeddings=16, num_labels=2, **sizes))


def batch(rows: list[str]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Draw a sequence for every row, and its label for the row's task."""
    tokens = torch.randint(1, 5, (len(rows), 8))
    wanted = torch.tensor([int(row[-1]) for row in rows])
    return {"input_ids": tokens}, (tokens == wanted[:, None]).sum(1) % 2


def main(folder: str, steps: int = 200) -> None:
    """Retrain, save, and load what was saved by stock transformers and peft."""
    meta = MetaPeftModel(model(), TASKS, adapter=LORA, seed=0)
    optimizer = torch.optim.AdamW(meta.parameters(), lr=1e-3)
    rows = [task for task in TASKS for _ in range(16)]
    for _ in range(steps):
        inputs, labels = batch(rows)
        torch.nn.functional.cross_entropy(meta(inputs, rows), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    save(meta, folder, provenance={"example": "retrain.py"})
    base = model()
    base.load_state_dict(load_file(f"{folder}/base.safetensors"))
    stock = PeftModel.from_pretrained(base, f"{folder}/adapters/token%201")
    print(f"an adapter of stock peft: {sum(p.numel() for n, p in stock.named_parameters() if 'lora' in n)} numbers")
    fresh = get_peft_model(meta.base(), LORA)
    print(f"a fresh one for a new task: {fresh.get_nb_trainable_parameters()[0]} numbers to train")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "retrained")
