"""Libraries that this package needs and that cannot be loaded: one line with the fix instead of their traceback."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType

from .errors import LibraryError

__all__ = ["FULL", "has_torch", "library_error"]

OURS = {"mtcnn", "mtcnn_cascade", "commands", "prepare", "stages", "cli"}

# Both distributions of OpenCV fill the same folder, so that the second breaks the first, and to remove one breaks both.
OPENCV = (
    "expected opencv-python, or opencv-python-headless where there is no desktop, and not both; "
    "run: pip uninstall -y opencv-python opencv-python-headless && pip install opencv-python-headless"
)

SLIM_LACKS = {"torch", "numba", "llvmlite", "lmdb"}  # what requirements-detect.txt leaves out
FULL = "run: pip install torch numba lmdb"


def has_torch() -> bool:
    """Whether torch is installed; it is not imported."""
    try:
        return "torch" in sys.modules or find_spec("torch") is not None
    except ImportError:
        return False


def library_error(error: Exception) -> LibraryError | None:
    """The error to raise in place of one that came up while modules were imported; None for an error of our own.

    A library is at fault that is missing, whose shared libraries are (libGL.so.1 in slim containers), that was built
    for another NumPy, or that is no longer whole.
    """
    library = _library(error).split(".")[0]
    if isinstance(error, LibraryError) or library in OURS | {""}:
        return None
    why = " ".join(str(error).split())
    if library == "cv2":
        return LibraryError(f"OpenCV cannot be loaded: {why}; {OPENCV}", name="cv2")
    if isinstance(error, AttributeError):
        return None
    if isinstance(error, ModuleNotFoundError) and library in SLIM_LACKS:
        return LibraryError(f"no package {library}; a slim installation can only detect; {FULL}", name=library)
    return LibraryError(
        f"{library} cannot be loaded: {why}; expected a whole installation; install it again", name=library
    )


def _library(error: Exception) -> str:
    """The module at fault, or an empty string."""
    if isinstance(error, AttributeError):
        return str(getattr(error.obj, "__name__", "")) if isinstance(error.obj, ModuleType) else ""
    if isinstance(error, ImportError):
        return error.name or _importing(error)
    # torch loads its shared libraries by itself.
    return _importing(error) if isinstance(error, OSError) and "cannot open shared object" in str(error) else ""


def _importing(error: Exception) -> str:
    """The module whose code raised."""
    found, step = "", error.__traceback__
    while step is not None:
        name = str(step.tb_frame.f_globals.get("__name__", ""))
        found = found if name.startswith("importlib") else name
        step = step.tb_next
    return found
