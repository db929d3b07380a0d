"""A vector of float64 for numba: one trial per lane, so that a kernel reads like code for a single trial.

`load` and `store` move the LANES numbers of one matrix entry; `+`, `-`, `*` and `fma` act on all lanes at once. LLVM
maps a vector to one register, or to several where the machine's are shorter. Places are addresses: passing an array to
a function counts its references, which costs as much as a step.

Numba keeps compiled code by the date of the file that calls: after a change here, touch `sims/kernels/descent.py`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, overload, register_model


def _lanes() -> int:
    """Return the number of float64 in the machine's widest registers, at least 4."""
    try:
        return 8 if llvm.get_host_cpu_features().get("avx512f", False) else 4
    except RuntimeError:  # llvmlite does not know this CPU
        return 4


LANES = _lanes()
_IR_VECTOR = ir.VectorType(ir.DoubleType(), LANES)


class VectorType(types.Type):
    """Numba's type of LANES float64."""

    def __init__(self) -> None:
        """Name it by its length, which numba takes for its identity."""
        super().__init__(name=f"float64x{LANES}")


VECTOR = VectorType()


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, frontend_type: Any) -> None:
        super().__init__(manager, frontend_type, _IR_VECTOR)


def _pointer(builder: Any, address: Any, index: Any) -> Any:
    offset = builder.mul(index, ir.Constant(index.type, LANES * 8))
    return builder.inttoptr(builder.add(address, offset), _IR_VECTOR.as_pointer())


@intrinsic
def load(_typing: Any, _address: Any, _index: Any) -> Any:
    """Return vector number `index` from an address on, both int64."""

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.load(_pointer(builder, *arguments), align=8)

    return VECTOR(types.int64, types.int64), emit


@intrinsic
def store(_typing: Any, _address: Any, _index: Any, _value: Any) -> Any:
    """Write vector number `index` from an address on."""

    def emit(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _pointer(builder, *arguments[:2]), align=8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, VECTOR), emit


@intrinsic
def splat(_typing: Any, value: Any) -> Any:
    """Return a vector that holds one number in all lanes."""

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        first = builder.insert_element(
            ir.Constant(_IR_VECTOR, ir.Undefined), arguments[0], ir.Constant(ir.IntType(32), 0)
        )
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(first, ir.Constant(_IR_VECTOR, ir.Undefined), mask)

    return VECTOR(types.float64), emit


@intrinsic
def fma(_typing: Any, a: Any, b: Any, c: Any) -> Any:
    """Return ``a b + c``, fused where the machine can."""

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        name = f"llvm.fmuladd.v{LANES}f64"
        kind = ir.FunctionType(_IR_VECTOR, [_IR_VECTOR] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)

    return VECTOR(VECTOR, VECTOR, VECTOR), emit


def _elementwise(instruction: str) -> Callable[..., Any]:
    @intrinsic
    def apply(_typing: Any, a: Any, b: Any) -> Any:
        def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return getattr(builder, instruction)(*arguments)

        return VECTOR(VECTOR, VECTOR), emit

    return apply


_add, _subtract, _multiply = _elementwise("fadd"), _elementwise("fsub"), _elementwise("fmul")


@overload(operator.add, strict=False)
def _vector_add(a: Any, b: Any) -> Any:
    if a is VECTOR and b is VECTOR:
        return lambda a, b: _add(a, b)
    return None


@overload(operator.sub, strict=False)
def _vector_subtract(a: Any, b: Any) -> Any:
    if a is VECTOR and b is VECTOR:
        return lambda a, b: _subtract(a, b)
    return None


@overload(operator.mul, strict=False)
def _vector_multiply(a: Any, b: Any) -> Any:
    if a is VECTOR and b is VECTOR:
        return lambda a, b: _multiply(a, b)
    return None
