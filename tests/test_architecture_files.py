"""Every file that a user gives is opened by `loraml_theory.harness`: no other module reads one by itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PARTS = ("loraml_theory", "sims", "realdata", "paper_checks")
METHODS = {"open", "read_text", "read_bytes"}
FUNCTIONS = {
    *("open", "ParquetFile", "read_metadata", "GzipFile", "ZipFile", "TarFile", "safe_open", "load_file", "FileLock"),
    *("from_pretrained", "fromfile", "loadtxt", "genfromtxt", "memmap"),
}
QUALIFIED = {
    *("json.load", "json.loads", "tomllib.load", "tomllib.loads", "pickle.load", "pickle.loads"),
    *("np.load", "numpy.load", "torch.load", "pq.read_table", "pq.read_pandas"),
}
ALLOWED = {
    ("loraml_theory/harness/atomic.py", "partial.open"): "writes a new file",
    (
        "loraml_theory/certified/check.py",
        "json.loads",
    ): "shares no code with anything; its text was read by the harness",
    ("sims/sweep/store.py", "os.open"): "a folder, to flush it",
    ("realdata/advisor/merging.py", "path.open"): "reads back what was just written",
    ("realdata/advisor/safetensors_file.py", "safe_open"): "after check_regular",
    ("realdata/advisor/torch_file.py", "ZipFile"): "of what open_input gives",
    ("realdata/advisor/torch_file.py", "torch.load"): "after check_regular, and a look at the pickles in it",
    ("loraml_theory/harness/json_schema.py", "json.loads"): "of a resource of the package",
    ("realdata/completion/digits.py", "np.loadtxt"): "a file of scikit-learn",
    ("realdata/continual/factors.py", "PeftModel.from_pretrained"): "after read_json and check_regular",
    ("realdata/continual/records.py", "json.loads"): "of what json.dumps has just made",
    ("loraml_theory/critical_points/start_sets.py", "np.load"): "of a resource of the package",
    ("realdata/experiments/folder.py", "json.loads"): "of what json.dumps has just made",
    ("realdata/experiments/jobs.py", "self.spec.open"): "opens an experiment, not a file",
    ("realdata/experiments/runner.py", "request.spec.open"): "opens an experiment, not a file",
    ("realdata/language/encoders.py", "auto.from_pretrained"): "after check_regular",
    ("realdata/language/encoders.py", "AutoTokenizer.from_pretrained"): "after check_regular",
    ("realdata/peft_ml/bundle.py", "PeftConfig.from_pretrained"): "after read_json",
    ("realdata/peft_ml/bundle.py", "json.loads"): "of what json.dumps has just made",
    ("realdata/peft_ml/bundle.py", "load_file"): "after check_regular",
    ("realdata/peft_ml/checkpoint.py", "torch.load"): "of bytes that read_bytes gave, whose hash is right",
    ("realdata/peft_ml/whole_folder.py", "path.open"): "flushes what was just written",
    ("realdata/text/adapters.py", "PeftConfig.from_pretrained"): "after read_json",
    ("realdata/text/adapters.py", "load_file"): "after check_regular",
    ("realdata/vision/cifar_batches.py", "tarfile.open"): "of what open_packed gives",
    ("realdata/vision/decoding.py", "Image.open"): "of bytes that read_bytes gave",
    ("paper_checks/commands/retrain.py", "spec.open"): "opens an experiment, not a file",
    ("paper_checks/commands/output.py", "(out / name).read_bytes"): "reads back what was just written",
    ("paper_checks/cli.py", "os.open"): "the null device, in the place of a closed standard output",
    ("paper_checks/evidence/orders.py", "json.loads"): "of what json.dumps has just made",
}
"""By module and call, why what is opened there is not a user's file, or was looked at before."""


def opens(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of every call that opens or parses a file, but for resources of the package."""
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            owner, _, name = called.rpartition(".")
            opening = name in FUNCTIONS or called in QUALIFIED or (owner != "" and name in METHODS)
            if opening and not called.startswith(("files(", "resources.files(")):
                yield node.lineno, called


def violations(root: Path) -> list[str]:
    """Return ``file:line calls what`` for every call that neither the harness makes nor `ALLOWED` has."""
    found = []
    for part in PARTS:
        for path in sorted((root / part).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            if not name.startswith("loraml_theory/harness/"):
                found += [f"{name}:{line} calls {what}" for line, what in opens(path) if (name, what) not in ALLOWED]
    return found


@pytest.mark.long
def test_only_the_harness_opens_files() -> None:
    assert violations(ROOT) == []


def test_what_is_allowed_is_there() -> None:
    there = {(name, what) for name, _ in ALLOWED for _, what in opens(ROOT / name)}
    assert set(ALLOWED) <= there


@pytest.mark.parametrize(
    "source",
    [
        "open(path)",
        "def read():\n    return path.read_text('utf-8')",
        "with path.open('rb') as file:\n    pass",
        "Path(name).read_bytes()",
        "json.loads(text)",
        "tomllib.load(file)",
        "np.load(path)",
        "torch.load(path, weights_only=True)",
        "pq.ParquetFile(path)",
        "pq.read_table(path)",
        "gzip.open(path)",
        "tarfile.open(path)",
        "zipfile.ZipFile(path)",
        "safe_open(path, framework='pt')",
        "load_file(path)",
        "AutoModel.from_pretrained(name)",
    ],
)
def test_a_reader_of_its_own_is_caught(tmp_path: Path, source: str) -> None:
    (tmp_path / "sims").mkdir()
    (tmp_path / "sims/new.py").write_text(source, "utf-8")
    (message,) = violations(tmp_path)
    assert message.startswith("sims/new.py:")


@pytest.mark.parametrize(
    "source",
    [
        "files('sims').joinpath('example.toml').read_text('utf-8')",
        "read_text(path, expected='a table', limit=1)",
        "with open_input(path, expected='a file') as file:\n    file.read()",
        "load(folder, key)",
    ],
)
def test_the_harness_and_resources_pass(tmp_path: Path, source: str) -> None:
    (tmp_path / "sims").mkdir()
    (tmp_path / "sims/new.py").write_text(source, "utf-8")
    assert violations(tmp_path) == []
