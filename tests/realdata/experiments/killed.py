"""An experiment in a process that is killed, forked from one that has imported what takes seconds to import."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from loraml_theory.harness.processes import Tick
from realdata.experiments import jobs


def killed(ran: Callable[[Path], Any], folder: Path, *, phase: str, epoch: int) -> None:
    """Run an experiment; kill its process when a job with `phase` in its name has done an epoch."""
    context = get_context("forkserver")
    context.set_forkserver_preload([*jobs.IMPORTS, __name__, ran.__module__])
    process = context.Process(target=_run, args=(ran, folder, phase, epoch))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def _run(ran: Callable[[Path], Any], folder: Path, phase: str, epoch: int) -> None:
    plain = jobs.Workbench.do

    def do(bench: jobs.Workbench, job: jobs.Job, tick: Tick) -> None:
        def ticked(epochs: float, detail: str = "") -> None:
            tick(epochs, detail)
            if epochs == epoch and phase in job.id:
                os.kill(os.getpid(), signal.SIGKILL)

        plain(bench, job, ticked)

    jobs.Workbench.do = do  # type: ignore[method-assign, assignment]
    ran(folder)
