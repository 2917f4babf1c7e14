"""Detectors that are pickled, copied and forked give the same results.

Addresses, threads or sessions in their state would crash or hang the other process.
"""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from processes import succeeds_forked

from mtcnn import MTCNN, Detector, hush
from mtcnn.engine.packing import Pointers
from mtcnn.images import pillow, read_image
from prepare import synthetic
from stages.photos.store import PhotoStore, build_photos

ROOT = Path(__file__).parents[1]
DETECTORS: dict[str, dict[str, Any]] = {
    "cascade": {},
    "retinaface": {"stage1": "retinaface"},
    "retinaface, refined": {"stage1": "retinaface", "refine": "rnet,onet"},
    "retinaface, torch": {"stage1": "retinaface", "engine": "torch"},
    "retinaface, onnx": {"stage1": "retinaface", "engine": "onnx"},
}

ELSEWHERE = """
import pickle, sys
from mtcnn.images import read_image
with open(sys.argv[1], "rb") as file:
    detector = pickle.load(file)
faces = detector.detect(read_image(sys.argv[2]))
print(faces.boxes.astype("<f4").tobytes().hex())
"""


@pytest.fixture(params=DETECTORS)
def detector(request: pytest.FixtureRequest) -> Detector:
    if request.param.endswith("onnx"):
        pytest.importorskip("onnxruntime")
    return Detector(**DETECTORS[request.param])


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_in_a_new_process(detector: Detector, photo_folder: Path, tmp_path: Path) -> None:
    photo = photo_folder / "astronaut.png"
    wanted = detector.detect(photo)  # first, so that whatever is made at the first use goes along
    assert len(wanted) == 1
    (tmp_path / "detector").write_bytes(pickle.dumps(detector))
    program, settings = (
        [sys.executable, "-c", ELSEWHERE, str(tmp_path / "detector"), str(photo)],
        {"PYTHONPATH": str(ROOT)},
    )
    done = subprocess.run(program, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(
        np.frombuffer(bytes.fromhex(done.stdout.strip()), "<f4"), wanted.boxes.ravel(), atol=1e-3
    )


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy])
def test_a_copy_outlives_the_original(how: Any, detector: Detector, photos: dict[str, NDArray[np.uint8]]) -> None:
    wanted = detector.detect(photos["astronaut"])
    other = how(detector)
    del detector
    found = other.detect(photos["astronaut"])
    np.testing.assert_array_equal(found.boxes, wanted.boxes)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_in_a_forked_process(two_threads: None, detector: Detector, photos: dict[str, NDArray[np.uint8]]) -> None:
    image = photos["astronaut"]
    assert len(detector.detect(image)) == 1
    assert succeeds_forked(lambda: len(detector.detect(image)) == 1)


def test_the_drop_in(photos: dict[str, NDArray[np.uint8]]) -> None:
    other = pickle.loads(pickle.dumps(MTCNN()))
    np.testing.assert_array_equal(other.detect(photos["astronaut"])[0], MTCNN().detect(photos["astronaut"])[0])


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_photos_are_mapped_anew(how: Any, tmp_path: Path) -> None:
    records = synthetic.records(2, 0)
    build_photos(records, tmp_path / "photos.raw", "k", quiet=True)
    photos = PhotoStore(tmp_path / "photos.raw", records)
    assert len(pickle.dumps(photos)) < photos.pixels.size / 10
    np.testing.assert_array_equal(how(photos)[1], photos[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("held", [hush._stderr, pillow._reading])
def test_a_fork_while_another_thread_holds_a_lock(held: Any, photo_folder: Path) -> None:
    with held.lock:
        assert succeeds_forked(lambda: held.lock.acquire(timeout=20) and not held.lock.release())
    assert succeeds_forked(lambda: read_image(photo_folder / "astronaut.png").shape == (512, 512, 3))


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_pointers_point_to_their_own_arrays(how: Any) -> None:
    first = Pointers(np.arange(7, dtype=np.float32)[::2], np.ones(3, np.float32))
    second = how(first)
    for pointers in (first, second):
        assert pointers.each == tuple(array.ctypes.data for array in pointers.arrays) == tuple(pointers.table)
        assert all(address % 64 == 0 for address in pointers.each)
        assert pointers.at == pointers.table.ctypes.data
        assert [array.tolist() for array in pointers.arrays] == [[0, 2, 4, 6], [1, 1, 1]]
