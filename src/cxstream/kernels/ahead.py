"""Ask for memory before it is needed, and go on without waiting for it.

A read that waits for memory holds up the processor after some 200 instructions; a request like this never does. Nothing that is
computed depends on it, and an address that does not exist does no harm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from cxstream.kernels.jit import kernel
from cxstream.kernels.wide import CHECKED

if TYPE_CHECKING:
    from numpy.typing import NDArray

LINE = 64
"""Bytes that come together from memory on nearly all processors."""

_I32, _BYTES = ir.IntType(32), ir.IntType(8).as_pointer()
_READ, _KEEP, _DATA = 0, 3, 1


def fetch_in_python(array: NDArray[Any], at: int, byte: int) -> None:
    """Ask for the memory of an element of the first axis, from one of its bytes to the end of the line of the cache."""


@intrinsic  # type: ignore[untyped-decorator]  # Numba has no types
def _fetch(_: Any, array: Any, __: Any, ___: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        held = context.make_array(signature.args[0])(context, builder, args[0])
        step = builder.extract_value(held.strides, 0)
        place = builder.add(builder.mul(step, args[1]), args[2])
        kind = ir.FunctionType(ir.VoidType(), [_BYTES, _I32, _I32, _I32])
        ask = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        how = [ir.Constant(_I32, each) for each in (_READ, _KEEP, _DATA)]
        builder.call(ask, [builder.gep(builder.bitcast(held.data, _BYTES), [place]), *how])
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), code


fetch = kernel(fetch_in_python) if CHECKED else _fetch
