"""What training spends: gradient steps and examples, counted where a gradient is taken and nowhere else."""

from __future__ import annotations

from realdata.experiments.records import Count


class Budget:
    """A running count of gradient steps and of the examples seen in them.

    One gradient step is one update, by an optimizer or by a step of an inner loop, from the gradient of one batch.
    Repetitions of an example count. Evaluation spends nothing.

    Examples
    --------
    >>> budget = Budget()
    >>> budget.spend(64)
    >>> budget.spend(32)
    >>> budget.spent
    Count(gradient_steps=2, examples=96)
    """

    def __init__(self) -> None:
        """Begin with nothing spent."""
        self.spent = Count(0, 0)

    def spend(self, examples: int) -> None:
        """Count one gradient step on a batch of `examples`."""
        if examples < 1:
            raise ValueError(f"a gradient step needs at least 1 example, got {examples}")
        self.spent = Count(self.spent.gradient_steps + 1, self.spent.examples + examples)
