"""Compiles kernels for `kernel_cache`: Numba turns a function, and what it calls, into one object file.

This module, `vectors` and `notice` use a few undocumented attributes of Numba. If Numba lacks them, `kernel_cache`
reports which versions have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, TypeVar, cast

import numba
from numba import njit, types
from numba.core import cgutils
from numba.np import arrayobj

from .vectors import LONG, Builder, Value, intrinsic

__all__ = ["array_at", "compiled", "inner"]

Function = TypeVar("Function", bound=Callable[..., Any])

# They are untyped.
make_array: Any = arrayobj.make_array
populate_array: Any = arrayobj.populate_array
unpack_tuple: Any = cgutils.unpack_tuple
tuple_of: Any = types.UniTuple

# Called only from compiled code: no Python wrapper, no memory management, no exceptions.
_OPTIONS: dict[str, Any] = {
    "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False, "error_model": "numpy"
}  # fmt: skip
_TYPES = {"i": types.int64, "d": types.float64}
_KNOWN = {"memset", "memcpy", "memmove"}  # external functions that the code may call


def inner(**options: Any) -> Callable[[Function], Function]:
    """Decorates a function that kernels call."""
    return cast(Callable[[Function], Function], njit(**_OPTIONS, **options))


@intrinsic
def array_at(context, address, shape, kind):  # type: ignore[no-untyped-def]
    """An array view of the memory at an address. shape  a tuple.    kind  a dtype, such as np.float32."""
    array = types.Array(kind.dtype, len(shape), "C")

    def code(target: Any, b: Builder, _signature: Any, args: Any) -> Value:
        found = make_array(array)(target, b)
        sizes = unpack_tuple(b, args[1])
        width = target.get_abi_sizeof(target.get_data_type(array.dtype))
        strides = [LONG(width)]
        for size in sizes[:0:-1]:
            strides.insert(0, b.mul(strides[0], size))
        data = b.inttoptr(args[0], target.get_data_type(array.dtype).as_pointer())
        populate_array(found, data, sizes, strides, LONG(width), None)
        return found._getvalue()

    return array(types.int64, tuple_of(types.int64, len(shape)), kind), code


def compiled(module: str, name: str, letters: str, constants: tuple[int, ...] = ()) -> bytes:
    """Compile the kernel `name` of a module: returns the name of its function, a line break, and an object file.

    constants  arguments of the factory `name`; without any, `name` is the function itself.
    """
    with _jit_enabled():
        function = getattr(import_module(f".{module}", __package__), name)
        signature = types.int64(*(_TYPES[letter] for letter in letters))
        made: Any = njit(signature, **_OPTIONS)(function(*constants) if constants else function)
    result = made.overloads[signature.args]
    library = result.library
    outside = {item.name for item in library._final_module.functions if item.is_declaration}
    unknown = {symbol for symbol in outside if not symbol.startswith("llvm.")} - _KNOWN
    assert not unknown, f"{name} calls {unknown}, which is missing when the code is loaded"
    symbol: bytes = result.fndesc.llvm_func_name.encode()
    return symbol + b"\n" + bytes(library._get_compiled_object())


@contextmanager
def _jit_enabled() -> Iterator[None]:
    """Ignore NUMBA_DISABLE_JIT: these functions cannot run as Python."""
    config: Any = numba.config
    before, config.DISABLE_JIT = config.DISABLE_JIT, 0
    try:
        yield
    finally:
        config.DISABLE_JIT = before
