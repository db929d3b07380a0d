"""Vectors of float32 or float64 for numba: neighbours of an array in one register, element by element arithmetic.

`load` and `store` move as many neighbours as the machine's widest register holds, `lanes_of` says how many; `+`, `-`,
`*`, `fma` and `sigmoids` act on all of them, and `total` adds them up. The element type is that of the array or number
that fills the vector, so that one kernel serves both precisions. `sims.kernels.simd` is the same for trials side by
side, with addresses instead of arrays, for kernels of a few hundred nanoseconds.

Numba keeps compiled code by the date of the file that calls: after a change here, touch the kernel's file.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import factorial, log
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.types.containers import UniTuple
from numba.extending import intrinsic, models, overload, register_model


def _bytes() -> int:
    """Return the size of the machine's widest registers, at least 32."""
    try:
        return 64 if llvm.get_host_cpu_features().get("avx512f", False) else 32
    except RuntimeError:  # llvmlite does not know this CPU
        return 32


VECTOR_BYTES = _bytes()
STEEPEST = 40.0


def lanes_of(dtype: np.dtype[Any] | type) -> int:
    """Return the number of lanes of a vector of this type."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize


class VectorType(types.Type):
    """Numba's type of a vector of float32 or float64."""

    def __init__(self, element: types.Float) -> None:
        """Name it by element and length, which numba takes for its identity."""
        self.element = element
        self.lanes = VECTOR_BYTES * 8 // element.bitwidth
        super().__init__(name=f"vector({element}x{self.lanes})")

    @property
    def ir(self) -> Any:
        """LLVM's type."""
        return ir.VectorType(ir.FloatType() if self.element.bitwidth == 32 else ir.DoubleType(), self.lanes)

    @property
    def integers(self) -> Any:
        """LLVM's type of as many integers of the same width."""
        return ir.VectorType(ir.IntType(self.element.bitwidth), self.lanes)

    @property
    def mantissa(self) -> int:
        """Bits of a number's mantissa."""
        return 23 if self.element.bitwidth == 32 else 52

    @property
    def suffix(self) -> str:
        """Suffix of LLVM's functions on such vectors."""
        return f"v{self.lanes}f{self.element.bitwidth}"


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, frontend_type: Any) -> None:
        super().__init__(manager, frontend_type, frontend_type.ir)


def _is_flat(array: Any) -> bool:
    return isinstance(array, types.Array) and array.ndim == 1 and array.layout == "C"


def _pointer(context: Any, builder: Any, kind: VectorType, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), kind.ir.as_pointer())


@intrinsic
def load(_typing: Any, array: Any, index: Any) -> Any:
    """Return the vector that starts at an element of a one-dimensional, contiguous array."""
    if not (_is_flat(array) and isinstance(index, types.Integer)):
        return None
    kind = VectorType(array.dtype)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_pointer(context, builder, kind, signature.args[0], *arguments), align=4)

    return kind(array, types.intp), emit


