"""Known spurious minima, and the files that ship."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import loraml_theory
from loraml_theory.adapters import Parameters
from loraml_theory.certified.gauge import Floats
from loraml_theory.moments import population
from loraml_theory.objectives import ProjectedLoRAML
from loraml_theory.solvers import newton

SHIPPED = sorted(Path(loraml_theory.__path__[0], "certificates").glob("*.json"))


def document(name: str) -> dict[str, Any]:
    """Return a certificate that ships."""
    (path,) = (path for path in SHIPPED if path.stem == name)
    return dict(json.loads(path.read_text("ascii")))


def factors(name: str) -> Floats:
    """Return the retraining factors of a certificate that ships, all of them whole numbers."""
    return np.array(document(name)["structure"]["U_star"], dtype=np.float64)


def objective(U_star: Floats) -> ProjectedLoRAML:
    """Return the reduced objective."""
    return ProjectedLoRAML(population(U_star @ np.swapaxes(U_star, 1, 2)))


def near(U_star: Floats, start: Floats) -> Floats:
    """Return the stationary point that Newton's method finds from a start."""
    return np.asarray(newton(objective(U_star), Parameters(U=start), relative_tolerance=1e-14).parameters.U)


def spurious(name: str) -> Floats:
    """Return the minimum of a certificate that ships, as Newton finds it from the certificate's point, turned."""
    U = np.array(document(name)["point"]["U"], dtype=np.float64)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((U.shape[2], U.shape[2])))[0]
    return near(factors(name), U @ turn)
