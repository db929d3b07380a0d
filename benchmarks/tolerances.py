"""Print, from a `verdicts.json`, what the checks of each quantity use of their tolerance, and how fine they are.

    python benchmarks/tolerances.py reports/verify/verdicts.json

A row stands for all values of one quantity of a claim, numbers in its name aside: the largest share of the tolerance
that a value uses, the largest tolerance, and the largest resolution. Rows that use less than `LITTLE` come first.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

LITTLE = 1e-3


def main() -> None:
    """Print the rows."""
    found: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for claim in json.loads(Path(sys.argv[1]).read_text("utf-8"))["claims"]:
        for item in claim["evidence"]:
            if item["tolerance"] and item["outcome"] == "agrees":
                found[claim["id"], re.sub(r"[0-9][0-9.e+-]*", "#", item["what"])].append(item)
    rows = sorted((max(item["used"] for item in items), name, items) for name, items in found.items())
    for used, (claim, what), items in rows:
        tolerance, resolution = (max(item[key] for item in items) for key in ("tolerance", "resolution"))
        sign = "!" if used < LITTLE else " "
        print(f"{sign} {used:8.1e} of {tolerance:7.1e}, resolution {resolution:7.1e}, {len(items):3}: {claim} {what}")


if __name__ == "__main__":
    main()
