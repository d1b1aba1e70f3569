"""Numbers at addresses, as compiled code reads and writes them."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from gpu_solver.fused.emit import with_parameters

__all__ = [
    "load",
    "load_int",
    "load_single",
    "options",
    "store",
    "store_int",
    "store_single",
]

#: Without numba's own run-time parts, so that the machine code needs no numba to be loaded.
options: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "_nrt": False,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}

_DOUBLE, _FLOAT, _INT = ir.DoubleType(), ir.FloatType(), ir.IntType(64)
_POINTER = ir.PointerType()


def _reading(width: Any) -> Any:
    result = types.int64 if isinstance(width, ir.IntType) else types.float64

    def typed(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointer = builder.inttoptr(arguments[0], _POINTER)
            single = width is _FLOAT
            number = builder.load(pointer, align=4 if single else 8, typ=width)
            return builder.fpext(number, _DOUBLE) if single else number

        return result(types.intp), generate

    return with_parameters(typed, "read", ["address"])


def _writing(width: Any) -> Any:
    kind = types.int64 if isinstance(width, ir.IntType) else types.float64

    def typed(typing_context: Any, address: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointer = builder.inttoptr(arguments[0], _POINTER)
            single = width is _FLOAT
            number = builder.fptrunc(arguments[1], width) if single else arguments[1]
            builder.store(number, pointer, align=4 if single else 8)
            return context.get_dummy_value()

        return types.void(types.intp, kind), generate

    return with_parameters(typed, "write", ["address", "value"])


load, store = _reading(_DOUBLE), _writing(_DOUBLE)
load_int, store_int = _reading(_INT), _writing(_INT)
load_single, store_single = _reading(_FLOAT), _writing(_FLOAT)
