from __future__ import annotations

import codecs
from dataclasses import fields
from math import inf
from pathlib import Path

import pytest

from loraml_theory.harness.errors import InputError
from loraml_theory.harness.settings import SettingsError, differences
from sims.methods import TITLES
from sims.sweep import spec
from sims.sweep.spec import Spec, SweepSettings, parse


def test_defaults_are_the_papers() -> None:
    made = parse('method = "sr"')
    assert made == Spec(method=("sr",))
    assert (made.d, made.k, made.T, made.N, made.n, made.sigma) == ((10,), (1,), (3,), (5000,), (100,), (0.1,))
    assert made.settings.schedule.outer_steps == 3000


def test_the_example_documents_every_key_with_its_default() -> None:
    text = spec.example()
    made = parse(text)
    assert "sr" in made.method
    for key in (f.name for f in fields(Spec)):
        assert f"\n{key} = " in text or f"\n[{key}]" in text, key
    for f in fields(SweepSettings):
        assert f"\n{f.name} = " in text, f.name
    assert made.settings == SweepSettings()
    for word in (*TITLES, *spec.STARTS, *spec.RANKS, *spec.FINE_TUNINGS):
        assert f'"{word}"' in text


def test_values_lists_and_words() -> None:
    made = parse(
        'method = ["sr"]\nN = [100, "inf"]\nn = inf\nrank = ["k", 3]\nstart = [0.1, 1, "truth", 0.0]\nseeds = [7]'
    )
    assert (made.N, made.n) == ((100.0, inf), (inf,))
    assert made.rank == ("k", "3")
    assert made.start == ("0.1", "1", "truth", "0")
    assert made.seeds == (7,)
    assert parse('method = "sr"\nseeds = 3').seeds == (0, 1, 2)


WRONG = {
    "no TOML": ("method = ", "is not TOML: "),
    "endless number": (f"d = {'9' * 5000}", "is not TOML: "),
    "no method": ("d = 10", 'method: is missing, expected "sr", "sr-gd", '),
    "unknown key": ('method = "sr"\nD = 1', "D: is not a key, expected one of method, d, k, T, N"),
    "a key of two lines": ('method = "sr"\n"a\\nb" = 1', r"a\nb: is not a key"),
    "unknown method": ('method = "SR"', "method: got 'SR', expected \"sr\", "),
    "d": ('method = "sr"\nd = 0', "d: got 0, expected a whole number >= 1, or a list of them"),
    "d in a list": ('method = "sr"\nd = [5, 1.5]', "d: got 1.5, expected a whole number >= 1"),
    "d is true": ('method = "sr"\nd = true', "d: got True"),
    "T": ('method = "sr"\nT = 1', "T: got 1, expected a whole number >= 2"),
    "N": ('method = "sr"\nN = "Inf"', "N: got 'Inf', expected a whole number in 1..10^15 or \"inf\""),
    "n": ('method = "sr"\nn = -inf', "n: got -inf"),
    "n is a table": ('method = "sr"\nn = {a = 1}', "n: got {'a': 1}"),
    "sigma": ('method = "sr"\nsigma = nan', "sigma: got nan, expected a finite number >= 0"),
    "start": ('method = "sr"\nstart = "random"', "start: got 'random', expected a finite number >= 0, \"spectral\""),
    "rank": ('method = "sr"\nrank = "2k"', 'rank: got \'2k\', expected a whole number >= 0, "k", "3k", "k(T+1)" or'),
    "empty": ('method = "sr"\nk = []', "k: got an empty list"),
    "twice": ('method = "sr"\nstart = [1, 1.0]', "start: got '1' twice"),
    "a list in a list": ('method = "sr"\nd = [[5]]', "d: got [5], expected"),
    "seeds": ('method = "sr"\nseeds = 0', "seeds: got 0, expected a number of seeds in 1..10000000, or a list"),
    "seed": ('method = "sr"\nseed = -1', "seed: got -1"),
    "kind": ('method = "sr"\nkind = "odd"', "kind: got 'odd', expected \"asymmetric\", "),
    "fine_tuning": ('method = "sr"\nfine_tuning = "adam"', 'expected "closed-form" or "gd"'),
    "settings": ('method = "sr"\nsettings = 1', "settings: got 1, expected a table [settings]"),
    "unknown setting": (
        'method = "sr"\n[settings]\nsteps = 1',
        "settings.steps: is not a key, expected one of outer_steps",
    ),
    "a setting": ('method = "sr"\n[settings]\nouter_steps = 1.5', "settings.outer_steps: got 1.5, expected a whole"),
    "a step size": ('method = "sr"\n[settings]\nouter_step_size = 0', "settings.outer_step_size: got 0, expected"),
    "too many rows": (
        'method = "sr"\nseeds = 100000\nd = [2, 3, 4, 5]\nsigma = [0, 1, 2, 3, 4, 5]\nT = [2, 3, 4, 5, 6]',
        "got 12000000 rows in all, expected at most",
    ),
    "too large": ('method = "sr"\nd = 100000', "d, T: got 100000 and 3, expected d^2 (T+1) <= "),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG)
def test_wrong_specs_name_the_key_and_what_is_allowed(text: str, expected: str) -> None:
    with pytest.raises(InputError) as problem:
        parse(text)
    assert expected in str(problem.value)
    assert "\n" not in str(problem.value)
    assert len(str(problem.value)) < 300


def test_errors_of_a_file_begin_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: cannot be read \(No such file"):
        spec.read(tmp_path / "none.toml")
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"a\.toml: is not UTF-8 \(byte 0\)"):
        spec.read(path)
    path.write_text("method = 1")
    with pytest.raises(SettingsError, match=r"a\.toml: method: got 1"):
        spec.read(path)


def test_a_spec_saved_by_an_editor_of_windows_is_read(tmp_path: Path) -> None:
    """With a byte order mark and carriage returns; in UTF-16 the mark is named."""
    text = 'method = "sr"\r\nseeds = 4\r\n'
    (tmp_path / "a.toml").write_bytes(codecs.BOM_UTF8 + text.encode())
    assert spec.read(tmp_path / "a.toml") == parse('method = "sr"\nseeds = 4')
    (tmp_path / "a.toml").write_text(text, "utf-16")
    with pytest.raises(InputError, match="begins with the byte order mark of UTF-16, expected a TOML file in UTF-8"):
        spec.read(tmp_path / "a.toml")


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, f"{'a.' * 5000}b = 1", f"a = {'[' * 80}{']' * 80}"])
def test_a_deep_spec_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(InputError, match=r"a\.toml: is nested too deeply"):
        spec.read(tmp_path / "a.toml")


def test_the_hash_tells_specs_apart_and_spellings_not() -> None:
    one = parse('method = "sr"\nN = inf\nsigma = 0\nsettings = {}')
    assert one.hash == parse('sigma = [0.0]\nmethod = ["sr"]\nN = "inf"').hash
    assert one.hash != parse('method = "sr"\nN = inf\nsigma = 0\nd = 11').hash


def test_differences_name_old_and_new_values() -> None:
    old, new = (
        parse('method = "sr"').document(),
        parse('method = "sr"\nd = [5, 20]\nsettings.tolerance = 1e-9').document(),
    )
    assert differences(old, old) == []
    assert differences(old, new) == ["d: was [10], is now [5, 20]", "settings.tolerance: was 1e-12, is now 1e-09"]
