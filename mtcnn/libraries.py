"""Libraries that this package needs and that cannot be loaded: one line with the fix instead of their traceback."""

from __future__ import annotations

from .errors import LibraryError

__all__ = ["library_error"]

OURS = {"mtcnn", "mtcnn_cascade", "commands", "prepare", "stages", "cli"}

# Both distributions of OpenCV fill the same folder, so that the second breaks the first, and to remove one breaks both.
OPENCV = (
    "expected opencv-python, or opencv-python-headless where there is no desktop, and not both; "
    "run: pip uninstall -y opencv-python opencv-python-headless && pip install opencv-python-headless"
)


def library_error(error: Exception) -> LibraryError | None:
    """The error to raise in place of one that came up while modules were imported; None for an error of our own.

    A library is at fault that is missing, whose shared libraries are (libGL.so.1 in slim containers), or that is no
    longer whole.
    """
    if isinstance(error, AttributeError):
        name = getattr(error.obj, "__name__", None) if type(error.obj).__name__ == "module" else None
    else:
        name = error.name if isinstance(error, ImportError) else None
    library = str(name or "").split(".")[0]
    if isinstance(error, LibraryError) or library in OURS | {""}:
        return None
    why = " ".join(str(error).split())
    if library == "cv2":
        return LibraryError(f"OpenCV cannot be loaded: {why}; {OPENCV}", name="cv2")
    if isinstance(error, AttributeError):
        return None
    return LibraryError(
        f"{library} cannot be loaded: {why}; expected a whole installation; install it again", name=library
    )
