"""Coq's kernel accepts what is exported, and not what is changed; it is asked where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from itertools import product
from pathlib import Path

import pytest

from loraml_theory.certified.coq import exported, relabelling
from loraml_theory.certified.minors import BLOCKS
from tests.loraml_theory.certified.test_check_theorem import NAMES, document

needs_coq = pytest.mark.skipif(shutil.which("coqc") is None, reason="needs coqc, of Debian's package coq")


def compiled(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "recovery.v").write_text(text, "ascii")
    return subprocess.run(["coqc", "recovery.v"], cwd=folder, capture_output=True, text=True, check=False)


@needs_coq
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES[:4])
def test_the_kernel_accepts_what_ships_up_to_k_2(name: str, tmp_path: Path) -> None:
    ended = compiled(exported(document(name)), tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    axioms = [line.split()[0] for line in ended.stdout.splitlines() if line[:1].isalpha() and line != "Axioms:"]
    assert axioms == ["ClassicalDedekindReals.sig_forall_dec", "FunctionalExtensionality.functional_extensionality_dep"]


@needs_coq
@pytest.mark.slow
@pytest.mark.parametrize("key", ["coefficient", "task"])
def test_the_kernel_refuses_a_change(key: str, tmp_path: Path) -> None:
    changed = document("ml-3-k1-symmetric")
    term = changed["identities"][-1]["terms"][0]
    term[key] = (term[key] + 1) % 3
    assert compiled(exported(changed), tmp_path).returncode == 1


@pytest.mark.parametrize("k", [1, 2, 3])
def test_every_entry_is_reached_from_one_of_its_kind(k: int) -> None:
    for i, j in product(range(BLOCKS * k), repeat=2):
        source = (0, 0) if i == j else (0, 1) if i // k == j // k else (0, k)
        indices, blocks = relabelling(source, (i, j), k)
        assert [indices[at] for at in source] == [i, j]
        assert sorted(indices) == list(range(BLOCKS * k))
        assert [indices[at] // k for at in range(BLOCKS * k)] == [blocks[at // k] for at in range(BLOCKS * k)]


@pytest.mark.parametrize("name", NAMES)
def test_a_lemma_for_each_identity_and_each_entry_is_written(name: str) -> None:
    text, k = exported(document(name)), int(name[6])
    assert text.count("Lemma X_") == (3 * k) ** 2
    assert text.count("ring. }") == len(document(name)["identities"])
    assert ("Lemma swap" in text) == name.endswith("-symmetric")
