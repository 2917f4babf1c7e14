"""Compiled code kept in files: Numba makes it at the first use, and LLVM alone loads it from then on.

Numba's own cache needs all of Numba to load a function, which takes ten times as long as looking at a photo. Here a
kernel is one object file, of the code in `compiled_*.py` and all that it calls, made for this processor. It is found
where Numba's cache would be: in the folder NUMBA_CACHE_DIR, else in __pycache__ beside this file, else, where that may
not be written to, in the user's folder of caches. Its name tells the processor and the source it was made from.

A kernel takes addresses, integers and real numbers and returns an integer. It takes no memory and knows nothing of
Python, so that threads run it side by side.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import threading
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

__all__ = ["KERNELS", "kernel"]

# Kernel -> its module, and a letter for each argument: i an integer or an address, d a real number.
KERNELS = {
    "average": ("compiled_average", "iiiiiiiiiii"),
    "resample": ("compiled_resample", "iiiiiiiiiiiii"),
    "suppress": ("compiled_boxes", "iiidiiii"),
    "overlaps": ("compiled_boxes", "iiiiii"),
    "pnet": ("compiled_pnet", "iiiiiidiiiii"),
    "rnet": ("compiled_refine", "iiiii"),
    "onet": ("compiled_refine", "iiiii"),
}

_C_TYPES: dict[str, Any] = {"i": ctypes.c_int64, "d": ctypes.c_double}
_PYTHON_TYPES: dict[str, Callable[[Any], Any]] = {"i": int, "d": float}
_MARK = 32  # bytes of the digest in front of the code

_lock = threading.RLock()
_engines: list[Any] = []  # what holds the code in memory; as long as the process lives


def kernel(name: str) -> Callable[..., int]:
    """The compiled function of this name in KERNELS. Addresses are integers."""
    with _lock:
        return _kernel(name)


@lru_cache
def _kernel(name: str) -> Callable[..., int]:
    module, letters = KERNELS[name]
    places = [folder / f"{name}-{_processor()}-{_source()}.o" for folder in _folders()]
    code = next(filter(None, map(_read, places)), None)
    if code is None:
        made: bytes = import_module(".compiling", __package__).compiled(module, name, letters)
        code = made
        any(_written(place, code) for place in places)  # a full disk is no error: then the next process compiles again
    return _loaded(code, letters)


def _loaded(code: bytes, letters: str) -> Callable[..., int]:
    """The function in an object file, which begins with its name and a line break."""
    symbol, _, content = code.partition(b"\n")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(content))
    engine.finalize_object()
    _engines.append(engine)
    types, plain = [_C_TYPES[letter] for letter in letters], [_PYTHON_TYPES[letter] for letter in letters]
    # Numba's calling convention: the result and an exception, which no kernel raises, come back through addresses.
    run = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.POINTER(ctypes.c_int64), ctypes.c_void_p, *types)(
        engine.get_function_address(symbol.decode())
    )

    def call(*values: Any) -> int:
        result, nothing = ctypes.c_int64(), ctypes.c_void_p()
        given = [kind(value) for kind, value in zip(plain, values, strict=True)]
        status = run(result, ctypes.addressof(nothing), *given)
        if status:
            raise RuntimeError(f"{symbol.decode()} ended with status {status}")
        return result.value

    return call


# ---- files


def _folders() -> list[Path]:
    """Folders for the code, the one to be used first."""
    if given := os.environ.get("NUMBA_CACHE_DIR"):
        return [Path(given) / "mtcnn"]
    user = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or "~/.cache"
    return [Path(__file__).parent / "__pycache__", Path(user).expanduser() / "mtcnn"]


def _processor() -> str:
    """What the code is made for, as Numba understands it, in short."""
    settings = [os.environ.get(name) for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_OPT")]
    features = llvm.get_host_cpu_features().flatten()
    return _short(repr((llvm.get_process_triple(), llvm.get_host_cpu_name(), features, settings)).encode())


@lru_cache
def _source() -> str:
    """What the code is made from: the files here, and the version of what compiles them."""
    digest = hashlib.sha256(llvmlite.__version__.encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _read(path: Path) -> bytes | None:
    """What `_write` has written, or None where that is missing or damaged."""
    with contextlib.suppress(OSError):
        content = path.read_bytes()
        if hashlib.sha256(content[_MARK:]).digest() == content[:_MARK]:
            return content[_MARK:]
    return None


def _written(path: Path, code: bytes) -> bool:
    """Keep code, in the place of what was made for the same processor from another source. False where that fails."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(hashlib.sha256(code).digest() + code)
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        return False
    for other in path.parent.glob(f"{path.name.rpartition('-')[0]}-*.o"):
        if other != path:
            with contextlib.suppress(OSError):
                other.unlink(missing_ok=True)
    return True
