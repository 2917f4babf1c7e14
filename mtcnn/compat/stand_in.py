"""Lets `import facenet_pytorch` load this package, so that a program's imports need no change."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["as_facenet_pytorch"]

PACKAGE = "facenet_pytorch"
NETS = ("MTCNN", "PNet", "RNet", "ONet", "fixed_image_standardization", "prewhiten")

# Module of facenet-pytorch 2.6 -> its names that this project provides.
OURS = {
    "": (*NETS, "extract_face"),
    ".models": (),
    ".models.mtcnn": (*NETS, "extract_face"),
    ".models.utils": (),
    ".models.utils.detect_face": ("extract_face",),
}

# Names that this project lacks -> the module of facenet-pytorch that provides them.
THEIRS = {"InceptionResnetV1": ".models.inception_resnet_v1", "training": ".models.utils.training"}
FUNCTIONS = ".models.utils.detect_face"  # some of its functions are missing here


class _StandIn(ModuleType):
    """A module of facenet-pytorch: this project's names, and the rest from the installed package, if there is one."""

    def __getattr__(self, name: str) -> Any:
        suffix = self.__name__.removeprefix(PACKAGE)
        known = name in THEIRS if suffix == "" else suffix in (FUNCTIONS, *THEIRS.values())
        if name.startswith("_") or not known:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        try:
            if suffix:
                return getattr(_original(suffix), name)
            module = import_module(f"{PACKAGE}{THEIRS[name]}")
            return module if name == "training" else getattr(module, name)
        except ImportError as error:
            raise ImportError(
                f"mtcnn has no {name}, and facenet-pytorch's cannot be loaded ({error}); "
                "pip install --no-deps facenet-pytorch, and what that message names",
                name=PACKAGE,
            ) from error


def _folder() -> Path | None:
    """The folder of the installed facenet-pytorch, or None."""
    found = PathFinder.find_spec(PACKAGE)  # unlike importlib's, ignores modules that are loaded
    return None if found is None or found.origin is None else Path(found.origin).parent


@cache
def _original(suffix: str) -> ModuleType:
    """Load a module of facenet-pytorch from its file, which must not import others of the package."""
    folder = _folder()
    if folder is None:
        raise ImportError(f"No module named {PACKAGE!r}")
    file = folder.joinpath(*suffix.split(".")).with_suffix(".py")
    spec = spec_from_file_location(f"_{PACKAGE}{suffix.replace('.', '_')}", file)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def as_facenet_pytorch() -> None:
    """Make `import facenet_pytorch` and its modules provide the names of `mtcnn.compat`, in this process.

    Call it before the first import of facenet_pytorch. Names that are missing here, such as `InceptionResnetV1`, come
    from facenet-pytorch if it is installed; `pip install --no-deps facenet-pytorch` suffices.

    Raises ImportError if facenet_pytorch is already imported.
    """
    loaded = sys.modules.get(PACKAGE)
    if isinstance(loaded, _StandIn):
        return
    if loaded is not None:
        raise ImportError("facenet_pytorch is loaded already; call as_facenet_pytorch() before anything imports it")
    ours, folder = import_module("mtcnn.compat"), _folder()
    absent = dict.fromkeys(THEIRS.values() if folder is None else (), ())  # so that using them raises our ImportError
    for suffix, names in {**OURS, **absent}.items():
        module = _StandIn(PACKAGE + suffix, "mtcnn's replacement for facenet-pytorch's module of this name.")
        module.__spec__ = ModuleSpec(module.__name__, None, is_package=True)  # find_spec requires it
        module.__path__ = [] if folder is None else [str(folder.joinpath(*suffix.split(".")))]
        vars(module).update({name: getattr(ours, name) for name in names})
        sys.modules[PACKAGE + suffix] = module
        if suffix:
            parent, _, own = (PACKAGE + suffix).rpartition(".")
            setattr(sys.modules[parent], own, module)
