"""What the settings of experiments have in common: tables, and keys that a file must not have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from loraml_theory.harness.settings import SettingsError, Table

NotKeys = Mapping[tuple[str, str], str]
"""Fields of a table that the experiment sets by itself, and why: in a file they would be ignored."""


def refuse(table: Table, not_keys: NotKeys) -> None:
    """Refuse a document that has one of these keys.

    Raises
    ------
    SettingsError
        If it has; the text says why it must not.
    """
    for (name, key), why in not_keys.items():
        if isinstance(table.get(name), dict) and key in table[name]:
            raise SettingsError(f"{name}.{key}: is not a key, {why}")


def tables(settings: Any, *, left_out: NotKeys) -> dict[str, Any]:
    """Return all that results depend on as JSON holds it: the tables of settings but for the grid and its axes."""
    plain = {name: table for name, table in asdict(settings).items() if name not in ("grid", "axes")}
    for table, key in left_out:
        del plain[table][key]
    return plain
