"""The tensors that are linear maps: a tensor is analysed only in a recognised layout."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from realdata.advisor.tensor_files import Described, Stored

TABLE = re.compile(r"(?<![a-z])(\w*embed(ding)?s?\w*|wte|wpe|shared|relative_attention_bias|\w*_bias_table)")
"""Names of tables of vectors, one per row, that are looked up rather than multiplied with."""
BIAS = re.compile(r"(^|[._])bias$")
PARAMETRISED = re.compile(r"\.parametrizations\.|(^|[._])weight_([guv]|orig|mask)$")
"""Parts from which a weight is computed: weight and spectral normalisation, pruning."""
EXPERTS = 4096
"""Largest number of matrices in one tensor."""
KERNEL = 16
"""From this width, the last of three axes is not a convolution's, if it is longer than the first and has no bias."""


def unfused(tensors: Mapping[str, Described]) -> dict[str, Stored]:
    """Return where each weight is stored: as a tensor, or as one of the experts in a tensor."""
    found: dict[str, Stored] = {}
    for name, each in tensors.items():
        if holds_experts(name, each):
            found |= {f"{name}[{i}]": Stored(name, i) for i in range(each.shape[0])}
        else:
            found[name] = Stored(name)
    return found


def holds_experts(name: str, found: Described) -> bool:
    """Return whether a tensor is ``(experts, rows, columns)``: a matrix for each expert, not one for all of them."""
    inside = any("expert" in part or part in ("moe", "block_sparse_moe") for part in name.lower().split("."))
    return inside and len(found.shape) == 3 and 0 < found.shape[0] <= EXPERTS and not BIAS.search(name)


def no_map(name: str, found: Described, beside: Collection[str]) -> str | None:
    """Return why a tensor is not a linear map by its name and shape, or None.

    Parameters
    ----------
    name, found
        The tensor.
    beside
        All names of the checkpoint, possibly with its bias.
    """
    if not found.floating:
        return "does not hold floating-point numbers"
    if len(found.shape) < 2:
        return "is not a matrix"
    if min(found.matrix) < 2:
        return "has a single row or column"
    return _other_use(name) or _other_layout(name, found, beside)


def is_table(name: str, found: Described, beside: Collection[str]) -> bool:
    """Return whether a matrix is a table by its name: it has no bias, which a linear map of that name has."""
    return len(found.shape) == 2 and bool(TABLE.search(_last(name))) and bias_of(name) not in beside


def bias_of(name: str) -> str:
    """Return the name that a weight's bias has."""
    return f"{name.removesuffix('weight')}bias"


def _last(name: str) -> str:
    """Return the last part of a weight's name that says what it is."""
    parts = name.split(".")
    return parts[-2] if parts[-1] == "weight" and len(parts) > 1 else parts[-1]


def _other_use(name: str) -> str | None:
    if PARAMETRISED.search(name):
        return "is a part from which a weight is computed (normalisation or pruning), not the weight"
    if BIAS.search(name) and not TABLE.search(_last(name)):
        return "is a bias by its name"
    if name.endswith("A_log"):
        return "is the logarithm of a diagonal by its name, not a linear map"
    return None


def _other_layout(name: str, found: Described, beside: Collection[str]) -> str | None:
    shape, parts = found.shape, name.split(".")
    if "experts" in parts[:-1] and len(shape) == 2 and not _is_of_one(parts[parts.index("experts") + 1 :]):
        return "holds experts in one matrix, in an unknown layout; expected one axis for them"
    if len(shape) > 5:
        return f"has {len(shape)} axes, as in no known layout"
    if len(shape) == 3 and shape[2] >= KERNEL and shape[2] > shape[0] and bias_of(name) not in beside:
        return "has three axes and is neither a convolution nor experts by its name and shape"
    return None


def _is_of_one(parts: list[str]) -> bool:
    """Return whether the part after "experts" in a name selects one of them."""
    return parts[-1].endswith("]") or any(part.isdecimal() for part in parts)
