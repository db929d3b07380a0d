"""What retraining and fine-tuning lead to as stock transformers and peft read it.

::

    METHOD/seed-S/base             the base with its tokenizer and a card, without a head where every task has its own
    METHOD/seed-S/adapters/NAME    adapter and head of a task to retrain on, where the method has them, and of a task to
                                   test on, as it was fine-tuned from this base
    base, adapters                 links to those of the first method that retrains, and of its first seed
    fine-tuned/                    the adapters of the tasks to test on, as their runs left them
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraml_theory.harness.folders import FolderError
from realdata.experiments.folder import opened
from realdata.experiments.grid import NO_RETRAINING, RetrainingKey, Work
from realdata.text import adapters
from realdata.text.adapters import Adapter
from realdata.text.card import card

if TYPE_CHECKING:
    from torch import nn

    from realdata.experiments.retrained import Stored
    from realdata.text.experiment import TextExperiment

HEADS_ALONE = ("standard",)
"""Methods whose tasks share everything but their rows of the head; reptile and fomaml have not settled on a task's."""


def export(
    out: Path,
    experiment: TextExperiment,
    keys: Sequence[RetrainingKey],
    *,
    fine_tunings: Sequence[Work] = (),
    results: str,
    command: str,
) -> Path | None:
    """Write base and adapters of every retraining, and return where the base of the first is.

    Parameters
    ----------
    out
        Folder of the experiment, in which all these retrainings are complete.
    experiment
        Whose they are.
    keys
        The retrainings, the first one first; the model as it is among them is written where it has adapters, and is
        never the first.
    fine_tunings
        From these bases; of those of one base and task, the first that has left an adapter gives it.
    results
        Tables for the cards.
    command
        For the cards.

    Returns
    -------
    folder
        None if nothing is retrained.

    Raises
    ------
    InputError
        If a retraining is damaged, or something else is in the place of a link.
    OSError
        If something cannot be written.
    """
    from realdata.experiments.retrained import load
    from realdata.peft_ml.task_adapters import file_name
    from realdata.peft_ml.whole_folder import replacing_folder

    with opened(out) as folder:
        for key in keys:
            own = _of_test_tasks(out, key, fine_tunings)
            if key.method == NO_RETRAINING and not own:
                continue
            stored = load(folder.retraining / key.id, key, experiment.retraining(key).model)
            found = task_adapters(experiment, key, stored) | own
            place = out / place_of(key)
            with replacing_folder(place) as new:
                _write_base(experiment, key, stored.base, new / "base")
                for name, adapter in found.items():
                    target = new / "adapters" / file_name(name)
                    adapters.write(adapter, target, base=place / "base", task_type=experiment.task_type)
                text = card(experiment, key, adapters=list(found), place=place, results=results, command=command)
                (new / "base" / "README.md").write_text(text, "utf-8")
        retrained = [key for key in keys if key.method != NO_RETRAINING]
        if not retrained:
            return None
        first = place_of(retrained[0])
        for name in ("base", "adapters"):
            _link(out / name, first / name, there=(out / first / name).exists())
    return out / "base"


def place_of(key: RetrainingKey) -> Path:
    """Return where a retraining is in the folder of its experiment."""
    return Path(key.method, f"seed-{key.seed}")


def task_adapters(experiment: TextExperiment, key: RetrainingKey, stored: Stored) -> dict[str, Adapter]:
    """Return the adapter of each task to retrain on, with the task's own rows of the head."""
    head = experiment.head if experiment.head_per_task else None
    found = {}
    for task in experiment.retraining_tasks:
        if stored.meta_model is not None and task.name in stored.meta_model.tasks:  # not adapters of groups
            adapter = adapters.of_task(stored.meta_model, task.name, head=head)
        elif head is not None and key.method in HEADS_ALONE:
            adapter = adapters.of_head(stored.base, head=head)
        else:
            continue
        own = {
            name: experiment.own_rows(adapters.plain_name(name), value, task.name)
            for name, value in adapter.state.items()
        }
        found[task.name] = Adapter(adapter.config, own)
    return found


def keep(experiment: TextExperiment, work: Work, model: nn.Module, out: Path) -> None:
    """Write the adapter that a fine-tuning has led to, whole or not at all; of a model trained in full there is none.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    from realdata.peft_ml.meta_model import MetaPeftModel
    from realdata.peft_ml.whole_folder import replacing_folder

    if not isinstance(model, MetaPeftModel):
        return
    head = experiment.head if experiment.head_per_task else None
    with replacing_folder(_kept(out, work)) as new:
        adapter = adapters.of_task(model, work.task, head=head)
        adapters.write(adapter, new, base=None, task_type=experiment.task_type)


def _kept(out: Path, work: Work) -> Path:
    """Return where the adapter of a fine-tuning is kept."""
    return out / "fine-tuned" / work.id


def _of_test_tasks(out: Path, key: RetrainingKey, fine_tunings: Sequence[Work]) -> dict[str, Adapter]:
    """Return the adapters that fine-tunings from a base have left, by task."""
    found: dict[str, Adapter] = {}
    for work in fine_tunings:
        if work.retraining == key and work.task not in found and _kept(out, work).exists():
            found[work.task] = adapters.read(_kept(out, work))
    return found


def _write_base(experiment: TextExperiment, key: RetrainingKey, base: nn.Module, folder: Path) -> None:
    """Write a base as transformers does, without a head where every task has its own."""
    from realdata.language.encoders import quiet

    model: Any = experiment.for_task(base, key.seed, None)
    body = {name: tensor for name, tensor in model.state_dict().items() if not experiment.in_head(name)}
    with quiet():
        model.save_pretrained(folder, state_dict=body)
    experiment.tokenizer.save_pretrained(folder)


def _link(path: Path, target: Path, *, there: bool) -> None:
    """Let a link of the folder lead to a part of it, in the place of an older link."""
    if path.exists() and not path.is_symlink():
        raise FolderError(f"{path}: is not a link of this command, use another folder")
    path.unlink(missing_ok=True)
    if there:
        path.symlink_to(target, target_is_directory=True)
