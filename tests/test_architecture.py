"""Imports go one way, ``paper_checks -> {sims, realdata} -> loraml_theory``, and the core imports lightly.

Within ``loraml_theory`` the harness may import the mathematics, which is every other module, and not the reverse.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "loraml_theory": set[str](),
    "sims": {"loraml_theory"},
    "realdata": {"loraml_theory"},
    "paper_checks": {"loraml_theory", "sims", "realdata"},
}
HEAVY = {
    *("torch", "cupy", "numba", "matplotlib", "scipy", "sklearn", "hypothesis", "flint", "sympy", "pyarrow", "rich"),
    *("jinja2", "peft", "transformers"),
}
IMPORT_CALLS = {"import_module", "__import__"}


def imported_modules(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and absolute name of every module a file imports, at its top or anywhere inside.

    Relative imports stay within their own part and are left out.
    """
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, node.module or ""
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in IMPORT_CALLS:
                yield node.lineno, str(node.args[0].value)


def violations(root: Path) -> list[str]:
    """Return ``file:line imports module`` for every import that goes the wrong way below `root`."""
    found = []
    for part, allowed in MAY_IMPORT.items():
        forbidden = {*MAY_IMPORT, "tests"} - allowed - {part}
        for path in sorted((root / part).rglob("*.py")):
            for line, module in imported_modules(path):
                if module.partition(".")[0] in forbidden:
                    found.append(f"{path.relative_to(root)}:{line} imports {module}")
    return found


def harness_users(mathematics: Path) -> list[str]:
    """Return ``file:line`` for every import of the harness in ``loraml_theory`` outside the harness itself."""
    found = []
    for path in sorted(mathematics.rglob("*.py")):
        inside = path.relative_to(mathematics)
        if inside.parts[0] == "harness":
            continue
        for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
                if any("harness" in name.split(".") for name in names):
                    found.append(f"{inside.as_posix()}:{node.lineno}")
    return found


def test_the_mathematics_does_not_use_the_harness() -> None:
    assert harness_users(ROOT / "loraml_theory") == []


@pytest.mark.parametrize(
    "source",
    [
        "from loraml_theory import harness",
        "from loraml_theory.harness.atomic import replacing",
        "def write():\n    import loraml_theory.harness.atomic",
        "from ..harness import atomic",
        "from . import harness",
    ],
)
def test_use_of_the_harness_is_caught(tmp_path: Path, source: str) -> None:
    for folder in ("solvers", "harness"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "new.py").write_text(source, "utf-8")
    (place,) = harness_users(tmp_path)
    assert place.startswith("solvers/new.py:")


def test_imports_go_one_way() -> None:
    assert (ROOT / "loraml_theory").is_dir()
    assert violations(ROOT) == []


@pytest.mark.parametrize(
    ("part", "source", "module"),
    [
        ("loraml_theory", "import realdata", "realdata"),
        ("loraml_theory", "def lazy():\n    from paper_checks.claim import Claim", "paper_checks.claim"),
        ("loraml_theory", "import numpy, sims.sweep.running as sweep", "sims.sweep.running"),
        ("sims", "from realdata import methods", "realdata"),
        ("sims", "if TYPE_CHECKING:\n    import paper_checks", "paper_checks"),
        ("realdata", "importlib.import_module('sims.backend')", "sims.backend"),
        ("realdata", "__import__('paper_checks')", "paper_checks"),
        ("paper_checks", "from tests.conftest import pytest_configure", "tests.conftest"),
    ],
)
def test_wrong_way_is_caught(tmp_path: Path, part: str, source: str, module: str) -> None:
    path = tmp_path / part / "inner" / "module.py"
    path.parent.mkdir(parents=True)
    path.write_text(source, "utf-8")
    (message,) = violations(tmp_path)
    assert message.startswith(f"{part}/inner/module.py:")
    assert message.endswith(f" imports {module}")


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("paper_checks", "import sims, realdata, loraml_theory"),
        ("realdata", "from loraml_theory.moments import Moments"),
        ("sims", "from . import realdata"),
        ("loraml_theory", "import loraml_theory.structure, numpy, simsalabim"),
        ("tests", "import paper_checks"),
    ],
)
def test_right_way_passes(tmp_path: Path, part: str, source: str) -> None:
    (tmp_path / part).mkdir()
    (tmp_path / part / "module.py").write_text(source, "utf-8")
    assert violations(tmp_path) == []


IMPORTED = """
import json, sys
import numpy
before = set(sys.modules)
from loraml_theory import *
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


def imported(program: str = IMPORTED) -> set[str]:
    """Return the packages of installed distributions that importing the core loads beside NumPy."""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout)) & set(packages_distributions()) - {"numpy"}


def test_core_imports_nothing_heavy() -> None:
    of_numpy = {"charset_normalizer"}  # its f2py tries it
    assert imported() - of_numpy <= {"loraml_theory", "array_api_compat"}


def test_the_harness_imports_nothing_heavy() -> None:
    modules = [f"loraml_theory.harness.{path.stem}" for path in (ROOT / "loraml_theory/harness").glob("*.py")]
    assert len(modules) > 10
    program = IMPORTED.replace("from loraml_theory import *", f"import {', '.join(modules)}".replace(".__init__", ""))
    assert not imported(program) & set(HEAVY)


@pytest.mark.long
def test_heavy_import_is_caught() -> None:
    assert {"scipy", "sklearn"} <= imported(IMPORTED.replace("import *", "import *\nimport sklearn"))


def imported_at_the_top(path: Path, modules: set[str]) -> set[str]:
    """Return which of `modules` a file imports when it is itself imported: not in functions, nor for types alone."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_bytes(), str(path))]
    while waiting:
        for node in ast.iter_child_nodes(waiting.pop()):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                submodules = {f"{node.module}.{alias.name}" for alias in node.names} & modules
                found |= submodules or {node.module}
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                waiting += node.orelse
            elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                waiting.append(node)
    return found & modules


def import_cycle(root: Path) -> list[str]:
    """Return the modules of a cycle of imports below `root`, or nothing where there is none."""
    paths = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for part in MAY_IMPORT
        for path in (root / part).rglob("*.py")
    }
    try:
        TopologicalSorter({name: imported_at_the_top(path, set(paths)) for name, path in paths.items()}).prepare()
    except CycleError as cycle:
        return list(cycle.args[1])
    return []


def test_no_imports_go_round_in_a_circle() -> None:
    assert import_cycle(ROOT) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from sims import one", True),
        ("import sims.one", True),
        ("try:\n    from sims.one import x\nexcept ImportError:\n    pass", True),
        ("def later():\n    from sims import one", False),
        ("if TYPE_CHECKING:\n    from sims.one import x", False),
    ],
)
def test_a_circle_of_imports_is_caught(tmp_path: Path, source: str, found: bool) -> None:
    (tmp_path / "sims").mkdir()
    (tmp_path / "sims/one.py").write_text("from sims.two import y", "utf-8")
    (tmp_path / "sims/two.py").write_text(source, "utf-8")
    assert set(import_cycle(tmp_path)) == ({"sims.one", "sims.two"} if found else set())


def test_no_file_is_long() -> None:
    long = {
        path: len(path.read_text("utf-8").splitlines()) for part in MAY_IMPORT for path in (ROOT / part).rglob("*.py")
    }
    assert {path: lines for path, lines in long.items() if lines > 400} == {}
