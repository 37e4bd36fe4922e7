"""Vectors of 64 bytes inside numba: 16 float32 or 8 float64 at a time, kept in registers.

Numba's automatic vectoriser reloads and stores an accumulator at every step and re-checks for aliasing in front of every short loop; with
the vectors spelled out a Sinkhorn iteration takes 0.07 ns per entry instead of 0.20 (64 x 64, docs/LABLOG.md). LLVM splits the vectors on
processors with narrower registers. Arrays are flat; `at` counts entries.

Numba's on-disk cache looks at one source file: `solve.py` makes it see this one too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel, register_default
from numba.extending import intrinsic

BLOCK = 16  # entries to which rows are padded: one vector of float32, two of float64
INT32 = ir.IntType(32)

native = njit(nogil=True, error_model="numpy")
"""Compiled, without the GIL, and with the processor's arithmetic: x / 0 is infinite. As Python's it would raise, and numba's threads lose
what they raise."""


class Vector(types.Type):
    """64 bytes of one scalar type."""

    def __init__(self, scalar: Any) -> None:
        self.scalar = scalar
        self.lanes = 512 // scalar.bitwidth
        super().__init__(name=f"Vector({scalar})")

    @property
    def ir(self) -> Any:
        return ir.VectorType(ir.FloatType() if self.scalar == types.float32 else ir.DoubleType(), self.lanes)


@register_default(Vector)
class _VectorModel(PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, kind.ir)


def _shuffle(builder: Any, first: Any, second: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(INT32, len(lanes)), lanes))


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, at: Any, kind: Vector) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), kind.ir.as_pointer())


def _align(kind: Vector) -> int:
    return int(kind.scalar.bitwidth // 8)


def _splat(builder: Any, kind: Vector, value: Any) -> Any:
    undefined = ir.Constant(kind.ir, ir.Undefined)
    return _shuffle(builder, builder.insert_element(undefined, value, ir.Constant(INT32, 0)), undefined, [0] * kind.lanes)


@intrinsic
def lanes(_: Any, like: Any) -> Any:
    """Entries per vector of an array's type."""
    count = Vector(like.dtype).lanes
    return types.intp(like), lambda context, builder, signature, arguments: context.get_constant(types.intp, count)


@intrinsic
def load(_: Any, array: Any, at: Any) -> Any:
    """The vector that begins at an entry of a flat array."""
    kind = Vector(array.dtype)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = context.cast(builder, arguments[1], signature.args[1], types.intp)
        return builder.load(_pointer(context, builder, signature.args[0], arguments[0], at, kind), align=_align(kind))

    return kind(array, at), code


@intrinsic
def store(_: Any, array: Any, at: Any, vector: Any) -> Any:
    """Write a vector from an entry of a flat array on."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = context.cast(builder, arguments[1], signature.args[1], types.intp)
        builder.store(arguments[2], _pointer(context, builder, signature.args[0], arguments[0], at, vector), align=_align(vector))
        return context.get_dummy_value()

    return types.void(array, at, vector), code


@intrinsic
def splat(_: Any, like: Any, value: Any) -> Any:
    """A scalar in every lane, in the scalar type of the array `like`."""
    kind = Vector(like.dtype)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _splat(builder, kind, context.cast(builder, arguments[1], signature.args[1], kind.scalar))

    return kind(like, value), code


@intrinsic
def spread(_: Any, array: Any, at: Any) -> Any:
    """One entry of a flat array in every lane; `at` is not negative."""
    kind = Vector(array.dtype)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = context.cast(builder, arguments[1], signature.args[1], types.intp)
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return _splat(builder, kind, builder.load(builder.gep(data, [at])))

    return kind(array, at), code


def _binary(build: Callable[[Any, Any, Any], Any], meaning: str) -> Any:
    @intrinsic
    def operation(_: Any, x: Any, y: Any) -> Any:
        return x(x, y), lambda context, builder, signature, arguments: build(builder, *arguments)

    operation.__doc__ = meaning
    return operation


add = _binary(lambda builder, x, y: builder.fadd(x, y), "x + y")
subtract = _binary(lambda builder, x, y: builder.fsub(x, y), "x - y")
multiply = _binary(lambda builder, x, y: builder.fmul(x, y), "x * y")
divide = _binary(lambda builder, x, y: builder.fdiv(x, y), "x / y")
minimum = _binary(lambda builder, x, y: builder.select(builder.fcmp_ordered("<", x, y), x, y), "The smaller, lane by lane.")
maximum = _binary(lambda builder, x, y: builder.select(builder.fcmp_ordered(">", x, y), x, y), "The larger, lane by lane.")


@intrinsic
def fma(_: Any, x: Any, y: Any, z: Any) -> Any:
    """x * y + z, fused where the processor can."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        name = f"llvm.fmuladd.v{x.lanes}f{x.scalar.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(x.ir, [x.ir] * 3), name)
        return builder.call(function, arguments)

    return x(x, y, z), code


