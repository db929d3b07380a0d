"""The commands that read files: small right inputs for each, and what of its work is left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

Make = Callable[[Path], None]


def reached(*_: Any, **__: Any) -> NoReturn:
    """End the process as if the work were done: everything is read, what would begin here is left out."""
    raise SystemExit(0)


@dataclass(frozen=True)
class Target:
    """A command, the files it reads, and what is left out of what it does.

    Parameters
    ----------
    words
        Of the command line, in a folder that `make` has filled.
    make
        Writes right inputs.
    prepare
        Called in the process of the run: replaces costly work that begins after everything is read.
    statuses
        What besides 2 is well; 1 where a file may be readable and false.
    """

    words: tuple[str, ...]
    make: Make
    prepare: Callable[[], None] = lambda: None
    statuses: frozenset[int] = frozenset({0})


def structure(folder: Path) -> None:
    """Write a structure of whole numbers."""
    rng = np.random.default_rng(0)
    np.savez(folder / "my.npz", A_star=rng.integers(-2, 3, (5, 5)), U_star=rng.integers(-2, 3, (4, 5, 1)))


def certificate(folder: Path) -> None:
    """Write a certificate that ships."""
    from importlib.resources import files

    content = files("loraml_theory").joinpath("certificates/d3-k1-T3.json").read_bytes()
    (folder / "certificate.json").write_bytes(content)


def theorem(folder: Path) -> None:
    """Write a certificate of a theorem that ships."""
    from importlib.resources import files

    content = files("loraml_theory").joinpath("certificates/theorems/ml-3-k2-symmetric.json").read_bytes()
    (folder / "certificate.json").write_bytes(content)


def spec(folder: Path) -> None:
    """Write the spec of a sweep, with every key, and a folder that it was begun in."""
    from sims.sweep.running import run
    from sims.sweep.spec import example, read

    (folder / "spec.toml").write_text(example(), "utf-8")
    (folder / "small.toml").write_text('method = "sr"\nn = [20, 40, 80]\nseeds = 4\n', "utf-8")
    run(read(folder / "small.toml"), folder / "sweep", engine="torch")


def rates(folder: Path) -> None:
    """Write a sweep's folder, a chunk of it not merged yet."""
    spec(folder)
    (folder / "sweep" / "chunks").mkdir()
    (folder / "sweep" / "rows.parquet").rename(folder / "sweep" / "chunks" / "0.parquet")


def records(folder: Path) -> None:
    """Write the records of an experiment on images."""
    from tests.paper_checks.experiments import IN_ORDER, runs, written

    written(folder / "records", runs(IN_ORDER, seeds=range(2)))


def shallow_records(folder: Path) -> None:
    """Write tables of runs of the two-layer network."""
    from paper_checks.claims.nl_shallow import drawn_runs
    from tests.paper_checks.claims.test_nl_shallow import written

    written(folder / "records", drawn_runs(0, ratio=1.5))


def chains(folder: Path) -> None:
    """Write the records of chains of tasks."""
    from tests.paper_checks.claims.test_nl_continual import written

    written(folder / "records")


def benchmark_and_encoder(folder: Path) -> None:
    """Write a benchmark of two tasks, a tiny encoder, orders, and settings."""
    from tests.realdata.continual.benchmark_files import benchmark, encoder

    benchmark(folder / "data")
    encoder(folder / "model")
    (folder / "orders.json").write_text('[["letters", "others"]]', "utf-8")
    (folder / "settings.toml").write_text(CHAIN_SETTINGS, "utf-8")


def shallow_results(folder: Path) -> None:
    """Write what `loraml figure shallow` keeps."""
    from sims.shallow.descent import get
    from sims.shallow.results import Study, results
    from sims.shallow.settings import ShallowCell

    study = Study(get("torch", None, precision="float32"), runs=1, folder=folder / "figures")
    results("T", study, base=ShallowCell(epochs=1, tuning_epochs=1))


def images(folder: Path) -> None:
    """Write images as Parquet files, and settings."""
    from tests.realdata.vision.made import cycle, drawn_pixels, write_parquet

    for split in ("train", "test"):
        write_parquet(folder / "images", split, list(drawn_pixels(0, 16)), cycle(16))
    (folder / "settings.toml").write_text(IMAGE_SETTINGS, "utf-8")


