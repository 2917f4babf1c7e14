"""Whether the files that run are this package's.

Another project's distribution, `mtcnn` on the package index, has a package of the same name, and pip silently lets
either overwrite the other. Neither `import mtcnn` nor `python -m mtcnn` can detect that their first file was replaced,
so the command starts outside this package (`mtcnn_cascade`) and loads only this file.
"""

from __future__ import annotations

import os
from types import ModuleType

__all__ = ["BESIDE", "CURE", "OVERWRITTEN", "fault", "has_leftovers", "is_ours"]

CURE = "pip uninstall -y mtcnn && pip install --force-reinstall --no-deps mtcnn-cascade"
OVERWRITTEN = f"the package mtcnn of another project was installed over mtcnn-cascade; run: {CURE}"
BESIDE = f"the package mtcnn of another project lies in the same folder, and removing it breaks this one; run: {CURE}"

FIRST_LINE = '"""Face detection that you can retrain'  # of __init__.py


def has_leftovers(folder: str) -> bool:
    """Whether the other project's files lie in the folder of this package."""
    return os.path.isdir(os.path.join(folder, "network"))  # in all of its versions, and not in ours


def is_ours(package: ModuleType) -> bool:
    """Whether the package that is imported as `mtcnn` is this one, while its parts are being imported.

    The other project's has its class from the start, and what is left after that was uninstalled has no first file.
    """
    return getattr(package, "__file__", None) is not None and "MTCNN" not in vars(package)


def fault(folder: str) -> str | None:
    """A line that describes what is wrong with the installed files, with the fix, or None."""
    try:
        with open(os.path.join(folder, "__init__.py"), encoding="utf-8", errors="replace") as stream:
            ours = stream.readline().startswith(FIRST_LINE)
    except OSError:
        ours = False
    if not ours:
        return OVERWRITTEN
    return BESIDE if has_leftovers(folder) else None
