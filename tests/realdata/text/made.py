"""Files of made-up texts and a tiny model, and what `loraml retrain` makes of them, in seconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from realdata.experiments.grid import GridSettings
from realdata.experiments.options import Wanted
from realdata.experiments.runner import Request
from realdata.language.encoders import quiet
from realdata.text.experiment import TextSpec
from realdata.text.files import Source
from realdata.text.settings import TextSettings, settings
from tests.realdata.language.tiny import bert_tokenizer, tiny_bert

WORDS = ("a", "b", "c", "d", "e", "f", "g")


def rows(labels: Sequence[str | int], *, seed: int = 0, count: int = 60, **more: Any) -> list[dict[str, Any]]:
    """Return rows whose label tells which word is in their text, among others that say nothing."""
    rng = np.random.default_rng(seed)
    found = []
    for at in range(count):
        place = at % len(labels)
        text = " ".join([*rng.choice(["f", "g"], size=rng.integers(3, 9)), WORDS[place]])
        found.append({"text": text, "label": labels[place], **more})
    return found


def write(path: Path, found: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in found), "utf-8")
    return path


def tasks(folder: Path) -> dict[str, Path]:
    """Write three tasks of 4, 3 and 2 labels."""
    return {
        "four": write(folder / "four.jsonl", rows(["w", "x", "y", "z"], seed=1)),
        "three": write(folder / "three.jsonl", rows([0, 1, 2], seed=2)),
        "two": write(folder / "two.jsonl", rows(["no", "yes"], seed=3)),
    }


def model(folder: Path) -> Path:
    """Write a random BERT of width 16 with its tokenizer."""
    tokenizer = bert_tokenizer()
    saved: Any = tiny_bert(tokenizer)
    with quiet():
        saved.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny(name: Path, **changes: Any) -> TextSettings:
    """Return settings of one epoch."""
    return settings(
        {
            "model": {"name": str(name)},
            "retraining": {"epochs": 1, "batch_size": 12, "learning_rate": 3e-3},
            "fine_tuning": {"epochs": 1},
            "grid": {"rank": [2]},
            **changes,
        }
    )


def spec(folder: Path, *, tested: bool = True, **changes: Any) -> TextSpec:
    """Write tasks and a model, and return the spec that retrains on two and tests on the third."""
    paths = tasks(folder)
    (folder / "model").mkdir(exist_ok=True)
    test = (Source("two", (paths["two"],)),) if tested else ()
    sources = tuple(Source(name, (paths[name],)) for name in ("four", "three"))
    return TextSpec(tiny(model(folder / "model"), **changes), sources, test)


def request(asked: TextSpec, *methods: Any, seeds: tuple[int, ...] = (0,)) -> Request:
    grid = GridSettings(methods=methods, finetune=("lora",), seeds=seeds, rank=(2,))
    return Request(asked, Wanted(grid, None), device="cpu", workers=1, command="loraml retrain …")