def batches(folder: Path) -> None:
    """Write images as CIFAR-10's pickled batches."""
    from tests.realdata.vision.made import batch_files, cycle, drawn_pixels, write_files

    write_files(folder / "images", batch_files(drawn_pixels(0, 24, 32), cycle(24).tolist(), test_from=16))
    (folder / "settings.toml").write_text(IMAGE_SETTINGS, "utf-8")


def folders(folder: Path) -> None:
    """Write images in one folder a class."""
    from tests.realdata.vision.made import NAMES, drawn_pixels, write_folders

    for split in ("train", "test"):
        write_folders(folder / "images" / split, {name: drawn_pixels(0, 4) for name in NAMES})
    (folder / "settings.toml").write_text(IMAGE_SETTINGS, "utf-8")


def dialogues(folder: Path) -> None:
    """Write dialogues, and settings."""
    from realdata.language.made import made_dialogues
    from tests.realdata.language.dialogue_files import write_dialogues

    write_dialogues(folder / "plain.txt", made_dialogues(0))
    write_dialogues(folder / "packed.txt.gz", made_dialogues(1))
    (folder / "settings.toml").write_text(DIALOGUE_SETTINGS, "utf-8")


def _states() -> list[dict[str, Any]]:
    import torch

    generator = torch.Generator().manual_seed(0)
    base = torch.randn(8, 6, generator=generator)
    shifts = [torch.randn(8, 1, generator=generator) @ torch.randn(1, 6, generator=generator) for _ in range(4)]
    return [{"layer.weight": base + shift, "layer.bias": torch.zeros(8)} for shift in shifts]


def checkpoints(folder: Path) -> None:
    """Write checkpoints of four tasks in four formats."""
    import torch
    from safetensors.torch import save_file

    first, second, third, fourth = _states()
    save_file(first, folder / "a.safetensors")
    torch.save(second, folder / "b.pt")
    torch.save({"state_dict": third}, folder / "c.bin", _use_new_zipfile_serialization=False)
    (folder / "d").mkdir()
    for number, name in enumerate(fourth, start=1):
        save_file({name: fourth[name]}, folder / "d" / f"model-0000{number}-of-00002.safetensors")
    places = {name: f"model-0000{number}-of-00002.safetensors" for number, name in enumerate(fourth, start=1)}
    (folder / "d" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}), "utf-8")


