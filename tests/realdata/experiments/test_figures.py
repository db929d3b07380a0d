"""What the curves and their bands are means over."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from realdata.experiments.figures import figures
from realdata.experiments.tables import Results
from tests.realdata.experiments.made import key, record


def fine_tuning(seeds: int) -> tuple[str, list[float], list[float]]:
    """Return the caption, and the last mean of the curve with its band, of two tasks and 0.25 more for each seed."""
    records = [
        record(key(task=task, seed=seed), correct="1" * right + "0" * (8 - right))
        for seed in range(seeds)
        for task, right in (("a", 1 + 2 * seed), ("b", 5 + 2 * seed))
    ]
    drawn = {figure.name: figure for figure in figures(Results(records, score="accuracy", unit="persona"))}
    figure = drawn["fine-tuning-curves"]
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    figure.panels[0].draw(ax)
    (line,) = ax.get_lines()
    (band,) = ax.collections
    last = band.get_paths()[0].vertices
    heights = [float(y) for x, y in np.asarray(last) if x == 2]
    return figure.caption, [float(y) for y in np.asarray(line.get_ydata())], [min(heights), max(heights)]


def test_with_several_seeds_bands_are_over_seeds_of_means_over_tasks() -> None:
    caption, mean, band = fine_tuning(2)
    # means over tasks 3/8 and 5/8: standard deviation sqrt(2)/8, over sqrt(2)
    assert mean[-1] == pytest.approx(0.5)
    assert band == pytest.approx([0.5 - 1 / 8, 0.5 + 1 / 8])
    assert "mean over personas and seeds; bands: ± one standard error over seeds." in caption


def test_with_one_seed_bands_are_over_tasks() -> None:
    caption, mean, band = fine_tuning(1)
    assert mean[-1] == pytest.approx(3 / 8)
    assert band == pytest.approx([3 / 8 - sqrt(0.5**2 / 2) / sqrt(2), 3 / 8 + sqrt(0.5**2 / 2) / sqrt(2)])
    assert "bands: ± one standard error over personas." in caption
