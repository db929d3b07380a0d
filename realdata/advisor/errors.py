"""What is wrong with what was given."""

from __future__ import annotations

from loraml_theory.harness.errors import InputError


class AdviceError(InputError):
    """Something about the input that the user can put right; the text is one line."""
