"""A safetensors file, read one tensor, or a part of one, at a time."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from loraml_theory.harness.errors import InputError, reason
from loraml_theory.harness.input_files import check_regular
from realdata.advisor.tensor_files import DTYPES, Described, Rows


class SafetensorsFile:
    """A safetensors file.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    InputError
        If it is missing, not a regular file, damaged, or holds an unknown dtype.
    """

    def __init__(self, path: Path) -> None:
        check_regular(path, expected="a safetensors file")
        self.path, self.files, self.tensors = path, (path,), _header(path)

    def read(self, name: str, rows: Rows = None) -> Tensor:
        """Return a tensor, or some rows of it; the file is open only meanwhile."""
        from safetensors import safe_open

        with safe_open(self.path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(name) if rows is None else file.get_slice(name)[rows]
            return tensor


def _header(path: Path) -> dict[str, Described]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            found = {}
            for name in file.keys():  # noqa: SIM118 - no mapping
                tensor = file.get_slice(name)
                dtype = str(tensor.get_dtype())
                if dtype not in DTYPES:
                    raise InputError(f"{path}: {name!r} is of the dtype {dtype}, expected one of {', '.join(DTYPES)}")
                found[name] = Described(tuple(tensor.get_shape()), DTYPES[dtype])
            return found
    except OSError as problem:
        raise InputError(f"{path}: cannot be read ({reason(problem)})") from None
    except MemoryError:  # more bytes than the address space
        raise InputError(f"{path}: cannot be read (it is too large for this machine's memory)") from None
    except SafetensorError as problem:
        raise InputError(f"{path}: is not a safetensors file, or damaged ({problem})") from None