@intrinsic
def absolute(_: Any, x: Any) -> Any:
    """|x|"""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        name = f"llvm.fabs.v{x.lanes}f{x.scalar.bitwidth}"
        return builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(x.ir, [x.ir]), name), arguments)

    return x(x), code


def _fold(combine: Callable[[Any, Any, Any], Any], meaning: str) -> Any:
    @intrinsic
    def operation(_: Any, x: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            vector, width = arguments[0], x.lanes
            while width > 1:
                width //= 2
                low, high = list(range(width)), list(range(width, 2 * width))
                vector = combine(builder, _shuffle(builder, vector, vector, low), _shuffle(builder, vector, vector, high))
            return builder.extract_element(vector, ir.Constant(INT32, 0))

        return x.scalar(x), code

    operation.__doc__ = meaning
    return operation


total = _fold(lambda builder, x, y: builder.fadd(x, y), "The sum over the lanes.")
smallest = _fold(lambda builder, x, y: builder.select(builder.fcmp_ordered("<", x, y), x, y), "The smallest lane.")
largest = _fold(lambda builder, x, y: builder.select(builder.fcmp_ordered(">", x, y), x, y), "The largest lane.")


@intrinsic
def transpose_block(_: Any, source: Any, at: Any, stride: Any, target: Any, to: Any, target_stride: Any) -> Any:
    """Transpose a square of `lanes` x `lanes` entries between two flat arrays, in registers."""
    kind = Vector(source.dtype)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start, step, to, to_step = (context.cast(builder, arguments[k], signature.args[k], types.intp) for k in (1, 2, 4, 5))
        rows = []
        for _ in range(kind.lanes):
            pointer = _pointer(context, builder, signature.args[0], arguments[0], start, kind)
            rows.append(builder.load(pointer, align=_align(kind)))
            start = builder.add(start, step)
        half = 1
        while half < kind.lanes:  # swap the off-diagonal blocks of size 1, 2, 4, ...
            for upper in (row for row in range(kind.lanes) if not row & half):
                lower, count = upper + half, range(kind.lanes)
                first = [lane if not lane & half else kind.lanes + lane - half for lane in count]
                second = [lane + half if not lane & half else kind.lanes + lane for lane in count]
                rows[upper], rows[lower] = (_shuffle(builder, rows[upper], rows[lower], chosen) for chosen in (first, second))
            half *= 2
        for row in rows:
            builder.store(row, _pointer(context, builder, signature.args[3], arguments[3], to, kind), align=_align(kind))
            to = builder.add(to, to_step)
        return context.get_dummy_value()

    return types.void(source, at, stride, target, to, target_stride), code


def _layout(kind: Vector) -> tuple[int, int, Any]:
    """IEEE 754: bits of the mantissa, bias of the exponent, and the vector of integers of the same size."""
    bits, mantissa = (32, 23) if kind.scalar == types.float32 else (64, 52)
    return mantissa, (1 << (bits - mantissa - 2)) - 1, ir.VectorType(ir.IntType(bits), kind.lanes)


@intrinsic
def _power_of_two(_: Any, x: Any) -> Any:
    """2^x for lanes that hold whole numbers within the exponent's range."""
    mantissa, bias, whole = _layout(x)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        exponent = builder.add(builder.fptosi(arguments[0], whole), ir.Constant(whole, [bias] * x.lanes))
        return builder.bitcast(builder.shl(exponent, ir.Constant(whole, [mantissa] * x.lanes)), x.ir)

    return x(x), code


@intrinsic
def _nearest(_: Any, x: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        name = f"llvm.nearbyint.v{x.lanes}f{x.scalar.bitwidth}"
        return builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(x.ir, [x.ir]), name), arguments)

    return x(x), code


