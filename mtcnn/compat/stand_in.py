"""`facenet_pytorch` as a name for what is here, so that a program's imports can stay."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["as_facenet_pytorch"]

PACKAGE = "facenet_pytorch"

# What each module has of ours, in facenet-pytorch 2.6.
NAMES = {
    "": ("MTCNN", "PNet", "RNet", "ONet", "extract_face", "fixed_image_standardization", "prewhiten"),
    ".models": (),
    ".models.mtcnn": ("MTCNN", "PNet", "RNet", "ONet", "extract_face", "fixed_image_standardization", "prewhiten"),
    ".models.utils": (),
    ".models.utils.detect_face": ("extract_face",),
}

# What is not ours, and where it is in facenet-pytorch.
THEIRS = {"InceptionResnetV1": "models.inception_resnet_v1", "training": "models.utils.training"}


class _StandIn(ModuleType):
    """A module of facenet-pytorch: names of ours, and the rest from its own files where it is installed."""

    def __getattr__(self, name: str) -> Any:
        if name not in THEIRS or self.__name__ != PACKAGE:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        try:
            module = import_module(f"{PACKAGE}.{THEIRS[name]}")
        except ImportError as error:
            raise ImportError(
                f"{name} is no part of mtcnn, which finds faces, and facenet-pytorch's cannot be loaded ({error}); "
                "pip install --no-deps facenet-pytorch, and what that message names",
                name=PACKAGE,
            ) from error
        return module if name == "training" else getattr(module, name)


def as_facenet_pytorch() -> None:
    """Let `import facenet_pytorch`, and its modules, give the names of `mtcnn.compat`, in this process.

    To be called before a program imports facenet_pytorch. `InceptionResnetV1` and `training` come from facenet-pytorch
    itself where it is installed, which needs nothing else of it (`pip install --no-deps facenet-pytorch`).

    Raises ImportError when facenet_pytorch has been imported already.
    """
    loaded = sys.modules.get(PACKAGE)
    if isinstance(loaded, _StandIn):
        return
    if loaded is not None:
        raise ImportError("facenet_pytorch is loaded already; call as_facenet_pytorch() before anything imports it")
    ours, spec = import_module("mtcnn.compat"), find_spec(PACKAGE)
    folder = Path(spec.origin).parent if spec is not None and spec.origin is not None else None
    for suffix, names in NAMES.items():
        module = _StandIn(PACKAGE + suffix, "What mtcnn has of facenet-pytorch's module of this name.")
        module.__path__ = [] if folder is None else [str(folder.joinpath(*suffix.split(".")))]
        for name in names:
            setattr(module, name, getattr(ours, name))
        sys.modules[PACKAGE + suffix] = module
        if suffix:
            parent, _, own = (PACKAGE + suffix).rpartition(".")
            setattr(sys.modules[parent], own, module)
