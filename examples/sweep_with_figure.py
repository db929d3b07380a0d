"""Run a small sweep, and draw a figure of one's own from its rows.

    python examples/sweep_with_figure.py [FOLDER]

The test error of standard retraining grows with the number of tasks T, LoRA-ML's does not (SR-4, ML-7).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from loraml_theory.harness.plotting import figure, save
from sims import read_rows

SPEC = 'method = ["sr", "lora-ml-spectral"]\nT = [3, 4, 6, 8]\nN = "inf"\nseeds = 50\n'


def main(folder: Path) -> None:
    """Simulate, then draw the mean error against T for both methods."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.toml").write_text(SPEC, "utf-8")
    subprocess.run(["loraml", "sweep", folder / "spec.toml", "--out", folder / "sweep"], check=True)
    rows = read_rows(folder / "sweep")
    with figure(5, 3.4) as picture:
        ax = picture.subplots()
        for method in sorted(set(rows["method"])):
            mine = rows["method"] == method
            tasks = sorted(set(rows["T"][mine]))
            errors = [rows["parameter_error"][mine & (rows["T"] == T)].mean() for T in tasks]
            ax.semilogy(tasks, errors, "o-", label=method)
        ax.set(xlabel="retraining tasks T", ylabel="test error, mean over 50 truths (less is better)")
        ax.legend()
        save(picture, folder / "error.png")
    print(folder / "error.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/example"))
