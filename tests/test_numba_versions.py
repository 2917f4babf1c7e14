"""Kernels compiled by other versions of Numba, in separate environments: `make test-numba`.

OTHER_PYTHONS names their interpreters, separated as those of PATH are. Without it these tests are skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PYTHONS = list(filter(None, os.environ.get("OTHER_PYTHONS", "").split(os.pathsep)))

# All kernels, on an image of noise: a program that needs neither torch nor pytest. Writes what they say.
PROGRAM = """
import sys
import numpy as np
from mtcnn import Detector
from mtcnn.boxes import iou
from mtcnn.checkpoint import load_state, packaged_weights, weights_path
from mtcnn.engine import kernel_cache
from mtcnn.engine.retinaface import FastRetinaFace
from mtcnn.importers.averages import average
from mtcnn.metrics.voting import vote
from mtcnn.metrics.wider import _best_truths, _tally
from mtcnn.weights import MEAN_COLOUR

noise = np.random.default_rng(0)
image = noise.integers(0, 256, (96, 160, 3), dtype=np.uint8)
cascade = Detector(thresholds=(0.02, 0, 0)).detect(image)
net = FastRetinaFace(load_state(weights_path(packaged_weights(), "retinaface"), "retinaface", MEAN_COLOUR))
values = net(image)
voted = vote(cascade)
rows = np.column_stack([cascade.boxes[:, :2], cascade.boxes[:, 2:] - cascade.boxes[:, :2], cascade.scores])
best, points = _best_truths(rows, rows[::2, :4]), np.zeros((1000, 2), np.int64)
_tally(rows[:, 4], best, np.ones(len(rows[::2]), bool), points)
mean = average(image, 9, 7)
assert kernel_cache._kernel.cache_info().currsize >= len(kernel_cache.KERNELS)
np.savez(sys.argv[1], *values, cascade.boxes, cascade.scores, cascade.landmarks, voted.boxes,
         iou(cascade.boxes, voted.boxes), best, points, mean)
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return said(sys.executable, tmp_path_factory.mktemp("here"))


def said(python: str, folder: Path, **settings: str) -> Path:
    given = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **settings}
    done = subprocess.run([python, "-c", PROGRAM, str(folder / "said.npz")], env=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "said.npz"


@pytest.mark.parametrize("python", PYTHONS, ids=range(len(PYTHONS)))
def test_every_version_gives_the_same_results(python: str, here: Path, tmp_path: Path) -> None:
    """Up to the order of sums."""
    with np.load(here) as wanted, np.load(said(python, tmp_path, NUMBA_CACHE_DIR=str(tmp_path))) as found:
        assert len(wanted.files) == 11
        for name in wanted.files:
            assert wanted[name].size > 0
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-3, atol=1e-3)
