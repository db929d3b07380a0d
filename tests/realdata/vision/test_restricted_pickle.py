"""Pickles of lists and byte arrays are read, and nothing else is."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from realdata.vision.restricted_pickle import PickleError, StoredArray, load_pickle
from tests.realdata.vision.made import damaged, python2_pickle

ARRAY = np.arange(300, dtype=np.uint8).reshape(4, 75)


@pytest.mark.parametrize(
    "content",
    [
        python2_pickle({b"data": ARRAY, b"labels": [1, 2]}),
        pickle.dumps({b"data": ARRAY, b"labels": [1, 2]}, protocol=3),
        pickle.dumps({b"data": np.asfortranarray(ARRAY), b"labels": [1, 2]}, protocol=4),
    ],
    ids=["Python 2", "protocol 3", "Fortran's order"],
)
def test_arrays_and_lists(content: bytes) -> None:
    found = load_pickle(content)
    assert set(found) == {b"data", b"labels"}
    assert found[b"labels"] == [1, 2]
    np.testing.assert_array_equal(found[b"data"].values, ARRAY)


def test_hand_written_pickles_are_what_pickle_reads() -> None:
    found = pickle.loads(python2_pickle({b"data": ARRAY, b"x": [None, 2.5, (3, True)]}), encoding="bytes")
    np.testing.assert_array_equal(found[b"data"], ARRAY)
    assert found[b"x"] == [None, 2.5, (3, True)]


class Reaches:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def test_no_code_of_the_file_is_run(tmp_path: Path) -> None:
    evil = pickle.dumps({b"data": Reaches(str(tmp_path / "made"))}, protocol=3)
    with pytest.raises(PickleError, match=r"it names \w+.mkdir, which is not allowed"):
        load_pickle(evil)
    assert not (tmp_path / "made").exists()
    pickle.loads(evil)  # the control: an unrestricted load does run it
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["builtins.eval", "os.system", "numpy.load", "multiarray.scalar", "numpy.__class__"])
def test_other_names(name: str) -> None:
    with pytest.raises(PickleError, match=f"it names {name}, which is not allowed"):
        load_pickle(b"\x80\x02c" + name.replace(".", "\n").encode() + b"\n.")


def test_other_element_types() -> None:
    for values in (np.array([None]), np.arange(3.0), np.arange(3)):
        with pytest.raises(PickleError, match="an array has elements of type"):
            load_pickle(pickle.dumps(values, protocol=3))


@pytest.mark.parametrize("shape", [(4, 76), (-4, -75), (4, 75, 2), (True, 300), (4.0, 75), (b"300",), (None,)])
def test_shapes_that_do_not_fit(shape: tuple[Any, ...]) -> None:
    right, wrong = (python2_pickle(part)[2:-1] for part in ((4, 75), shape))
    whole = python2_pickle(ARRAY)
    assert whole.count(right) == 1
    with pytest.raises(PickleError, match=r"an array of shape .* has 300 bytes"):
        load_pickle(whole.replace(right, wrong))


@pytest.mark.parametrize("state", [1, (1, (4,), b"u1", False, b"abcd"), (2, (4, 75), ARRAY, False, b"")])
def test_states_that_are_none(state: Any) -> None:
    bare = b"\x80\x02cnumpy\nndarray\n)R"
    with pytest.raises(PickleError, match="an array's state is not one of unsigned bytes"):
        load_pickle(bare + python2_pickle(state)[2:-1] + b"b.")


def test_arrays_without_state_have_no_values() -> None:
    bare = load_pickle(b"\x80\x02cnumpy\nndarray\n)R.")
    assert isinstance(bare, StoredArray)
    assert bare.values is None


@given(content=damaged(python2_pickle({b"data": ARRAY, b"labels": [1, 2]})))
def test_any_damage_ends_in_a_value_or_a_pickle_error(content: bytes) -> None:
    message = ""
    try:
        load_pickle(content)
    except PickleError as problem:
        message = str(problem)
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (pickle.dumps(bytearray(3), protocol=5), "BYTEARRAY8"),
        (b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"few.", "expected 1099511627776 bytes"),
        (b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"few.", "expected 1099511627776 bytes"),
    ],
    ids=["byte array", "byte array that is not there", "bytes that are not there"],
)
def test_lengths_of_a_damaged_file_are_not_allocated(
    content: bytes, text: str, recwarn: pytest.WarningsRecorder
) -> None:
    with pytest.raises(PickleError, match=text):
        load_pickle(content)
    assert not recwarn.list
