"""Broken installations, each reported in one line: overwritten by another `mtcnn`, or with unloadable libraries."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mtcnn.errors import LibraryError, MtcnnError
from mtcnn.installed import BESIDE, CURE, OVERWRITTEN, fault
from mtcnn.libraries import library_error

ROOT = Path(__file__).resolve().parent.parent
COMMAND = "import sys; sys.argv[0] = 'mtcnn'; from mtcnn_cascade import main; main()"


def python(
    program: str, *words: str, path: Path = ROOT, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        env={**os.environ, "PYTHONPATH": str(path)}, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


# ---- another project's mtcnn


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder as pip fills it, of links to what never changes."""
    site = tmp_path / "site"
    (site / "mtcnn").mkdir(parents=True)
    for path in (ROOT / "mtcnn").iterdir():
        if path.name != "__pycache__":
            (site / "mtcnn" / path.name).symlink_to(path)
    (site / "mtcnn" / "_app").mkdir()
    for name in ("cli.py", "commands", "prepare", "stages"):
        (site / "mtcnn" / "_app" / name).symlink_to(ROOT / name)
    for name in ("models-12", "models-24", "models-48", "models-full"):
        (site / "mtcnn" / "_app" / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "mtcnn_cascade", site / "mtcnn_cascade")
    return site


def overwrite(site: Path, works: bool) -> None:
    """What pip does when it installs the other project; `works`: its dependencies are there."""
    for name in ("__init__.py", "mtcnn.py"):
        (site / "mtcnn" / name).unlink()
    (site / "mtcnn" / "__init__.py").write_text("from mtcnn.mtcnn import MTCNN\n\n__all__ = ['MTCNN']\n")
    (site / "mtcnn" / "mtcnn.py").write_text("class MTCNN: ...\n" if works else "import a_library_that_is_not_here\n")
    (site / "mtcnn" / "network").mkdir()


def test_intact_installation(site: Path) -> None:
    done = python(COMMAND, "--version", path=site, folder=site.parent)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("mtcnn, version ")
    assert fault(str(ROOT / "mtcnn")) is None


@pytest.mark.parametrize("works", [True, False])
def test_overwritten(site: Path, works: bool) -> None:
    overwrite(site, works)
    for words in (["--version"], ["detect", "a.jpg"]):
        done = python(COMMAND, *words, path=site, folder=site.parent)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"mtcnn: {OVERWRITTEN}\n")
    if not works:
        return
    for line in ("import mtcnn.cascade", "from mtcnn.compat import extract_face", "import mtcnn.images"):
        done = python(line, path=site, folder=site.parent)
        assert done.stderr.splitlines()[-1] == f"ImportError: {OVERWRITTEN}"


def test_uninstalled_again(site: Path) -> None:
    """This deletes this package's `__init__.py` too."""
    (site / "mtcnn" / "__init__.py").unlink()
    (site / "mtcnn" / "mtcnn.py").unlink()
    done = python(COMMAND, "--version", path=site, folder=site.parent)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"mtcnn: {OVERWRITTEN}\n")
    done = python("import mtcnn.cascade", path=site, folder=site.parent)
    assert done.stderr.splitlines()[-1] == f"ImportError: {OVERWRITTEN}"


def test_installed_over_the_other(site: Path) -> None:
    """This one was installed over the other: it works until the other is updated or removed."""
    (site / "mtcnn" / "network").mkdir()
    done = python(COMMAND, "--version", path=site, folder=site.parent)
    assert (done.returncode, done.stderr) == (0, f"mtcnn: {BESIDE}\n") and done.stdout.startswith("mtcnn, version ")
    done = python("from mtcnn import Detector; Detector()", path=site, folder=site.parent)
    assert done.returncode == 0 and done.stderr.count(CURE) == 1


def test_another_package_earlier_in_the_path(tmp_path: Path) -> None:
    """Not in the same folder, but earlier in the path."""
    (tmp_path / "mtcnn").mkdir()
    (tmp_path / "mtcnn" / "__init__.py").touch()
    done = python(f"import sys; sys.path.append({str(ROOT)!r}); {COMMAND}", "--version", path=tmp_path, folder=tmp_path)
    assert (
        done.returncode == 1
        and done.stderr.count("\n") == 1
        and f"in {tmp_path / 'mtcnn'} hides mtcnn-cascade" in done.stderr
    )