def adapters(folder: Path) -> None:
    """Write LoRA adapters of four tasks and their base."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(1)
    key = "base_model.model.layer"
    config = {
        "peft_type": "LORA",
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ["layer"],
        "rank_pattern": {"layer": 2},
        "alpha_pattern": {"lay.r": 4},
    }
    save_file(_states()[0], folder / "base.safetensors")
    for task in "abcd":
        (folder / task).mkdir()
        A, B = torch.randn(2, 6, generator=generator), torch.randn(8, 2, generator=generator)
        save_file({f"{key}.lora_A.weight": A, f"{key}.lora_B.weight": B}, folder / task / "adapter_model.safetensors")
        (folder / task / "adapter_config.json").write_text(json.dumps(config), "utf-8")


def _stub(*places: str) -> Callable[[], None]:
    """Return a function that replaces each ``module:name`` by the end of the process."""

    def prepare() -> None:
        for place in places:
            _replace(place, reached)

    return prepare


def _replace(place: str, function: Callable[..., Any]) -> None:
    module, name = place.split(":")
    assert hasattr(import_module(module), name), place
    setattr(import_module(module), name, function)


def _without_pictures() -> None:
    """Leave out what draws, which takes seconds and reads nothing, and what is computed anew."""
    for place in ("sims.rates.plots:write_pictures", "sims.shallow.figures:draw", *DRAWN):
        _replace(place, lambda *_, **__: "")
    for name in ("retrain", "fine_tune"):
        _replace(f"sims.shallow.results:{name}", reached)


DRAWN = tuple(
    f"realdata.{part}.report:{name}" for part in ("experiments", "continual") for name in ("write_picture", "svg")
)


def _unchecked_batches() -> None:
    """Leave the check sums of the published files out, so that spoilt ones are unpickled."""
    from realdata.vision import cifar_batches

    cifar_batches.OFFICIAL_MD5.clear()  # type: ignore[attr-defined]  # a dict, read-only by its type
    _stub("realdata.experiments.runner:Todo")()


IMAGE_SETTINGS = """
[data]
train_per_class = 2
validation_per_class = 1
crop_padding = 4
mirror = true
[grid]
methods = ["standard", "lora-ml"]
seeds = [0, 1]
n = [1, "all"]
[retraining]
learning_rate = 1e-3
"""
DIALOGUE_SETTINGS = """
[tasks]
retraining = 2
test = 2
[turns]
max_length = 32
[model]
name = "tiny-random"
head = "two-label"
[retraining]
batch_size = 4
warmup = 0.1
"""
CHAIN_SETTINGS = """
[data]
split = [60, 20, 20]
max_length = 32
[training]
epochs = 1
rank = 2
"""
FEW = ("--runs", "1", "--epochs", "1", "--tuning-epochs", "1")
CHAIN_WORDS = ("--settings", "settings.toml", "--tune", "--out", "out")
CHECKPOINTS = ("a=a.safetensors", "b=b.pt", "c=c.bin", "d=d")
ADVISE = ("advise", "a=a", "b=b", "c=c", "d=d", "--base", "base.safetensors", "--write-base", "out/base.safetensors")
TARGETS: dict[str, Target] = {
    "verify-structure": Target(("verify", "--structure", "my.npz", "--claim", "SR-1", "--out", "out"), structure),
    "certify-check": Target(("certify", "check", "certificate.json"), certificate, statuses=frozenset({0, 1})),
    "certify-check-theorem": Target(("certify", "check", "certificate.json"), theorem, statuses=frozenset({0, 1})),
    "certify-spurious": Target(
        ("certify", "spurious", "--structure", "my.npz", "--starts", "1", "--out", "out.json"),
        structure,
        statuses=frozenset({0, 1}),
    ),
    "sweep": Target(("sweep", "spec.toml", "--out", "out"), spec, _stub("sims.sweep.running:_compute")),
    "sweep-resumed": Target(("sweep", "small.toml", "--out", "sweep"), spec, _stub("sims.sweep.running:_compute")),
    "rates": Target(("rates", "sweep", "--out", "out"), rates, _without_pictures, frozenset({0, 1})),
    "figure-shallow": Target(
        (*("figure", "shallow", "--engine", "torch", "--out", "figures", "--vary", "T"), *FEW),
        shallow_results,
        _without_pictures,
    ),
    "verify-records": Target(
        ("verify", "--records", "records", "--claim", "NL-vision", "--out", "out"), records, statuses=frozenset({0, 1})
    ),
    "verify-shallow": Target(
        ("verify", "--records", "records", "--claim", "NL-shallow", "--out", "out"),
        shallow_records,
        statuses=frozenset({0, 1}),
    ),
    "power": Target(("power", "records"), records),
    "verify-continual": Target(
        ("verify", "--records", "records", "--claim", "NL-continual", "--out", "out"),
        chains,
        statuses=frozenset({0, 1}),
    ),
    "continual-report": Target(("continual", "report", "records"), chains, _without_pictures),
    "continual": Target(
        (*("continual", "--data", "data", "--model", "model", "--orders", "orders.json"), *CHAIN_WORDS),
        benchmark_and_encoder,
        _stub("realdata.continual.runner:ChainsTodo"),
    ),
    "vision-report": Target(("vision", "report", "records"), records, _without_pictures),
    "vision-parquet": Target(
        ("vision", "--data", "images", "--settings", "settings.toml", "--out", "out"),
        images,
        _stub("realdata.experiments.runner:Todo"),
    ),
    "vision-batches": Target(
        ("vision", "--data", "images", "--settings", "settings.toml", "--out", "out"),
        batches,
        _unchecked_batches,
    ),
    "vision-folders": Target(
        ("vision", "--data", "images", "--settings", "settings.toml", "--out", "out"),
        folders,
        _stub("realdata.experiments.runner:Todo"),
    ),
    "language": Target(
        ("language", "--data", "plain.txt,packed.txt.gz", "--settings", "settings.toml", "--out", "out"),
        dialogues,
        _stub("realdata.experiments.runner:Todo"),
    ),
    "language-tasks": Target(
        ("language", "tasks", "--data", "plain.txt,packed.txt.gz", "--settings", "settings.toml", "--out", "out.csv"),
        dialogues,
    ),
    "advise-checkpoints": Target(
        ("advise", *CHECKPOINTS, "--write-base", "out/base.safetensors", "--out", "out"),
        checkpoints,
    ),
    "advise-adapters": Target((*ADVISE, "--out", "out"), adapters),
}
