"""Whether this process may use AMX, the matrix unit of some Intel processors. Nothing here needs Numba."""

from __future__ import annotations

import ctypes
import platform
import sys
from functools import lru_cache

from .registers import LANES, has_feature

try:
    import llvmlite.binding as llvm
except ModuleNotFoundError:
    llvm = None

__all__ = ["why_not"]

FEATURES = ("amx-tile", "amx-bf16", "avx512bf16")
OLDEST_LLVM = 17  # that converts vectors to bfloat16 by the instruction for it
# Linux: a process asks for the tiles, whose state is large. Source: Documentation/arch/x86/xstate.rst.
ARCH_PRCTL, REQUEST, TILES = 158, 0x1023, 18


@lru_cache(maxsize=1)
def why_not() -> str | None:
    """Asks for permission, for all threads of this process. None if it may, else the reason."""
    if llvm is None:
        return "nothing is compiled without llvmlite"
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64":
        return "AMX is used on Linux, on x86-64"
    lacking = [name for name in FEATURES if not has_feature(name)]
    if lacking or LANES != 16:
        return f"this processor lacks {' and '.join(lacking) or 'AVX-512'}"
    if llvm.llvm_version_info[0] < OLDEST_LLVM:
        return f"llvmlite has LLVM {llvm.llvm_version_info[0]}, older than {OLDEST_LLVM}"
    refused = ctypes.CDLL(None).syscall(ARCH_PRCTL, REQUEST, TILES)
    return "the system does not let this process use AMX" if refused else None
