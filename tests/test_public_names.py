"""The public interface: all names that the package and its modules list exist."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import mtcnn

PUBLIC = [  # in ruff's order
    "MTCNN", "Detector", "Faces", "ImageSize", "MtcnnError", "draw_faces", "evaluate", "export", "read_image", "train",
]  # fmt: skip
# mtcnn.mtcnn is a name of ipazc's, for a class of ours; what is in mtcnn/former is tested in test_former.
MODULES = [
    name
    for _, name, package in pkgutil.iter_modules(mtcnn.__path__[:1])
    if not package and name not in ("_app", "mtcnn")
]


def test_public_names() -> None:
    """Users notice changes of this list: note them in CHANGELOG.md."""
    assert mtcnn.__all__ == PUBLIC
    for name in PUBLIC:
        assert inspect.getdoc(getattr(mtcnn, name)), name
    assert set(PUBLIC) <= set(dir(mtcnn))


def test_star_import_gives_these_names() -> None:
    names: dict[str, object] = {}
    exec("from mtcnn import *", names)
    assert names.keys() - {"__builtins__"} == set(PUBLIC)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="Detecter"):
        _ = mtcnn.Detecter


@pytest.mark.parametrize("name", MODULES)
def test_modules_list_what_they_define(name: str) -> None:
    module = importlib.import_module(f"mtcnn.{name}")
    assert module.__all__
    assert len(set(module.__all__)) == len(module.__all__)
    for public in module.__all__:
        value = getattr(module, public)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__module__ == module.__name__, public
            assert inspect.getdoc(value), public


def test_import_is_fast() -> None:
    """Slow imports happen at first use, so that `mtcnn --help` does not wait for them."""
    program = "import sys, mtcnn; print(*sorted({'torch', 'numba', 'cv2', 'PIL', 'lmdb'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
