"""A cache of compiled code: Numba compiles a kernel at its first use; later runs load it with LLVM alone.

Numba's own cache must import Numba to load a function, which takes ten times as long as detecting faces in a photo.
Here a kernel is one object file, with the code in `compiled_*.py` and all that it calls, compiled for this processor.
It is stored in the folder NUMBA_CACHE_DIR, else in __pycache__ beside this file, else, if that is not writable or is
writable by others, in the user's cache folder; `kernel_files` has the rules. Its name encodes processor and source.

Kernels take raw addresses, integers and floats, return an integer, and allocate nothing. They do not use Python, so
threads run them in parallel.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import threading
import warnings
from collections.abc import Callable
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import LibraryError, MtcnnError
from . import kernel_files

try:
    import llvmlite
    import llvmlite.binding as llvm
except ModuleNotFoundError:
    llvmlite = None

__all__ = ["COMPILES", "KERNELS", "NUMBA", "kernel"]

COMPILES = llvmlite is not None
"""Whether there is compiled code. Without llvmlite, the cascade is computed in NumPy, see `plain`."""

NUMBA = "numba>=0.60,<0.69"  # `make test-numba` tests the oldest and the newest

# Kernel -> its module, and a letter for each argument: i for an integer or an address, d for a float. Some kernels are
# specialised for constants, such as numbers of channels: their module has a factory that takes these.
KERNELS = {
    "average": ("compiled_average", "iiiiiiiiiii"),
    "resample": ("compiled_resample", "iiiiiiiiiiiii"),
    "suppress": ("compiled_boxes", "iiiidiiii"),
    "overlaps": ("compiled_boxes", "iiiiii"),
    "pnet": ("compiled_pnet", "iiiiiidiiiii"),
    "rnet": ("compiled_refine", "iiiii"),
    "onet": ("compiled_refine", "iiiii"),
    "run_steps": ("compiled_steps", "i"),
    "passing": ("compiled_rows", "iiiiiid"),
    "pick": ("compiled_rows", "iiiiiiiii"),
    "pixels": ("compiled_steps", "i"),
    "conv": ("compiled_steps", "i"),
    "dot": ("compiled_steps", "i"),
    "taps": ("compiled_steps", "i"),
    "depthwise": ("compiled_steps", "i"),
    "depthwise_pool": ("compiled_steps", "i"),
    "winograd": ("compiled_winograd", "i"),
    "matrix": ("compiled_bf16", "i"),
    "dots": ("compiled_bf16", "i"),
    "pool": ("compiled_steps", "i"),
    "add": ("compiled_steps", "i"),
    "affine": ("compiled_steps", "i"),
    "moments": ("compiled_steps", "i"),
    "factors": ("compiled_steps", "i"),
    "best_truths": ("compiled_metrics", "iiiidi"),
    "tally": ("compiled_metrics", "iiiiiii"),
    "vote_groups": ("compiled_metrics", "iiidiii"),
}

_C_TYPES: dict[str, Any] = {"i": ctypes.c_int64, "d": ctypes.c_double}
_PYTHON_TYPES: dict[str, Callable[[Any], Any]] = {"i": int, "d": float}

_lock = threading.RLock()
_engines: list[Any] = []  # owns the code in memory, for the life of the process

if hasattr(os, "register_at_fork"):
    # A fork while another thread compiles or loads would leave this lock, and LLVM's, locked forever in the child.
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def kernel(name: str, *constants: int) -> Callable[..., int]:
    """The compiled function of this name in KERNELS, for these constants. Addresses are integers.

    Raises LibraryError without llvmlite, for kernels that `plain` does not have.
    """
    if not COMPILES:
        return _plain(name)
    with _lock:
        return _kernel(name, constants)


def _plain(name: str) -> Callable[..., int]:
    from .plain import PLAIN

    if name not in PLAIN:
        raise LibraryError(f"no package llvmlite; expected it for {name}: pip install '{NUMBA}'", name="llvmlite")
    return PLAIN[name]


@cache
def _kernel(name: str, constants: tuple[int, ...]) -> Callable[..., int]:
    module, letters = KERNELS[name]
    file = "-".join(map(str, (name, *constants, _processor(), _source()))) + ".o"
    paths = [folder / file for folder in kernel_files.folders()]
    code = next(filter(None, map(kernel_files.read, paths)), None)
    if code is None:
        code = _compiled(module, name, letters, constants)
        if not any(kernel_files.write(path, code) for path in paths):
            _warn_of_nothing_written(tuple(kernel_files.folders()))
    return _loaded(code, letters)


def _compiled(module: str, name: str, letters: str, constants: tuple[int, ...]) -> bytes:
    """Compile a kernel. Raises MtcnnError if this version of Numba cannot."""
    try:
        made: bytes = import_module(".compiling", __package__).compiled(module, name, letters, constants)
    except MemoryError:
        raise
    except Exception as error:  # a missing or changed attribute may raise anything
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise MtcnnError(
            f"Numba {_version('numba')} cannot compile {name} ({line}); expected {NUMBA}: pip install '{NUMBA}'"
        ) from error
    return made


def _version(package: str) -> str:
    from importlib import metadata  # slow, and only needed for errors

    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return "(not installed)"


@cache
def _warn_of_nothing_written(folders: tuple[Path, ...]) -> None:
    """Warn once per process. By default warnings do so too, until a `catch_warnings` anywhere makes them forget."""
    where = " and ".join(map(str, folders)) or "no folder"
    warnings.warn(
        f"compiled code cannot be cached in {where}, so each process compiles again; set NUMBA_CACHE_DIR to a "
        "folder that only you can write to",
        RuntimeWarning,
        stacklevel=2,
    )


def _loaded(code: bytes, letters: str) -> Callable[..., int]:
    """The function in an object file, which begins with its name and a line break."""
    symbol, _, content = code.partition(b"\n")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    empty = llvm.parse_assembly("")
    engine = llvm.create_mcjit_compiler(empty, machine)
    engine.remove_module(empty)  # compiling nothing took five times as long as loading a kernel
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

    call.address = engine.get_function_address(symbol.decode())  # type: ignore[attr-defined]  # for `run_steps`
    return call


# ---- cache keys


@lru_cache(maxsize=1)
def _processor() -> str:
    """Digest of the target processor, as seen by Numba."""
    settings = [os.environ.get(name) for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_OPT")]
    features = llvm.get_host_cpu_features().flatten()
    return _short(repr((llvm.get_process_triple(), llvm.get_host_cpu_name(), features, settings)).encode())


@lru_cache(maxsize=1)
def _source() -> str:
    """Digest of the sources here and the versions of the compilers."""
    digest = hashlib.sha256(llvmlite.__version__.encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
