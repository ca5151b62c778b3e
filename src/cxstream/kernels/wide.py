r"""Many bytes of a text at once: 32 in vectors, 8 in a number. LLVM makes of it what the processor has (SSE2, AVX2, NEON).

Machine code reads the bytes without a look at the length of the array: the caller must know that WIDE bytes may be read.
With bounds checking, and without compilation, the functions of the same names in plain Python are used in its place, which read
the same bytes one after the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from cxstream.kernels.jit import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDE = 32
"""Bytes that may be read from any place in a text: as many must lie behind its last record."""

CHECKED = bool(numba.config.DISABLE_JIT or numba.config.BOUNDSCHECK)

_BYTE, _BITS, _I64, _DOUBLE = ir.IntType(8), ir.IntType(WIDE), ir.IntType(64), ir.IntType(128)
_VECTOR = ir.VectorType(_BYTE, WIDE)


def word_in_python(text: NDArray[np.uint8], at: int) -> np.uint64:
    """The 8 bytes at a place, the first one lowest."""
    found = np.uint64(0)
    for i in range(8):
        found |= np.uint64(text[at + i]) << np.uint64(8 * i)
    return found


def same_in_python(text: NDArray[np.uint8], at: int, other: NDArray[np.uint8], there: int, n: int) -> bool:
    """Whether n bytes of a text, from 1 to WIDE, equal those at a place of another one."""
    marks = np.uint64(0)
    for i in range(WIDE):
        marks |= np.uint64(text[at + i] != other[there + i]) << np.uint64(i)
    return (marks & (np.uint64(0xFFFFFFFF) >> np.uint64(WIDE - n))) == np.uint64(0)


def special_in_python(text: NDArray[np.uint8], at: int) -> np.uint64:
    r"""A bit for each of WIDE bytes, the first one lowest: whether it is a control, `"`, `\`, or not ASCII."""
    marks = np.uint64(0)
    for i in range(WIDE):
        byte = text[at + i]
        marks |= np.uint64(byte < 32 or byte == 34 or byte == 92 or byte >= 128) << np.uint64(i)
    return marks


def copy_in_python(text: NDArray[np.uint8], at: int, out: NDArray[np.uint8], there: int) -> None:
    """Copy WIDE bytes to another array."""
    for i in range(WIDE):
        out[there + i] = text[at + i]


def like_in_python(text: NDArray[np.uint8], at: int, byte: int) -> np.uint64:
    """A bit for each of WIDE bytes, the first one lowest: whether it is a certain one."""
    marks = np.uint64(0)
    for i in range(WIDE):
        marks |= np.uint64(text[at + i] == byte) << np.uint64(i)
    return marks


def bits_in_python(marks: np.uint64) -> int:
    """How many bits are set."""
    n = 0
    while marks != np.uint64(0):
        marks &= marks - np.uint64(1)
        n += 1
    return n


def lowest_in_python(marks: np.uint64) -> int:
    """The place of the lowest bit; 64 where there is none."""
    if marks == np.uint64(0):
        return 64
    n = 0
    for step in (32, 16, 8, 4, 2, 1):
        if marks & ((np.uint64(1) << np.uint64(step)) - np.uint64(1)) == np.uint64(0):
            marks >>= np.uint64(step)
            n += step
    return n


def high_in_python(one: np.uint64, other: np.uint64) -> np.uint64:
    """The upper 64 bits of a product."""
    half, low = np.uint64(32), np.uint64(0xFFFFFFFF)
    a, b, c, d = one >> half, one & low, other >> half, other & low
    middle = a * d + ((b * d) >> half)
    return a * c + (middle >> half) + ((b * c + (middle & low)) >> half)


def _address(context: Any, builder: Any, kind: Any, array: Any, at: Any, what: Any) -> Any:
    begin = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(begin, [at]), what.as_pointer())


def _loaded(context: Any, builder: Any, kind: Any, array: Any, at: Any, what: Any) -> Any:
    """What lies at a place of an array of bytes, of any alignment."""
    return builder.load(_address(context, builder, kind, array, at, what), align=1)


def _each(byte: int) -> Any:
    return ir.Constant(_VECTOR, [byte] * WIDE)


@intrinsic  # type: ignore[untyped-decorator]  # Numba has no types
def _word(_: Any, text: Any, __: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _loaded(context, builder, signature.args[0], args[0], args[1], _I64)

    return types.uint64(text, types.int64), code


@intrinsic  # type: ignore[untyped-decorator]  # Numba has no types
def _same(_: Any, text: Any, __: Any, other: Any, ___: Any, ____: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        one = _loaded(context, builder, kinds[0], args[0], args[1], _VECTOR)
        two = _loaded(context, builder, kinds[2], args[2], args[3], _VECTOR)
        marks = builder.bitcast(builder.icmp_unsigned("!=", one, two), _BITS)
        # The marks of the bytes behind the first n are shifted out.
        behind = builder.trunc(builder.sub(ir.Constant(_I64, WIDE), args[4]), _BITS)
        return builder.icmp_unsigned("==", builder.shl(marks, behind), ir.Constant(_BITS, 0))

    return types.boolean(text, types.int64, other, types.int64, types.int64), code


@intrinsic  # type: ignore[untyped-decorator]  # Numba has no types
def _special(_: Any, text: Any, __: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = _loaded(context, builder, signature.args[0], args[0], args[1], _VECTOR)
        # As numbers with a sign, bytes that are not ASCII are below all controls.
        marks = builder.icmp_signed("<", found, _each(32))
        for byte in (34, 92):
            marks = builder.or_(marks, builder.icmp_unsigned("==", found, _each(byte)))
        return builder.zext(builder.bitcast(marks, _BITS), _I64)

    return types.uint64(text, types.int64), code


@intrinsic  # type: ignore[untyped-decorator]  # Numba has no types
def _copy(_: Any, text: Any, __: Any, out: Any, ___: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        found = _loaded(context, builder, kinds[0], args[0], args[1], _VECTOR)
        builder.store(found, _address(context, builder, kinds[2], args[2], args[3], _VECTOR), align=1)
        return context.get_dummy_value()

    return types.void(text, types.int64, out, types.int64), code


@intrinsic  # type: ignore[untyped-decorator]  # Numba has no types
def _like(_: Any, text: Any, __: Any, ___: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = _loaded(context, builder, signature.args[0], args[0], args[1], _VECTOR)
        byte = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), args[2], ir.Constant(_BITS, 0))
        each = builder.shuffle_vector(byte, byte, ir.Constant(ir.VectorType(_BITS, WIDE), [0] * WIDE))
        return builder.zext(builder.bitcast(builder.icmp_unsigned("==", found, each), _BITS), _I64)

    return types.uint64(text, types.int64, types.uint8), code


@intrinsic  # type: ignore[untyped-decorator]  # Numba has no types
def _bits(_: Any, __: Any) -> Any:
    def code(_: Any, builder: Any, __: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), code


@intrinsic  # type: ignore[untyped-decorator]  # Numba has no types
def _lowest(_: Any, __: Any) -> Any:
    def code(_: Any, builder: Any, __: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), code


@intrinsic  # type: ignore[untyped-decorator]  # Numba has no types
def _high(_: Any, __: Any, ___: Any) -> Any:
    def code(_: Any, builder: Any, __: Any, args: Any) -> Any:
        product = builder.mul(builder.zext(args[0], _DOUBLE), builder.zext(args[1], _DOUBLE))
        return builder.trunc(builder.lshr(product, ir.Constant(_DOUBLE, 64)), _I64)

    return types.uint64(types.uint64, types.uint64), code


if CHECKED:
    word, same, special = kernel(word_in_python), kernel(same_in_python), kernel(special_in_python)
    like, lowest, bits = kernel(like_in_python), kernel(lowest_in_python), kernel(bits_in_python)
    copy, high = kernel(copy_in_python), kernel(high_in_python)
else:
    word, same, special, like, lowest, bits = _word, _same, _special, _like, _lowest, _bits
    copy, high = _copy, _high
