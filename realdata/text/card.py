"""The card of a retrained base: how it came about, what it is worth, and the lines that load it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loraml_theory.harness.errors import one_line
from realdata.experiments.grid import NO_RETRAINING, RetrainingKey
from realdata.text.settings import TextSettings

if TYPE_CHECKING:
    from realdata.text.experiment import TextExperiment

DEFAULT_LABELS = 2  # of transformers' models
NOT_MEASURED = "No task to test on was given (`--test NAME=FILE`), so what the base is worth was not measured."


def card(
    experiment: TextExperiment,
    key: RetrainingKey,
    *,
    adapters: Sequence[str],
    place: Path,
    results: str,
    command: str,
) -> str:
    """Return the card in Markdown.

    Parameters
    ----------
    experiment, key
        Whose base it is.
    adapters
        Names of the tasks that have an adapter.
    place
        Folder of base and adapters.
    results
        Tables; empty if nothing was measured.
    command
        That made it.
    """
    settings = experiment.settings
    return "\n".join(
        [
            *("---", "library_name: transformers", "tags: [retrained, lora, peft]", "---", ""),
            f"# {settings.model.name}{' as it is' if key.method == NO_RETRAINING else f', retrained by {key.method}'}",
            "",
            f"Seed {key.seed}, on {experiment.data()['source']}, by",
            "",
            *("```sh", one_line(command), "```", ""),
            *_loading(experiment, adapters, place.absolute()),
            *("## Results", "", results.strip() or NOT_MEASURED, ""),
            *_data(experiment),
            *_retraining(settings),
        ]
    )


def _loading(experiment: TextExperiment, adapters: Sequence[str], place: Path) -> Iterator[str]:
    """Yield how to load base and adapters."""
    from realdata.peft_ml.task_adapters import file_name

    auto, peft_auto = f"AutoModel{experiment.model_class}", f"AutoPeftModel{experiment.model_class}"
    yield from ("## Load it", "")
    if experiment.head_per_task:
        yield from ("The base has no head: a task brings, or trains, its own.", "")
    yield "```python"
    if adapters:
        yield f"from peft import {peft_auto}"
    yield from (f"from transformers import {auto}, AutoTokenizer", "")
    yield f'tokenizer = AutoTokenizer.from_pretrained("{place / "base"}")'
    yield f'base = {auto}.from_pretrained("{place / "base"}")'
    for name in sorted(adapters, key=lambda name: name in experiment.tests):
        if name in experiment.tests:
            yield f"# fine-tuned from this base to the test task {one_line(name)}, after the last epoch"
        labels = len(experiment.labels_of(name))
        more = f", num_labels={labels}" if labels not in (0, DEFAULT_LABELS) else ""
        yield f'adapted = {peft_auto}.from_pretrained("{place / "adapters" / file_name(name)}"{more})'
    yield from ("```", "")
    if adapters:
        yield "After moving the folder, change `base_model_name_or_path` in the `adapter_config.json` of each adapter."
        yield ""


def _data(experiment: TextExperiment) -> Iterator[str]:
    """Yield the table of the tasks."""
    yield from ("## Tasks", "", "| task | role | rows: train, validation, test | labels | SHA-256 of its files |")
    yield "| --- | --- | --- | --- | --- |"
    for name, told in experiment.data()["tasks"].items():
        rows = ", ".join(str(told[part][0]) for part in ("train", "validation", "test"))
        labels, files = ", ".join(told["labels"]), ", ".join(f"`{digest}`" for digest in told["files"])
        yield _row(name, told["role"], rows, labels, files)
    yield ""


def _retraining(settings: TextSettings) -> Iterator[str]:
    """Yield the settings of retraining."""
    told = settings.document()
    yield from ("## Settings", "", "| key | value |", "| --- | --- |")
    for table in ("data", "retraining", "fine_tuning"):
        yield from (_row(f"{table}.{key}", str(value)) for key, value in told[table].items() if value is not None)


def _row(*texts: str) -> str:
    return f"| {' | '.join(one_line(text).replace('|', '&#124;') for text in texts)} |"
