"""Whether the base stores an adapted weight as (out, in), like nn.Linear, or as (in, out), like Conv1D.

peft has one ``fan_in_fan_out`` for a whole adapter, set by the layer it wrapped last, which says nothing about the
others. The base's shape decides, except for square weights; for those, other weights of the same kind decide: the axis
as long as a weight's bias is the output axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from realdata.advisor.lora_adapter import LoraAdapter
from realdata.advisor.tensor_files import Described
from realdata.advisor.weight_kinds import bias_of

Kinds = Mapping[str, bool]


def kinds_of(base: Mapping[str, Described], adapters: Iterable[LoraAdapter]) -> Kinds:
    """Return for the weights of a base where it is known whether they are stored as (in, out)."""
    found: dict[str, bool] = {}
    for name, (shape, _) in base.items():
        bias = base.get(bias_of(name))
        if len(shape) == 2 and shape[0] != shape[1] and bias is not None and len(bias.shape) == 1:
            found[name] = bias.shape[0] == shape[1]
    for adapter in adapters:
        for weight in adapter.modules:
            plain = adapter.plain_shape(weight)
            if len(plain) == 2 and plain[0] != plain[1] and weight in base:
                found[weight] = base[weight].shape == plain[::-1]
    return found


def turned(adapter: LoraAdapter, weight: str, base: Mapping[str, Described], kinds: Kinds) -> bool | None:
    """Return whether a base stores an adapted weight as (in, out), None if unknown.

    Parameters
    ----------
    adapter, weight
        The adapter and the name of its weight.
    base
        All tensors of the base.
    kinds
        See `kinds_of`.
    """
    plain, said = adapter.plain_shape(weight), adapter.config.fan_in_fan_out
    if len(plain) != 2 or weight not in base:
        return len(plain) == 2 and said
    if plain[0] != plain[1]:
        return base[weight].shape == plain[::-1]
    alike = {kept for name, kept in kinds.items() if _kind(name) == _kind(weight)} or set(kinds.values()) | {said}
    return alike.pop() if len(alike) == 1 else None


def _kind(name: str) -> str:
    return name.removesuffix(".weight").rpartition(".")[2]
