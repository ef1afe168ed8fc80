"""How many bits of a number are set: one instruction of the processor, for compiled functions."""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic


@intrinsic
def ones(context, number):  # type: ignore[no-untyped-def]
    """How many bits of a uint64 are set."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), build
