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


def killed(
    ran: Callable[[Path], Any], folder: Path, *, phase: str, epoch: float, bench: type[Any] = jobs.Workbench
) -> None:
    """Run an experiment; kill its process when a job with `phase` in its name has done an epoch.

    `bench` is the class whose instances do its jobs.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload([*jobs.IMPORTS, __name__, ran.__module__])
    process = context.Process(target=_run, args=(ran, folder, phase, epoch, bench))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def _run(ran: Callable[[Path], Any], folder: Path, phase: str, epoch: float, bench: type[Any]) -> None:
    plain = bench.do

    def do(own: Any, job: Any, tick: Tick) -> None:
        def ticked(epochs: float, detail: str = "") -> None:
            tick(epochs, detail)
            if epochs == epoch and phase in job.id:
                os.kill(os.getpid(), signal.SIGKILL)

        plain(own, job, ticked)

    bench.do = do
    ran(folder)
