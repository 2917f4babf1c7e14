"""Kernels in files: made once, loaded without Numba, made anew where the file is damaged, old or cannot be kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mtcnn import boxes
from mtcnn.engine import kernel_cache as kept
from mtcnn.engine.packing import buffer
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


def overlaps(**settings: str) -> list[str]:
    given = {**os.environ, "PYTHONPATH": str(ROOT), **settings}
    done = subprocess.run([sys.executable, "-c", OVERLAPS], env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.rsplit(maxsplit=1)


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
    (tmp_path / "file").touch()
    assert overlaps(NUMBA_CACHE_DIR=str(tmp_path / "file")) == [RIGHT, "True"]


def test_what_was_made_from_another_source_goes(tmp_path: Path) -> None:
    old, other = tmp_path / "a-1-1.o", tmp_path / "a-2-1.o"
    for path in (old, other):
        path.touch()
    new = tmp_path / "a-1-2.o"
    assert kept._written(new, b"code")
    assert sorted(tmp_path.iterdir()) == [new, other]
    assert kept._read(new) == b"code"


def test_every_kernel_is_there() -> None:
    for name in kept.KERNELS:
        assert kept.kernel(name) is kept.kernel(name)


def test_a_call_with_other_arguments_is_refused() -> None:
    """Before it writes to an address that is none."""
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        kept.kernel("overlaps")(1, 2)
    with pytest.raises(TypeError):
        kept.kernel("overlaps")(1, 2, 3, 4, 5, None)


def test_numbers_of_numpy_are_numbers() -> None:
    box = np.array([[0, 0, 2, 2.0], [0, 0, 2, 1.9]])
    assert nms(box, np.ones(2), np.float32(0.5), limit=np.int64(2)).tolist() == [0]  # type: ignore[arg-type]


def test_arrays_that_do_not_fit_are_refused() -> None:
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
