"""The statistical claims alone for many base seeds: none may be refuted or undecided.

Usage: python benchmarks/statistical_seeds.py [FIRST] [LAST]    (default: 0 99)

Prints a line for every seed and, at the end, how far the means were from their predictions in units of the intervals'
half widths. The budget of one run is 10^-4, that of 100 runs 10^-2.
"""

from __future__ import annotations

import sys

import numpy as np
from threadpoolctl import threadpool_limits

from paper_checks import registry
from paper_checks.claim import PROFILES, Claim, applicable, gather
from paper_checks.evidence.evidence import Evidence, Outcome

IDS = ("SR-4", "SR-5", "ML-7", "ML-8", "ML-9", "FT-2")


def statistical(seed: int) -> list[Evidence]:
    """Return the statistical evidence of one run of the profile quick."""
    found: list[Evidence] = []
    for claim in registry.get(IDS):
        if not isinstance(claim, Claim):
            continue
        for subject, findings in applicable(claim, claim.instances(seed)):
            if all(finding.holds for finding in findings):
                found += [e for e in gather(claim.check, subject, PROFILES["quick"])[0] if e.kind == "statistical"]
    return found


def main() -> int:
    """Run the seeds; 0 when all evidence of all of them agrees."""
    first, last = (int(word) for word in (sys.argv[1:] or ("0", "99")))
    failed, distances = 0, []
    for seed in range(first, last + 1):
        evidence = statistical(seed)
        bad = [item for item in evidence if item.outcome is not Outcome.AGREES]
        failed += bool(bad)
        distances += [_distance(item) for item in evidence]
        print(f"seed {seed}: {len(evidence)} intervals, {len(bad)} not agreeing", flush=True)
        for item in bad:
            print(f"  {item.outcome}: {item.what} on {item.instance}: {item.measured}, {item.interval}", flush=True)
    within = ", ".join(f"{np.quantile(distances, q):.3f} ({q:g})" for q in (0.5, 0.9, 0.99, 0.999, 1))
    print(f"{last - first + 1 - failed} of {last - first + 1} seeds pass")
    print(f"|mean - prediction| over the half width, quantiles: {within}")
    return int(failed > 0)


def _distance(item: Evidence) -> float:
    low, high = item.interval or (np.nan, np.nan)
    return abs(item.measured - item.predicted) / ((high - low) / 2)


if __name__ == "__main__":
    with threadpool_limits(limits=1, user_api="blas"):
        sys.exit(main())
