"""Claims on ensembles: blocks of structures through an engine, and the counts of what came of them."""

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
"""From a block to the random numbers that a claim's function takes beside the structures."""


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
        Where it is evaluated. On a processor one block a core runs at a time, on a card one.
    function
        From A* ``(B, d, d)``, U* ``(B, T+1, d, k)`` and what is drawn to `Masks`; array-API code.
    purpose
        What is drawn for it, beside the structures, depends on this name.
    ensemble, structures, seed
        What is drawn, in whole blocks.
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
