"""Peak memory and time of the advisor on one large layer: `python benchmarks/advisor.py [--side 4096] [--tasks 8]`.

Writes checkpoints of one square layer with planted shifts and noise to a temporary folder, looks at them in a process
of its own, and prints what that process used at its peak.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

DTYPES = ("float32", "bfloat16", "float16")


def write_tasks(folder: Path, *, side: int, tasks: int, k: int, dtype: str) -> None:
    """Write checkpoints whose singular values stand some four times above the noise."""
    import torch
    from safetensors.torch import save_file

    draw = torch.Generator().manual_seed(0)
    base = torch.randn(side, side, generator=draw) / side**0.5
    for t in range(tasks):
        shift = torch.randn(side, k, generator=draw) @ torch.randn(k, side, generator=draw)
        noise = torch.randn(side, side, generator=draw) * 0.01
        weight = base + shift * (0.08 / side**0.5) + noise
        save_file({"layer.weight": weight.to(getattr(torch, dtype))}, str(folder / f"{t}.safetensors"))


def look(folder: Path) -> None:
    """Look at the tasks of a folder and print what that took, as JSON."""
    from realdata.advisor.layer import AdviceSettings, look_at
    from realdata.advisor.tasks import open_tasks

    imported = _peak()
    tasks = open_tasks([f"{path.stem}={path}" for path in sorted(folder.glob("*.safetensors"))])
    start = time.perf_counter()
    advice, _ = look_at(tasks, "layer.weight", AdviceSettings())
    print(
        json.dumps(
            {
                "seconds": round(time.perf_counter() - start, 1),
                "peak_gib": round(_peak(), 2),
                "imports_gib": round(imported, 2),
                "k": advice.shift_rank.k,
                "null_p": None if advice.null is None else advice.null[0],
                "rank_sr": advice.rank_sr,
                "rank_ml": advice.rank_ml,
            }
        )
    )


def _peak() -> float:
    unit = 1024 if sys.platform.startswith("linux") else 1  # kibibytes there, bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def main() -> None:
    """Measure each dtype."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--side", type=int, default=4096)
    options.add_argument("--tasks", type=int, default=8)
    options.add_argument("--k", type=int, default=4)
    options.add_argument("--dtypes", nargs="*", default=list(DTYPES), choices=DTYPES)
    options.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--look", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.write is not None:
        write_tasks(chosen.write, side=chosen.side, tasks=chosen.tasks, k=chosen.k, dtype=chosen.dtypes[0])
    elif chosen.look is not None:
        look(chosen.look)
    else:
        for dtype in chosen.dtypes:
            with TemporaryDirectory() as folder:
                # both in processes of their own: on Linux a process starts with the peak of the one that started it
                for part in ("--write", "--look"):
                    command = [sys.executable, __file__, *sys.argv[1:], part, folder, "--dtypes", dtype]
                    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
                print(dtype, said, flush=True)


if __name__ == "__main__":
    main()
