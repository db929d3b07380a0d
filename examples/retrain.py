"""Retrain a small transformer on three tasks (the parity of one token's count), save it, go on with stock peft.

python examples/retrain.py [FOLDER]
"""

import sys

import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file
from transformers import BertConfig, BertForSequenceClassification

from realdata.peft_ml import MetaPeftModel, save

TASKS = ("token 1", "token 2", "token 3")
LORA = LoraConfig(r=2, target_modules=["query", "value"])
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 20}


def main(folder: str, steps: int = 200) -> None:
    """Retrain, save, and load what was saved by stock transformers and peft."""
    torch.manual_seed(0)
    meta = MetaPeftModel(BertForSequenceClassification(BertConfig(**SIZES)), TASKS, adapter=LORA, seed=0)
    optimizer = torch.optim.AdamW(meta.parameters(), lr=1e-3)
    rows = [task for task in TASKS for _ in range(16)]
    wanted = torch.tensor([int(row[-1]) for row in rows])
    for _ in range(steps):
        tokens = torch.randint(1, 5, (len(rows), 8))
        labels = (tokens == wanted[:, None]).sum(1) % 2
        torch.nn.functional.cross_entropy(meta({"input_ids": tokens}, rows), labels).backward()
        optimizer.step(), optimizer.zero_grad()
    save(meta, folder, provenance={"example": "retrain.py"})
    base = BertForSequenceClassification(BertConfig(**SIZES))
    base.load_state_dict(load_file(f"{folder}/base.safetensors"))
    stock = PeftModel.from_pretrained(base, f"{folder}/adapters/token%201")
    print(f"an adapter of stock peft: {sum(p.numel() for n, p in stock.named_parameters() if 'lora' in n)} numbers")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "retrained")
