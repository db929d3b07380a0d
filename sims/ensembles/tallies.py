"""Claims on ensembles: an engine evaluates blocks of structures, and the outcomes are counted."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import add
from typing import Any, TypeAlias

from loraml_theory.harness.processes import cores
from sims.engines.engine import Engine
from sims.ensembles.ensembles import BLOCK, Block, Ensemble
from sims.ensembles.masks import Masks, Tally, count

Draws: TypeAlias = Callable[[Block], tuple[Any, ...]]
"""Maps a block to the random numbers that a claim's function takes besides the structures."""


def no_draws(_block: Block) -> tuple[()]:
    """Draw nothing."""
    return ()


def tally(
    engine: Engine,
    function: Callable[..., Masks],
    ensemble: Ensemble,
    *,
    purpose: str,
    structures: int,
    seed: int,
    draws: Draws = no_draws,
    **options: Any,
) -> Tally:
    """Evaluate a claim's function on at least `structures` structures of an ensemble.

    Parameters
    ----------
    engine
        Evaluates the function. On a CPU one block per core runs at a time, on a GPU one.
    function
        Maps A* ``(B, d, d)``, U* ``(B, T+1, d, k)`` and the drawn numbers to `Masks`; array-API code.
    purpose
        Name of the random stream for what is drawn besides the structures.
    ensemble, structures, seed
        The structures, drawn in whole blocks.
    draws
        Further random numbers, from the stream of the block.
    options
        Further arguments of the function.
    """

    def run(number: int) -> Tally:
        block = ensemble.block(number, seed, purpose=purpose)
        found = engine.evaluate(function, block.truth.A_star, block.truth.U_star, *draws(block), **options)
        return count(Masks(*found), first=block.first)

    numbers = range(-(-structures // BLOCK))
    with ThreadPoolExecutor(cores() if engine.device == "cpu" else 1) as pool:
        return reduce(add, pool.map(run, numbers), Tally())
