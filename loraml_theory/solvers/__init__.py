"""Solvers: from an objective and a start to a `Solution` whose status says how it ended."""

from loraml_theory.solvers.base import ConvergenceError, Solution, Status
from loraml_theory.solvers.block import block_descent
from loraml_theory.solvers.gradient import alternating_gradient_descent, gradient_descent
from loraml_theory.solvers.newton import newton

__all__ = [
    "ConvergenceError",
    "Solution",
    "Status",
    "alternating_gradient_descent",
    "block_descent",
    "gradient_descent",
    "newton",
]
