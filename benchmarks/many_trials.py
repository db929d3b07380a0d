"""100 000 trials by closed forms and 30 000 by the paper's gradient descent: seconds and memory, drawing included.

python benchmarks/many_trials.py [--closed 100000] [--descent 30000]
"""

from __future__ import annotations

import argparse

import numpy as np
from problems import peak_memory, retraining, timed, truths

from loraml_theory.closed_forms import fine_tune, spectral_recovery, standard_retraining
from loraml_theory.moments import draw
from sims.engines.cpu_engine import CpuEngine
from sims.engines.engine import Schedule

D, K, T = 10, 1, 3
AT_ONCE = 10_000


def closed_forms(trials: int) -> np.ndarray:
    """Retrain by both methods' closed forms and fine-tune both; return ``||W - W_hat||_F^2``, ``(2, trials)``."""
    rng, errors = np.random.default_rng(0), []
    for first in range(0, trials, AT_ONCE):
        W = truths(rng, min(AT_ONCE, trials - first), d=D, k=K, T=T + 1)
        retraining_moments, test = draw(rng, W[:, :-1], 5000, sigma=0.1), draw(rng, W[:, -1], 100, sigma=0.1)
        bases = standard_retraining(retraining_moments), spectral_recovery(retraining_moments.W, K).A
        errors.append([np.sum((fine_tune(test, base, K) - W[:, -1]) ** 2, axis=(-2, -1)) for base in bases])
    return np.concatenate(errors, axis=1)


def descent(trials: int) -> np.ndarray:
    """Retrain by the paper's gradient descent; return the bases."""
    engine = CpuEngine()
    sizes = [min(AT_ONCE, trials - first) for first in range(0, trials, AT_ONCE)]
    return np.concatenate([engine.retrain(*retraining(size, d=D, k=K, T=T), Schedule()).end.A for size in sizes])


def main() -> None:
    """Print one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--closed", type=int, default=100_000)
    parser.add_argument("--descent", type=int, default=30_000)
    asked = parser.parse_args()
    for name, run, trials in (("closed forms", closed_forms, asked.closed), ("descent", descent, asked.descent)):
        seconds, result = timed(run, trials)
        finite = np.isfinite(result).mean()
        print(
            f"{name:12} {trials:7} trials: {seconds:6.1f} s, peak memory {peak_memory():.2f} GiB, finite {finite:.4f}"
        )


if __name__ == "__main__":
    main()