@intrinsic
def store(_typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Write a vector to an array, starting at an element."""
    if not (_is_flat(array) and isinstance(value, VectorType) and value.element == array.dtype):
        return None

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _pointer(context, builder, value, signature.args[0], *arguments[:2])
        builder.store(arguments[2], place, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), emit


@intrinsic
def splat(_typing: Any, number: Any) -> Any:
    """Return a vector that holds one number in all lanes."""
    if not isinstance(number, types.Float):
        return None
    kind = VectorType(number)

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return _splat(builder, kind, arguments[0])

    return kind(number), emit


def _splat(builder: Any, kind: VectorType, number: Any) -> Any:
    empty = ir.Constant(kind.ir, ir.Undefined)
    first = builder.insert_element(empty, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(ir.IntType(32), kind.lanes), None))


@intrinsic
def fma(_typing: Any, a: Any, b: Any, c: Any) -> Any:
    """Return ``a b + c``, fused where the machine can."""
    if not (isinstance(a, VectorType) and a == b == c):
        return None

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return _call(builder, f"llvm.fmuladd.{a.suffix}", a.ir, arguments)

    return a(a, a, a), emit


@intrinsic
def total(_typing: Any, a: Any) -> Any:
    """Return the sum over all lanes, added in pairs."""
    if not isinstance(a, VectorType):
        return None

    def emit(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        (value,), lanes = arguments, a.lanes
        while lanes > 1:
            lanes //= 2
            swapped = ir.Constant(
                ir.VectorType(ir.IntType(32), a.lanes), [(i + lanes) % a.lanes for i in range(a.lanes)]
            )
            value = builder.fadd(value, builder.shuffle_vector(value, value, swapped))
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return a.element(a), emit


def _call(builder: Any, name: str, kind: Any, arguments: Any) -> Any:
    function = ir.FunctionType(kind, [kind] * len(arguments))
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), arguments)


def _elementwise(emit: Callable[[Any, Any, Any], Any]) -> Callable[..., Any]:
    @intrinsic
    def apply(_typing: Any, a: Any, b: Any) -> Any:
        if not (isinstance(a, VectorType) and a == b):
            return None
        return a(a, b), lambda _context, builder, _signature, arguments: emit(builder, *arguments)

    return apply


def _operation(symbol: Any, instruction: str) -> None:
    apply = _elementwise(lambda builder, a, b: getattr(builder, instruction)(a, b))

    @overload(symbol, strict=False)
    def _overloaded(a: Any, b: Any) -> Any:
        if isinstance(a, VectorType) and a == b:
            return lambda a, b: apply(a, b)
        return None


for _symbol, _instruction in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _operation(_symbol, _instruction)


class _Expression:
    """A vector under construction, so that the emitted code reads like the formula."""

    def __init__(self, builder: Any, kind: VectorType, value: Any) -> None:
        self.builder, self.kind, self.value = builder, kind, value

    def constant(self, number: float) -> _Expression:
        value = ir.Constant(self.kind.ir, [ir.Constant(self.kind.ir.element, number)] * self.kind.lanes)
        return _Expression(self.builder, self.kind, value)

    def emit(self, instruction: str, other: _Expression | float) -> _Expression:
        operand = other if isinstance(other, _Expression) else self.constant(other)
        return _Expression(self.builder, self.kind, getattr(self.builder, instruction)(self.value, operand.value))

    def __add__(self, other: _Expression | float) -> _Expression:
        return self.emit("fadd", other)

    def __sub__(self, other: _Expression | float) -> _Expression:
        return self.emit("fsub", other)

    def __mul__(self, other: _Expression | float) -> _Expression:
        return self.emit("fmul", other)

    def times_plus(self, factor: _Expression | float, addend: _Expression | float) -> _Expression:
        """Return ``self factor + addend``, fused where the machine can."""
        operands = [x if isinstance(x, _Expression) else self.constant(x) for x in (self, factor, addend)]
        name = f"llvm.fmuladd.{self.kind.suffix}"
        return _Expression(
            self.builder, self.kind, _call(self.builder, name, self.kind.ir, [x.value for x in operands])
        )

    def bounded(self, size: float) -> _Expression:
        """Return the vector clipped to -size..size; NaN stays NaN."""
        value, build = self.value, self.builder
        for sign, bound in ((">", size), ("<", -size)):
            limit = self.constant(bound).value
            value = build.select(build.fcmp_ordered(sign, value, limit), limit, value)
        return _Expression(build, self.kind, value)

    def times_two_to_the_last_bits(self, shifted: _Expression) -> _Expression:
        """Return ``self 2^n``, n the integer in the last bits of `shifted`."""
        mantissa = ir.Constant(self.kind.integers, [self.kind.mantissa] * self.kind.lanes)
        bits, power = (self.builder.bitcast(x.value, self.kind.integers) for x in (self, shifted))
        sum_ = self.builder.add(bits, self.builder.shl(power, mantissa))
        return _Expression(self.builder, self.kind, self.builder.bitcast(sum_, self.kind.ir))


def _exp(x: _Expression) -> _Expression:
    """Return e^x for x within 80 of 0: ``2^n e^r``, r within ln(2)/2 of 0, by Taylor's polynomial of e^r."""
    whole, (coarse, fine), degree = (
        (1.5 * 2.0**23, (0.693359375, -2.12194440054690583e-4), 7)
        if x.kind.mantissa == 23
        else (1.5 * 2.0**52, (0.693145751953125, 1.42860682030941723212e-6), 13)
    )
    shifted = x.times_plus(1 / log(2), whole)  # so large that it keeps no fraction: its last bits hold n
    n = shifted - whole
    r = n.times_plus(-fine, n.times_plus(-coarse, x))  # ln 2 in two parts, n times the first is exact
    sum_ = x.constant(1 / factorial(degree))
    for power in reversed(range(degree)):
        sum_ = sum_.times_plus(r, 1 / factorial(power))
    return sum_.times_two_to_the_last_bits(shifted)


@intrinsic
def sigmoids(_typing: Any, a: Any, b: Any) -> Any:
    """Return ``1/(1 + e^-a)`` and ``1/(1 + e^-b)`` by one division, to a few roundings.

    Beyond 40 the results are those of 40, which differ from 0 and 1 by 4e-18.
    """
    if not (isinstance(a, VectorType) and a == b):
        return None

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, y = (_exp(_Expression(builder, a, z).bounded(STEEPEST) * -1.0) + 1.0 for z in arguments)
        inverse = _Expression(builder, a, builder.fdiv(x.constant(1.0).value, (x * y).value))
        return context.make_tuple(builder, signature.return_type, [(y * inverse).value, (x * inverse).value])

    return UniTuple(a, 2)(a, b), emit
