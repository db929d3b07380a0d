from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from paper_checks import cli, registry
from paper_checks.claim import AnyClaim
from paper_checks.commands import experiments
from paper_checks.commands import verify as verify_command
from tests.paper_checks import fakes

NEEDS_REALDATA = pytest.mark.skipif(
    any(find_spec(module) is None for module in experiments.EXTRA),
    reason=f"needs {', '.join(experiments.EXTRA)}, the extra realdata",
)


@dataclass(frozen=True)
class Ended:
    """How `loraml` ended and what it printed."""

    status: int
    out: str
    err: str


Loraml: TypeAlias = Callable[..., Ended]


@pytest.fixture
def loraml(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Loraml:
    """Run `loraml` in an empty folder, on fake claims (``known``) and a fake study of real data."""
    monkeypatch.chdir(tmp_path)

    def study(_profile: str, _seed: int) -> dict[str, Any]:
        return {"summary": ["A sentence."], "table": [{"class": 0, "change": -1.5}]}

    def run(*words: str | Path, known: Sequence[AnyClaim[Any]] = (fakes.claim(),)) -> Ended:
        monkeypatch.setattr(registry, "claims", lambda: tuple(known))
        monkeypatch.setattr(verify_command, "_real_study", lambda: study)
        monkeypatch.setattr(verify_command, "cores", lambda: 1)  # no other process knows the fakes
        with pytest.raises(SystemExit) as ended:
            cli.main([str(word) for word in words])
        printed = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, printed.out, printed.err)

    return run
