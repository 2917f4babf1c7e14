"""Imports of a fresh process: detection loads neither torch nor Numba, whose imports take longer than detection."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent

# Runs code, then tells which of some modules it has loaded.
LOADED = """
import sys
{code}
print(*sorted({{"torch", "numba", "scipy", "onnxruntime", "matplotlib"}} & set(sys.modules)))
"""

CODE = {
    "detect": """
sys.argv = ["mtcnn", "detect", sys.argv[1], "--json"]
from mtcnn.__main__ import main
try:
    main()
except SystemExit as stop:
    assert not stop.code
""",
    "Detector": """
from mtcnn import Detector
assert len(Detector().detect(sys.argv[1])) == 1
""",
    "several images": """
from mtcnn import Detector
assert [len(faces) for faces in Detector().detect([sys.argv[1]] * 3)] == [1, 1, 1]
""",
    "RetinaFace": """
from mtcnn import Detector
assert len(Detector(stage1="retinaface", refine="rnet,onet").detect(sys.argv[1])) == 1
""",
    "MTCNN": """
from mtcnn import MTCNN
mtcnn = MTCNN()
assert len(mtcnn.detect(sys.argv[1])[0]) == 1 and len(mtcnn.detect_faces(sys.argv[1])) == 1
""",
    "MTCNN, imported weights": """
from mtcnn import MTCNN
assert MTCNN(models=sys.argv[2]).detect(sys.argv[1]) is not None
""",
    "names alone": """
import mtcnn, mtcnn.exceptions, mtcnn.stages, mtcnn.utils.images, mtcnn.utils.plotting
assert mtcnn.utils.images.load_image(sys.argv[1]).shape == (512, 512, 3)
""",
}


def loaded(code: str, *words: object) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(code=code), *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


@pytest.fixture(scope="module")
def imported(random_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that run with another project's arithmetic. This compiles and caches all kernels."""
    from dataclasses import replace

    from mtcnn import MTCNN, Detector
    from mtcnn.checkpoint import read, weights_path, write
    from mtcnn.weights import SIZES

    folder = tmp_path_factory.mktemp("imported")
    for net in SIZES:
        recipe = {"imported": {"arithmetic": "facenet-pytorch"}}
        write(weights_path(folder, net), replace(read(weights_path(random_models, net)), recipe=recipe))
    image = np.zeros((40, 40, 3), np.uint8)
    Detector(random_models, thresholds=(0, 0, 0)).detect(image)
    Detector(stage1="retinaface").detect(image)
    MTCNN(models=folder, thresholds=(0, 0, 0)).detect(image)
    return folder


@pytest.mark.parametrize("code", CODE)
def test_a_detection_loads_neither_torch_nor_numba(code: str, photo_folder: Path, imported: Path) -> None:
    allowed = {"torch"} if code.startswith("MTCNN") else set()  # a module of torch's, as its programs expect
    assert set(loaded(CODE[code], photo_folder / "astronaut.png", imported)) <= allowed


def test_modules_load_torch(photo_folder: Path) -> None:
    """This also shows that the test above would fail."""
    code = "from mtcnn import MTCNN\nassert MTCNN()(sys.argv[1]).shape == (3, 160, 160)"
    assert "torch" in loaded(code, photo_folder / "astronaut.png")


THREADS = """
import sys
from mtcnn.engine.threads import threads
print(threads())
import torch
torch.set_num_threads(3)
print(threads())
"""


@pytest.mark.parametrize("setting", ["1", "5", "4,2", "many", None])
def test_threads_follow_the_environment_and_torch(setting: str | None) -> None:
    kept = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    given = {} if setting is None else {"OMP_NUM_THREADS": setting}
    done = subprocess.run([sys.executable, "-c", THREADS], env={**kept, **given, "PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True, check=True)  # fmt: skip
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    expected = int(setting[0]) if setting and setting[0].isdecimal() else cores
    assert done.stdout.split() == [str(expected), "3"]