@intrinsic
def _zero_below(_: Any, x: Any, limit: Any, value: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", arguments[0], arguments[1]), ir.Constant(x.ir, None), arguments[2])

    return value(x, limit, value), code


LN2_HIGH = 0.693359375  # ln 2 in two parts: this one times any exponent is exact, in float32 too
LN2_REST = -2.12194440054690582768e-4


@njit(inline="always")
def exp(like, x):
    """e^x to a few units in the last place; exactly 0 where it would leave the normal numbers. x <= 80.

    Range reduction to |r| <= ln(2) / 2 and the Taylor series, of degree 7 for float32 and 13 for float64.
    """
    single = lanes(like) == 16
    limit = splat(like, -87.0 if single else -708.0)
    whole = _nearest(multiply(maximum(x, limit), splat(like, 1.4426950408889634)))
    r = fma(whole, splat(like, -LN2_HIGH), maximum(x, limit))
    r = fma(whole, splat(like, -LN2_REST), r)
    series = splat(like, 1.0 / 5040.0)
    if not single:
        series = splat(like, 1.0 / 6227020800.0)
        series = fma(series, r, splat(like, 1.0 / 479001600.0))
        series = fma(series, r, splat(like, 1.0 / 39916800.0))
        series = fma(series, r, splat(like, 1.0 / 3628800.0))
        series = fma(series, r, splat(like, 1.0 / 362880.0))
        series = fma(series, r, splat(like, 1.0 / 40320.0))
        series = fma(series, r, splat(like, 1.0 / 5040.0))
    series = fma(series, r, splat(like, 1.0 / 720.0))
    series = fma(series, r, splat(like, 1.0 / 120.0))
    series = fma(series, r, splat(like, 1.0 / 24.0))
    series = fma(series, r, splat(like, 1.0 / 6.0))
    series = fma(series, r, splat(like, 0.5))
    one = splat(like, 1.0)
    series = fma(fma(series, r, one), r, one)
    return _zero_below(x, limit, multiply(series, _power_of_two(whole)))


@intrinsic
def _exponent(_: Any, x: Any) -> Any:
    """The power of two below each lane, as a float."""
    mantissa, bias, whole = _layout(x)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        shifted = builder.lshr(builder.bitcast(arguments[0], whole), ir.Constant(whole, [mantissa] * x.lanes))
        return builder.sitofp(builder.sub(shifted, ir.Constant(whole, [bias] * x.lanes)), x.ir)

    return x(x), code


@intrinsic
def _mantissa(_: Any, x: Any) -> Any:
    """Each lane over the power of two below it, in [1, 2)."""
    mantissa, bias, whole = _layout(x)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kept = builder.and_(builder.bitcast(arguments[0], whole), ir.Constant(whole, [(1 << mantissa) - 1] * x.lanes))
        return builder.bitcast(builder.or_(kept, ir.Constant(whole, [bias << mantissa] * x.lanes)), x.ir)

    return x(x), code


@intrinsic
def _where_above(_: Any, x: Any, limit: Any, chosen: Any, other: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", arguments[0], arguments[1]), arguments[2], arguments[3])

    return chosen(x, limit, chosen, other), code


@njit(inline="always")
def log(like, x):
    """ln x of positive normal numbers, to a few units in the last place; something finite for 0.

    x = 2^e m with m in [1/sqrt(2), sqrt(2)], and 2 atanh((m - 1) / (m + 1)) as a series.
    """
    one, root = splat(like, 1.0), splat(like, 1.4142135623730951)
    fraction, exponent = _mantissa(x), _exponent(x)
    exponent = _where_above(fraction, root, add(exponent, one), exponent)
    fraction = _where_above(fraction, root, multiply(fraction, splat(like, 0.5)), fraction)
    ratio = divide(subtract(fraction, one), add(fraction, one))
    square = multiply(ratio, ratio)
    series = splat(like, 1.0 / 9.0)
    if lanes(like) != 16:
        series = splat(like, 1.0 / 23.0)
        series = fma(series, square, splat(like, 1.0 / 21.0))
        series = fma(series, square, splat(like, 1.0 / 19.0))
        series = fma(series, square, splat(like, 1.0 / 17.0))
        series = fma(series, square, splat(like, 1.0 / 15.0))
        series = fma(series, square, splat(like, 1.0 / 13.0))
        series = fma(series, square, splat(like, 1.0 / 11.0))
        series = fma(series, square, splat(like, 1.0 / 9.0))
    series = fma(series, square, splat(like, 1.0 / 7.0))
    series = fma(series, square, splat(like, 1.0 / 5.0))
    series = fma(series, square, splat(like, 1.0 / 3.0))
    series = fma(series, square, one)
    small = fma(multiply(ratio, splat(like, 2.0)), series, multiply(exponent, splat(like, LN2_REST)))
    return fma(exponent, splat(like, LN2_HIGH), small)


@intrinsic
def next_index(_: Any, counter: Any) -> Any:
    """Fetch and increment an int64 array's first entry, atomically: how threads share one list of work."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", data, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), code
