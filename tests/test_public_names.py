"""What a user may import from a package by its name alone, and that the import by itself loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.test_architecture import HEAVY

NAMES = {
    "realdata.advisor": {"Advice", "AdviceSettings", "LayerAdvice", "Tasks", "advise", "open_tasks"},
    "realdata.peft_ml": {
        *("Batch", "DivergedError", "EpochProgress", "Examples", "FineTuned", "FineTuningSettings", "MetaPeftModel"),
        *("MetaSettings", "MetaTrainer", "Problem", "RetrainedModel", "RetrainingSettings", "StepProgress", "Task"),
        *("UntrainedError", "fine_tune", "load", "retrain", "save", "shard"),
    },
    "sims": {
        *("CpuEngine", "CupyEngine", "Engine", "Iterates", "Schedule", "Spec", "SweepSettings", "TorchEngine"),
        *("read_rows", "read_table"),
    },
}


@pytest.mark.parametrize("package", NAMES)
def test_a_package_names_what_a_user_may_rely_on(package: str) -> None:
    module = import_module(package)
    assert set(module.__all__) == set(dir(module)) == NAMES[package]
    assert all(getattr(module, name).__name__ == name for name in NAMES[package])


@pytest.mark.parametrize("package", NAMES)
def test_another_name_is_named(package: str) -> None:
    with pytest.raises(AttributeError, match=f"^module '{package}' has no attribute 'nothing'$"):
        import_module(package).nothing  # noqa: B018


def test_the_packages_load_nothing_heavy_until_a_name_is_asked_for() -> None:
    program = f"import sys, {', '.join(NAMES)}; print(sorted(set(sys.argv[1:]) & sys.modules.keys()))"
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", program, *HEAVY], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
