"""The linear model at scale: engines that run whole batches of trials, sweeps, figures and rates.

What a user may rely on is what this module names, imported when it is first asked for.
"""

from typing import TYPE_CHECKING

from loraml_theory.lazy_names import lazy

if TYPE_CHECKING:
    from sims.engines.cpu_engine import CpuEngine
    from sims.engines.cupy_engine import CupyEngine
    from sims.engines.engine import Engine, Iterates, Schedule
    from sims.engines.torch_engine import TorchEngine
    from sims.sweep.spec import Spec, SweepSettings
    from sims.sweep.store import read_rows, read_table

__getattr__, __dir__ = lazy(
    __name__,
    {
        "engines.cpu_engine": "CpuEngine",
        "engines.cupy_engine": "CupyEngine",
        "engines.engine": "Engine Iterates Schedule",
        "engines.torch_engine": "TorchEngine",
        "sweep.spec": "Spec SweepSettings",
        "sweep.store": "read_rows read_table",
    },
)

__all__ = [
    "CpuEngine",
    "CupyEngine",
    "Engine",
    "Iterates",
    "Schedule",
    "Spec",
    "SweepSettings",
    "TorchEngine",
    "read_rows",
    "read_table",
]
