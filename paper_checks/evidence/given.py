"""A user's structure as an instance, in units in which float64 neither overflows nor underflows."""

from __future__ import annotations

from math import log2
from pathlib import Path

import numpy as np

from loraml_theory.harness.errors import InputError, one_line
from loraml_theory.harness.structure_file import read_structure
from loraml_theory.structure import GroundTruth
from paper_checks.evidence import exact_evidence
from paper_checks.evidence.instance import Instance

SCALES = (1e-100, 1e100)


def given_instance(path: Path, *, seed: int, exact: bool) -> tuple[Instance, list[str]]:
    """Read a structure file as an instance under the file's name, with notes on how it was read.

    Parameters
    ----------
    path
        A structure file.
        seed
        Seed of the instance's random numbers.
        exact
        Whether to take the floats as exact; whole numbers always are.

    Raises
    ------
    InputError
        If the file cannot be used, or the numbers are too large or too small.
    """
    truth, notes = read_structure(path)
    with np.errstate(over="ignore"):
        scale = float(truth.scale)
    if not SCALES[0] <= scale <= SCALES[1]:
        raise InputError(
            f"{one_line(str(path))}: A_star, U_star: got max_t ||A_star + U_t U_t^T||_F = {scale:.3g}, "
            f"expected {SCALES[0]:g} to {SCALES[1]:g}"
        )
    exact = exact or exact_evidence.whole_numbers(truth)
    if not exact:
        notes = [*notes, "exact evidence omitted: not all entries are whole numbers, and --exact was not given"]
    elif truth.d > exact_evidence.LARGEST and exact_evidence.available():
        notes = [*notes, f"exact evidence omitted: d = {truth.d} > {exact_evidence.LARGEST}"]
    power = round(log2(scale) / 2)
    if abs(power) > 10:  # exact in float64: A_star by a power of 4, the factors by its root
        truth = GroundTruth(truth.A_star * 4.0**-power, truth.U_star * 2.0**-power)
        notes = [*notes, f"checked in units of 4^{power}, A_star / 4^{power} and U_star / 2^{power}"]
    name = one_line(path.name)
    return Instance(name, truth, seed, exact), [f"{name}: {note}" for note in notes]
