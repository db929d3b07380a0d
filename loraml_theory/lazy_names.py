"""The public names of a package, each imported from its module when it is first asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package whose import loads none of its modules.

    Parameters
    ----------
    package
        Its name.
    homes
        The names that may be asked for, separated by spaces, by the module of the package that has them; the modules
        that are public themselves by the empty text.
    """
    modules = {name: module for module, names in homes.items() for name in names.split()}

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = import_module(f"{package}.{modules[name] or name}")
        found = getattr(home, name) if modules[name] else home
        setattr(sys.modules[package], name, found)
        return found

    return get, lambda: sorted(modules)