# ---- libraries

MISSING_GL = "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory', name='cv2')\n"
BROKEN = {
    "libGL": ("cv2.py", MISSING_GL, "OpenCV cannot be loaded: libGL.so.1"),
    "two builds": ("cv2/__init__.py", "from . import gapi\ngapi.wip", "OpenCV cannot be loaded: module 'cv2.gapi'"),
    "another NumPy": ("cv2/__init__.py", "raise ImportError('numpy.core.multiarray failed to import')\n", "OpenCV"),
    "Pillow": ("PIL/__init__.py", "from . import _imaging\n", "PIL cannot be loaded: cannot import name '_imaging'"),
}


def break_library(folder: Path, name: str) -> str:
    file, text, message = BROKEN[name]
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text(text)
    if name == "two builds":
        (folder / "cv2" / "gapi.py").touch()
    return message


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_library_is_one_line(tmp_path: Path, photo_folder: Path, name: str) -> None:
    message = break_library(tmp_path, name)
    path = Path(f"{tmp_path}{os.pathsep}{ROOT}")
    done = python(COMMAND, "detect", str(photo_folder / "astronaut.png"), path=path, folder=tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"mtcnn: {message}") and done.stderr.count("\n") == 1, done.stderr
    assert ("opencv-python-headless" in done.stderr) is (name != "Pillow")
    Image.new("RGB", (40, 40)).save(tmp_path / "a.jpg")
    lines = (
        "from mtcnn import read_image; read_image('a.jpg')",
        "from mtcnn import MTCNN",
        "from mtcnn import draw_faces",
    )
    for line in lines:
        done = python(line, path=path, folder=tmp_path)
        assert done.stderr.splitlines()[-1].startswith(f"mtcnn.errors.LibraryError: {message}"), done.stderr
        assert done.stderr.count("Traceback") == 1


def test_a_missing_library_is_one_line() -> None:
    done = python("import sys; sys.modules['cv2'] = None; from mtcnn import MTCNN")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("mtcnn.errors.LibraryError: OpenCV cannot be loaded: import of cv2 halted"), done.stderr


def test_a_library_of_torch_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so.12: cannot open shared object file')\n")
    done = python("from mtcnn import MTCNN", path=Path(f"{tmp_path}{os.pathsep}{ROOT}"))
    last = done.stderr.splitlines()[-1]
    assert last.startswith("mtcnn.errors.LibraryError: torch cannot be loaded: libcudart.so.12: cannot open"), (
        done.stderr
    )
    done = python(COMMAND, "export", "pnet", path=Path(f"{tmp_path}{os.pathsep}{ROOT}"), folder=tmp_path)
    assert "Traceback" not in done.stderr and done.returncode in (1, 2)


def test_remains_of_opencv_without_names() -> None:
    """After one of its two distributions was uninstalled from under the other: a folder without `__init__.py`."""
    import types

    empty = types.ModuleType("cv2")
    with pytest.raises(AttributeError) as caught:
        empty.INTER_AREA  # noqa: B018
    found = library_error(caught.value)
    assert isinstance(found, MtcnnError) and isinstance(found, ImportError)
    assert str(found).startswith("OpenCV cannot be loaded: module 'cv2' has no attribute 'INTER_AREA'; expected")


@pytest.mark.parametrize(
    "error",
    [
        ImportError("cannot import name 'nothing'", name="mtcnn.images"),
        ModuleNotFoundError("No module named 'stages.none'", name="stages.none"),
        ImportError("no name"),
        AttributeError("'Faces' object has no attribute 'boxen'", name="boxen", obj=object()),
        AttributeError("module 'numpy' has no attribute 'float'", name="float", obj=os),
        LibraryError("said already", name="cv2"),
        OSError("a disk that is full"),
        ValueError("of another kind"),
    ],
)
def test_our_own_bugs_keep_their_traceback(error: Exception) -> None:
    assert library_error(error) is None
