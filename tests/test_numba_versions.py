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

# All kernels but that of bfloat16, which few processors have, on an image of noise: a program that needs neither torch
# nor pytest. Writes the results.
PROGRAM = """
import sys
from functools import partial
import numpy as np
from mtcnn import Detector
from mtcnn.boxes import iou
from mtcnn.detectors.load import load_detector
from mtcnn.engine import kernel_cache
from mtcnn.engine.graph import Channels, Convolution, NetGraph, OutputLevel, PlanNode
from mtcnn.engine.plan import PlannedNet
from mtcnn.importers.averages import average
from mtcnn.metrics.voting import vote
from mtcnn.metrics.wider import _best_truths, _tally
from mtcnn.weights import SCALING

used, made = set(), kernel_cache._kernel
kernel_cache._kernel = lambda name, constants: used.add(name) or made(name, constants)
noise = np.random.default_rng(0)
image = noise.integers(0, 256, (96, 160, 3), dtype=np.uint8)
cascade = Detector(thresholds=(0.02, 0, 0)).detect(image)
values = [output for name in ("retinaface", "yunet-n") for output in load_detector(name).runtime(image).values()]

# What those two nets lack: group norm, and a convolution of few outputs.
whole = partial(Channels, first=0)
nodes = (PlanNode("image", (), 3),
         PlanNode("conv", ((whole(0, count=3),),), 64, (Convolution("a", None, 64),), 3, 2, 1),
         PlanNode("norm", ((whole(1, count=64),),), 64, (Convolution("b", "c", 64, epsilon=1e-5),), groups=4),
         PlanNode("conv", ((whole(2, count=64),),), 2, (Convolution("d", None, 2),), 3, 1, 1))
state = {"a": noise.normal(size=(64, 3, 3, 3)), "b": np.ones(64), "c": np.zeros(64),
         "d": noise.normal(size=(2, 64, 3, 3)) / 24}
graph = NetGraph(nodes, {"logits": (OutputLevel((whole(3, count=2),), 2),)})
values += [PlannedNet(graph, state, SCALING, 32)(image)["logits"]]

voted = vote(cascade)
rows = np.column_stack([cascade.boxes[:, :2], cascade.boxes[:, 2:] - cascade.boxes[:, :2], cascade.scores])
best, points = _best_truths(rows, rows[::2, :4]), np.zeros((1000, 2), np.int64)
_tally(rows[:, 4], best, np.ones(len(rows[::2]), bool), points)
mean = average(image, 9, 7)
values += [cascade.boxes, cascade.scores, cascade.landmarks, voted.boxes, iou(cascade.boxes, voted.boxes), best, points,
           mean]
assert used == {*kernel_cache.KERNELS} - {"matrix"}, used ^ {*kernel_cache.KERNELS}
np.savez(sys.argv[1], *values)
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
        assert len(wanted.files) == 16
        for name in wanted.files:
            assert wanted[name].size > 0
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-3, atol=1e-3)
