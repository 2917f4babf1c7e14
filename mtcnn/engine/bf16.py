"""How this process multiplies in bfloat16: by the matrix unit AMX, or by AVX-512's products of pairs. Nothing here
needs Numba."""

from __future__ import annotations

import platform
from functools import lru_cache

from . import amx
from .registers import LANES, has_feature

try:
    import llvmlite.binding as llvm
except ModuleNotFoundError:
    llvm = None

__all__ = ["products", "why_not"]


@lru_cache(maxsize=1)
def products() -> str:
    """The kernel that convolutions run by: "matrix" with AMX, else "dots"."""
    return "matrix" if amx.why_not() is None else "dots"


@lru_cache(maxsize=1)
def why_not() -> str | None:
    """None if this process may multiply in bfloat16, else the reason. Asks for AMX, if there is one."""
    if amx.why_not() is None:
        return None
    if llvm is None:
        return "nothing is compiled without llvmlite"
    if platform.machine() not in ("x86_64", "AMD64"):
        return "bfloat16 is used on x86-64"
    if LANES != 16 or not has_feature("avx512bf16"):
        return "this processor lacks bfloat16 in AVX-512"
    if llvm.llvm_version_info[0] < amx.OLDEST_LLVM:
        return f"llvmlite has LLVM {llvm.llvm_version_info[0]}, older than {amx.OLDEST_LLVM}"
    return None
