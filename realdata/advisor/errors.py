"""What is wrong with what was given."""

from __future__ import annotations

from loraml_theory.harness.errors import one_line


class AdviceError(ValueError):
    """Something about the input that the user can put right; the text is one line."""

    def __init__(self, text: str) -> None:
        """Keep the text on one line."""
        super().__init__(one_line(text))
