"""The kernel cache: compiled once, loaded without Numba, compiled again if the file is damaged, old or unwritable."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from processes import PATIENCE, succeeds_forked

from mtcnn import boxes
from mtcnn.engine import amx, bf16, kernel_cache
from mtcnn.engine.packing import buffer
from mtcnn.errors import MtcnnError
from mtcnn.nms import nms
from mtcnn.resample import resample

ROOT = Path(__file__).resolve().parent.parent

# Overlaps of a box with itself and another, then whether Numba was needed.
OVERLAPS = """
import sys
import numpy as np
from mtcnn.boxes import iou
box = np.array([[0, 0, 2, 2.0]])
print(iou(box, np.array([[0, 0, 2, 2.0], [1, 0, 3, 2]])).tolist(), "numba" in sys.modules)
"""
RIGHT = "[[1.0, 0.3333333432674408]]"


def run(code: str, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    given = {**os.environ, "PYTHONPATH": str(ROOT), **settings}
    done = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def overlaps(code: str = OVERLAPS, **settings: str) -> list[str]:
    return run(code, settings).stdout.rsplit(maxsplit=1)


def complaint(**settings: str) -> str:
    return run(OVERLAPS, settings).stderr


def test_made_once_and_anew_when_damaged_or_for_another_processor(tmp_path: Path) -> None:
    place = {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert overlaps(**place) == [RIGHT, "True"]
    (file,) = (tmp_path / "mtcnn").iterdir()
    assert overlaps(**place) == [RIGHT, "False"]
    whole = file.read_bytes()
    for damaged in (whole[:-1], b"", whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]):
        file.write_bytes(damaged)
        assert overlaps(**place) == [RIGHT, "True"]
        assert file.read_bytes() != damaged
    assert overlaps(**place, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="") == [RIGHT, "True"]
    assert len(list((tmp_path / "mtcnn").iterdir())) == 2
    assert overlaps(**place) == [RIGHT, "False"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """The next folder is used; if there is none, a warning says so."""
    (tmp_path / "file").touch()
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "file"), "XDG_CACHE_HOME": str(tmp_path / "user")}
    assert overlaps(**cache) == [RIGHT, "True"]
    assert overlaps(**cache) == [RIGHT, "False"]
    assert len(list((tmp_path / "user" / "mtcnn").iterdir())) == 1
    nowhere = {"NUMBA_CACHE_DIR": str(tmp_path / "file"), "XDG_CACHE_HOME": str(tmp_path / "file")}
    assert overlaps(**nowhere) == [RIGHT, "True"]
    assert "compiled code cannot be cached in" in complaint(**nowhere)
    twice = OVERLAPS + "from mtcnn.nms import nms\nnms(box, np.ones(1), 0.5)\n"
    assert run(twice, nowhere).stderr.count("cannot be cached") == 1  # though compiling resets what was warned of


def test_without_a_home(tmp_path: Path) -> None:
    """As a user of a container without an entry in passwd."""
    code = "import os; os.path.expanduser = lambda path: path\n" + OVERLAPS
    assert overlaps(code, HOME="", XDG_CACHE_HOME="", NUMBA_CACHE_DIR=str(tmp_path)) == [RIGHT, "True"]


def test_numba_with_compilation_disabled(tmp_path: Path) -> None:
    assert overlaps(NUMBA_CACHE_DIR=str(tmp_path), NUMBA_DISABLE_JIT="1") == [RIGHT, "True"]


def test_two_versions_share_a_folder(tmp_path: Path) -> None:
    """Each finds its own kernels."""
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}
    other = "import llvmlite; llvmlite.__version__ += '.other'\n" + OVERLAPS
    assert [overlaps(code, **cache)[1] for code in (OVERLAPS, other, OVERLAPS, other)] == ["True"] * 2 + ["False"] * 2


@pytest.mark.parametrize("change", ["option", "attribute"])
def test_an_incompatible_numba_is_reported(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    from mtcnn.engine import compiling

    if change == "option":
        monkeypatch.setitem(compiling._OPTIONS, "no_such_option", True)
    else:
        monkeypatch.setattr(compiling, "types", None)
    with pytest.raises(
        MtcnnError, match=r"^Numba \d[^\n]* cannot compile overlaps \(.*\); expected numba>=0.60"
    ) as told:
        kernel_cache._compiled("compiled_boxes", "overlaps", "iiiiii", ())
    assert "\n" not in str(told.value)


def test_the_oldest_numba_is_the_required_minimum() -> None:
    settings = (ROOT / "setup.cfg").read_text()
    assert kernel_cache.NUMBA.split(",")[0] in settings.split()


def test_a_fork_while_another_thread_compiles() -> None:
    """The child must not wait for a lock whose owner does not exist there."""
    held, release = threading.Event(), threading.Event()

    def compiles() -> None:
        with kernel_cache._lock:
            held.set()
            release.wait(PATIENCE)

    thread = threading.Thread(target=compiles)
    thread.start()
    held.wait()
    threading.Timer(0.2, release.set).start()
    assert succeeds_forked(lambda: kernel_cache.kernel("overlaps"))
    thread.join()


def test_every_kernel_is_there() -> None:
    constants = {"conv": (3, 16, 16, 1, 1, 4, 1), "winograd": (16, 16, 16, 16, 1), "dot": (16, 2, 2, 1, 4)}
    constants |= {"depthwise": (16, 1, 16, 16, 1, 2), "pool": (16, 16, 16), "onet": (64,)}
    constants |= {"add": (16, 16, 16, 16, 1, 0), "affine": (16, 16, 16, 1), "moments": (16, 16)}
    constants |= {"matrix": (1,), "dots": (1,), "taps": (3, 16, 16, 1, 20, 2, 1), "depthwise_pool": (16, 16, 16, 1)}
    for name in kernel_cache.KERNELS:
        if {"matrix": amx.why_not, "dots": bf16.why_not}.get(name, lambda: None)():  # LLVM lacks the instructions then
            continue
        made = kernel_cache.kernel(name, *constants.get(name, ()))
        assert made is kernel_cache.kernel(name, *constants.get(name, ()))


def test_a_call_with_wrong_arguments_is_rejected() -> None:
    """Before it writes to an invalid address."""
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        kernel_cache.kernel("overlaps")(1, 2)
    with pytest.raises(TypeError):
        kernel_cache.kernel("overlaps")(1, 2, 3, 4, 5, None)


def test_numbers_of_numpy_are_numbers() -> None:
    box = np.array([[0, 0, 2, 2.0], [0, 0, 2, 1.9]])
    assert nms(box, np.ones(2), np.float32(0.5), limit=np.int64(2)).tolist() == [0]  # type: ignore[arg-type]


def test_arrays_of_wrong_shape_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"boxes are \(2, 4\); expected \(3, 4\)"):
        nms(np.zeros((2, 4)), np.zeros(3), 0.5)
    with pytest.raises(ValueError, match="reshape"):
        boxes.iou(np.zeros((2, 3)), np.zeros((1, 4)))
    with pytest.raises(ValueError, match="float64"):
        resample(np.zeros((4, 4, 3)), 2, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("floats", [1, 15, 16, 1000])
def test_buffers_begin_at_lines_of_the_cache(floats: int) -> None:
    for _ in range(20):
        assert buffer(floats).ctypes.data % 64 == 0
        assert buffer(floats).shape == (floats,)
