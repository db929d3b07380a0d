"""`loraml retrain`: a user's model retrained on files of a user's tasks, and compared on others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from loraml_theory.harness.errors import InputError, one_line
from paper_checks.commands import experiments
from paper_checks.commands.deferred import Exit, deferred
from paper_checks.commands.options import listed, one_of, real, whole, whole_numbers
from paper_checks.commands.output import writing

if TYPE_CHECKING:
    from realdata.experiments.runner import Request
    from realdata.text.experiment import TextSpec
    from realdata.text.settings import TextSettings

KindName = Literal["classification", "causal-lm"]
MORE = ("datasets",)
NOT_MEASURED = "No task to test on was given (--test NAME=FILE): what the base is worth was not measured."


@deferred
def retrain(
    context: typer.Context,
    task: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="A task to retrain on: its rows, or NAME=TRAIN,TEST; repeat it."),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="A task to adapt to and to be tested on, likewise; repeat it."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="The model: a folder, a package, or a name on a hub.")
    ] = None,
    kind: Annotated[
        KindName | None,
        one_of(KindName, "Texts with labels, or texts, prompts with completions or dialogues for a language model."),
    ] = None,
    text: Annotated[
        Sequence[str] | None,
        typer.Option(
            metavar="FIELD,FIELD",
            parser=listed("names of fields", str),
            help="The field of the text, or of two texts; text, sentence, … if not given.",
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="FIELD", help="The field of the label; label if not given.")
    ] = None,
    methods: experiments.Methods = None,
    split: Annotated[
        Sequence[int] | None,
        typer.Option(
            metavar="TRAIN,SELECT,TEST",
            parser=whole_numbers("three whole numbers with commas between them, such as 70,10,20", count=3),
            help="The shares of a file's rows to train on, to select the epoch on, and to test on.",
        ),
    ] = None,
    rank: Annotated[
        int | None, typer.Option(metavar="R", parser=whole(1, 10**6), help="The rank of all adapters.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="E", parser=whole(1, 10**6), help="Epochs of retraining and of fine-tuning.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="B", parser=whole(1, 10**6), help="Examples of a step, in both.")
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(metavar="X", parser=real(above=0, at_most=100), help="The learning rate of the base."),
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(metavar="L", parser=whole(1, 10**6), help="Tokens of a text; longer ones are cut.")
    ] = None,
    seeds: experiments.Seeds = None,
    settings: experiments.SettingsFile = None,
    report_to: Annotated[
        Sequence[str] | None,
        typer.Option(
            metavar="NAME,NAME",
            parser=listed("names of integrations", str),
            help="Log losses and scores to tensorboard, trackio, wandb, …, by the integrations of transformers.",
        ),
    ] = None,
    device: experiments.Device = "auto",
    precision: experiments.Precision = "no",
    workers: experiments.Workers = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder for bases, adapters and results; run again to continue.")
    ] = Path("reports/retrain"),
    example: experiments.Example = False,
) -> Exit:
    """Retrain your model on files of your tasks to a base that adapts well, and measure it on other tasks."""
    from realdata.experiments.options import Asked, AxesSettings, wanted
    from realdata.experiments.runner import Request
    from realdata.experiments.training_log import check_integrations
    from realdata.text import settings as text_settings
    from realdata.text.experiment import TextSpec
    from realdata.text.files import source_of

    if example:
        return 0, text_settings.example()
    if not task:
        raise InputError("--task: is missing, expected --task NAME=FILE, once for each task to retrain on")
    changes: dict[str, dict[str, Any]] = {
        "data": {"text": text, "label": label, "split": split, "max_length": max_length},
        "model": {"kind": kind, "name": model},
        "retraining": {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate},
        "fine_tuning": {"epochs": epochs, "batch_size": batch_size},
        "grid": {"rank": None if rank is None else [rank]},
    }
    read = _settings(settings, changes)
    retrained = tuple(source_of(one, option="--task") for one in task)
    spec = TextSpec(read, retrained, tuple(source_of(one, option="--test") for one in test or ()))
    grid = wanted(read.grid, AxesSettings(rank=()), asked=Asked(methods=methods, seeds=seeds), switches=())
    text_settings.check_grid(grid.grid, read.model.kind)
    experiments.require_extra(MORE)
    logged = tuple(report_to or ())
    check_integrations(logged, option="--report-to")
    request = Request(
        spec, grid, device=device, precision=precision, workers=workers, command=context.obj, report_to=logged
    )
    return _carry_out(request, spec, out)


def _settings(path: Path | None, changes: dict[str, dict[str, Any]]) -> TextSettings:
    """Return the settings of the file, or the usual ones, with what options replace; errors name the option."""
    from loraml_theory.harness.input_files import read_toml
    from loraml_theory.harness.settings import overlaid
    from realdata.text.settings import settings

    given = {name: {key: value for key, value in table.items() if value is not None} for name, table in changes.items()}
    with experiments.settings_of(path):
        document = read_toml(path) if path is not None else {}
    try:
        return settings(overlaid(document, given))
    except InputError as problem:
        key, _, what = str(problem).partition(": ")
        table, _, name = key.partition(".")
        if name in given.get(table, ()):
            raise InputError(f"--{'model' if key == 'model.name' else name.replace('_', '-')}: {what}") from None
        with experiments.settings_of(path):
            raise


def _carry_out(request: Request, spec: TextSpec, out: Path) -> Exit:
    """Retrain, measure what can be, and write bases and adapters."""
    if spec.tests:
        status, text = experiments.carry_out(request, out)
    else:
        _, failed = experiments.compute(request, out)
        status, text = 1 if failed else 0, f"{failed}{NOT_MEASURED}\n"
    return status, text + _exported(request, spec, out)


def _exported(request: Request, spec: TextSpec, out: Path) -> str:
    """Write the base and the adapters of every retraining that is complete, and say where."""
    from realdata.experiments.grid import keys, retrainings, work_of
    from realdata.experiments.report import findings, markdown
    from realdata.experiments.retrained import is_complete
    from realdata.text.export import export

    grid = request.wanted.grid
    made = [key for key in retrainings(grid, spec.relevance) if is_complete(out / "retraining" / key.id)]
    works = [work_of(key, spec.relevance) for key in keys(grid, tasks=[source.name for source in spec.tests])]
    results = markdown(findings(out)) if any((out / "runs").glob("*.json")) else ""
    with writing(out):
        base = export(out, spec.open(), made, fine_tunings=works, results=results, command=request.command)
    if base is None:
        return "Nothing was retrained, so no base is written.\n"
    method, seed = base.readlink().parts[:2]
    return f"Base of {method}, {seed.replace('-', ' ')}: {one_line(str(base))}, with its adapters beside it\n"
