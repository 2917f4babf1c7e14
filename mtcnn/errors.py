"""The errors this project raises on purpose.

Every message is one line: the value, what was expected, and the fix. The command line prints it and exits with 1; any
other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import sys

from .installed import OVERWRITTEN, is_ours

__all__ = [
    "CheckpointError",
    "DataError",
    "ImageError",
    "LibraryError",
    "MtcnnError",
    "RecipeError",
    "SettingsError",
    "TrainingError",
    "WriteError",
]


# Every module here imports this one, and can do so even if another project's package has overwritten __init__.py.
if not is_ours(sys.modules[__package__]):
    raise ImportError(OVERWRITTEN, name="mtcnn")


class MtcnnError(Exception):
    """Base of all errors raised on purpose."""


class ImageError(MtcnnError):
    """An image that cannot be read, written or has an impossible shape."""


class WriteError(ImageError):
    """A picture or video that cannot be written (disk full, no permission); further ones would fail too."""


class DataError(MtcnnError):
    """Labels, crops or detections that do not follow their format."""


class CheckpointError(MtcnnError):
    """Weights that are missing, truncated or of another net or project."""


class LibraryError(MtcnnError, ImportError):
    """A library that is missing, or that the system cannot load."""


class SettingsError(MtcnnError, ValueError):
    """A setting outside of its range, or settings that contradict one another. A usage error on the command line."""


class RecipeError(MtcnnError):
    """A recipe with an unknown key or an impossible value."""


class TrainingError(MtcnnError):
    """Training that cannot continue, such as a loss that is not finite."""
