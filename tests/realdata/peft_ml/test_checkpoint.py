from __future__ import annotations

import io
import os
import pickle
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from loraml_theory.harness.errors import InputError
from realdata.peft_ml.checkpoint import Checkpoint, examples_digest, model_digest, restore, snapshot
from realdata.peft_ml.methods import METHODS
from realdata.peft_ml.training_setup import EpochProgress
from tests.realdata.peft_ml import toy
from tests.realdata.peft_ml.killed_runs import VARIANTS
from tests.realdata.peft_ml.runs import FINETUNES, META, fine_tuned, retrained, same, same_fine_tuned, same_retrained

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the checkpoints of runs that were killed in their second epoch."""
    folder = tmp_path_factory.mktemp("killed")
    subprocess.run([sys.executable, "-m", "tests.realdata.peft_ml.killed_runs", folder], cwd=ROOT, check=True)
    return folder


def copied(folder: Path, name: str, to: Path) -> Path:
    return Path(shutil.copy(folder / name, to / "checkpoint"))


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.long
def test_killed_retraining_goes_on_to_the_same_result(name: str, killed: Path, tmp_path: Path) -> None:
    method, changes = VARIANTS[name]
    seen: list[EpochProgress] = []
    checkpoint = copied(killed, f"retraining {name}", tmp_path)
    resumed = retrained(method, changes=changes, checkpoint=checkpoint, progress=seen.append)
    assert [now.epoch for now in seen] == [*range(1, seen[0].epochs + 1)]  # it did not begin again
    assert (seen[0].epochs > 4) == (method == "standard-longer")
    assert same_retrained(resumed, retrained(method, changes=changes))


@pytest.mark.parametrize("finetune", FINETUNES)
@pytest.mark.long
def test_killed_fine_tuning_goes_on_to_the_same_result(finetune: str, killed: Path, tmp_path: Path) -> None:
    seen: list[EpochProgress] = []
    checkpoint = copied(killed, f"fine-tuning {finetune}", tmp_path)
    resumed = fine_tuned(finetune, checkpoint=checkpoint, progress=seen.append)
    assert [now.epoch for now in seen] == [1, 2, 3, 4]
    assert same_fine_tuned(resumed, fine_tuned(finetune))


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_finished_run_is_not_run_again(method: str, tmp_path: Path) -> None:
    checkpoint = tmp_path / "new folder" / "checkpoint"
    first = retrained(method, checkpoint=checkpoint)
    seen: list[EpochProgress] = []
    again = retrained(method, checkpoint=checkpoint, progress=seen.append)
    assert [now.epoch for now in seen] == [now.epochs for now in seen]
    assert len(seen) == 1
    assert same_retrained(again, first)
    assert same_retrained(first, retrained(method))  # keeping a checkpoint changes nothing


@pytest.mark.parametrize("finetune", FINETUNES)
def test_a_finished_fine_tuning_is_not_run_again(finetune: str, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    first = fine_tuned(finetune, checkpoint=checkpoint)
    before = checkpoint.read_bytes()
    assert same_fine_tuned(fine_tuned(finetune, checkpoint=checkpoint), first)
    assert checkpoint.read_bytes() == before


def test_a_kill_between_rows_of_the_curve_loses_nothing(tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    def stop(now: EpochProgress) -> None:
        if now.epoch == 3:
            raise Interrupted

    changes = {"epochs": 5, "evaluate_every": 2}
    with pytest.raises(Interrupted):
        retrained("lora-ml", changes=changes, checkpoint=tmp_path / "checkpoint", progress=stop)
    resumed = retrained("lora-ml", changes=changes, checkpoint=tmp_path / "checkpoint")
    assert same_retrained(resumed, retrained("lora-ml", changes=changes))


OTHERS: list[tuple[dict[str, Any], str]] = [
    ({"seed": 1}, "its seed is 0, expected 1"),
    ({"method": "last-layer-ml"}, "its method is lora-ml, expected last-layer-ml"),
    ({"changes": {"epochs": 5}}, "its epochs is 4, expected 5"),
    ({"changes": {"learning_rate": 0.02}}, "its learning_rate is 0.01, expected 0.02"),
    ({"changes": {"meta": replace(META, inner_steps=2)}}, "its meta.inner_steps is 3, expected 2"),
    ({"head_per_task": True}, "its head_per_task is False, expected True"),
    ({"select_on": "test"}, "its select_on is validation, expected test"),
    ({"model": toy.perceptron(seed=1, normed=True)}, "its model is "),
    ({"model": toy.perceptron(normed=True, dropout=0.2)}, "its model is "),
    ({"tasks": toy.tasks(2)}, r"its tasks is \[a, b, c\], expected \[a, b\]"),
    ({"tasks": toy.tasks(train=63)}, "its training examples of a is 64 examples, "),
    (
        {"tasks": [*toy.tasks(2), replace(toy.task("c"), test=toy.task("d").test)]},
        "its test examples of c is 60 examples",
    ),
]


@pytest.mark.parametrize(("other", "message"), OTHERS)
def test_the_checkpoint_of_another_run_is_refused(
    other: dict[str, Any], message: str, killed: Path, tmp_path: Path
) -> None:
    checkpoint = copied(killed, "retraining lora-ml", tmp_path)
    with pytest.raises(InputError, match=f"is of another run: {message}") as caught:
        retrained(**{"method": "lora-ml", **other}, checkpoint=checkpoint)
    assert "\n" not in str(caught.value)
    assert checkpoint.read_bytes() == (killed / "retraining lora-ml").read_bytes()


def test_the_checkpoint_of_another_adapter_is_refused(killed: Path, tmp_path: Path) -> None:
    from peft import IA3Config

    config = IA3Config(target_modules=["body"], feedforward_modules=[])
    with pytest.raises(InputError, match="its adapter is None"):
        retrained("lora-ml", adapter=config, checkpoint=copied(killed, "retraining lora-ml", tmp_path))


@pytest.mark.parametrize(
    ("finetune", "other", "message"),
    [
        ("lora", {"seed": 1}, "its seed is 0, expected 1"),
        ("full", {}, "its finetune is lora, expected full"),
        ("lora", {"base": toy.perceptron(seed=1, normed=True)}, "its model is "),
        ("lora", {"task": toy.task("y")}, r"its tasks is \[z\], expected \[y\]"),
        ("lora", {"changes": {"rank": 2}}, "its rank is 1, expected 2"),
    ],
)
def test_the_checkpoint_of_another_fine_tuning_is_refused(
    finetune: str, other: dict[str, Any], message: str, killed: Path, tmp_path: Path
) -> None:
    checkpoint = copied(killed, "fine-tuning lora", tmp_path)
    with pytest.raises(InputError, match=f"is of another run: {message}"):
        fine_tuned(finetune, **other, checkpoint=checkpoint)


def test_the_start_from_another_model_is_another_run(tmp_path: Path) -> None:
    found = retrained("lora-ml", changes={"epochs": 1})
    fine_tuned("lora", base=found.base, checkpoint=tmp_path / "checkpoint")
    with pytest.raises(InputError, match="its model is"):
        fine_tuned("lora", base=found.base, start_from=found.meta_model, checkpoint=tmp_path / "checkpoint")


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def harmful(_: bytes) -> bytes:
    class Harmful:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return os.abort, ()

    buffer = io.BytesIO()
    torch.save(Harmful(), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "damaged",
    [flipped, lambda data: data[:-1], lambda data: data[:10], lambda _: b"", lambda data: data + b"x", harmful],
    ids=["flipped", "short", "very short", "empty", "long", "harmful"],
)
def test_a_damaged_checkpoint_is_refused(damaged: Callable[[bytes], bytes], killed: Path, tmp_path: Path) -> None:
    checkpoint = copied(killed, "retraining standard", tmp_path)
    checkpoint.write_bytes(damaged(checkpoint.read_bytes()))
    with pytest.raises(InputError, match="is damaged or not a checkpoint: remove it to begin the run again") as caught:
        retrained("standard", checkpoint=checkpoint)
    assert "\n" not in str(caught.value)


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    """Not even where the digest is right."""
    import hashlib

    payload = harmful(b"")
    path = tmp_path / "checkpoint"
    path.write_bytes(b"loraml checkpoint 2\n" + hashlib.sha256(payload).digest() + payload)
    with pytest.raises(InputError, match="is damaged or not a checkpoint"):
        Checkpoint(path, fingerprint={}).read(CPU)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    checkpoint = Checkpoint(path, fingerprint={"seed": "0"})
    checkpoint.write({"epoch": 1})
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, limit[1]))  # as on a full disk, writing more fails
    try:
        with pytest.raises(OSError, match="File too large"):
            checkpoint.write({"epoch": 2, "model": torch.zeros(1 << 15)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert checkpoint.read(CPU) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_whose_checkpoint_cannot_be_written_goes_on_later(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"

    def block(now: EpochProgress) -> None:
        if now.epoch == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 10, limit[1]))

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(OSError, match="File too large"):
            retrained("lora-ml", checkpoint=checkpoint, progress=block)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    seen: list[EpochProgress] = []
    assert same_retrained(retrained("lora-ml", checkpoint=checkpoint, progress=seen.append), retrained("lora-ml"))
    assert seen[0].epoch == 2


def test_digests_tell_models_and_examples_apart() -> None:
    model = toy.perceptron(normed=True)
    assert model_digest(model) == model_digest(toy.perceptron(normed=True))
    others = [toy.perceptron(normed=True, seed=1), toy.perceptron(normed=True, dropout=0.2), toy.perceptron()]
    buffers = toy.perceptron(normed=True)
    assert isinstance(buffers.norm, torch.nn.BatchNorm1d)
    assert buffers.norm.running_mean is not None
    buffers.norm.running_mean += 1
    assert len({model_digest(each) for each in (model, *others, buffers)}) == 5
    x, y = torch.randn(300, toy.DIMENSION), torch.zeros(300, dtype=torch.int64)
    last = x.clone()
    last[-1, -1] += 1e-3
    relabelled = y.clone()
    relabelled[-1] = 1
    examples = [toy.Points(x, y), toy.Points(last, y), toy.Points(x, relabelled), toy.Points(x[:-1], y[:-1])]
    assert len({examples_digest(each) for each in examples}) == 4
    assert examples_digest(toy.Points(x.clone(), y.clone())) == examples_digest(examples[0])


def test_a_model_that_prints_a_function_has_one_digest() -> None:
    """Functions print with their address, which is another one in each process."""

    class Printing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = lambda x: x

        def extra_repr(self) -> str:
            return str(self.act)

    assert repr(Printing()) != repr(Printing())
    assert model_digest(Printing()) == model_digest(Printing())


def test_a_snapshot_is_put_back_and_only_where_it_fits() -> None:
    model, other = toy.perceptron(normed=True), toy.perceptron(normed=True, seed=1)
    model.head.requires_grad_(False)
    kept = snapshot(model)
    assert not any(name.startswith("head") for name in kept)
    other.head.load_state_dict(model.head.state_dict())
    other.head.requires_grad_(False)
    restore(other, kept)
    assert same(other, model)
    with pytest.raises(InputError, match=r"the state kept does not fit the model: body\.bias"):
        restore(torch.nn.Flatten(), kept)


def test_pickles_of_numbers_are_no_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    path.write_bytes(pickle.dumps({"epoch": 1}))
    with pytest.raises(InputError, match="damaged or not a checkpoint"):
        Checkpoint(path, fingerprint={}).read(CPU)
