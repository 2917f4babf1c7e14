"""Small versions of slow things: crop stores, recipes, and the real command on a few drawn scenes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mtcnn.workers import local_workers
from prepare import synthetic
from prepare.build import CropMaker, build
from prepare.labels import IouBands, Kind
from prepare.records import CropBatch
from prepare.sample import CropSettings
from prepare.store import CropWriter

ROOT = Path(__file__).resolve().parent.parent


def environment(**changes: str) -> dict[str, str]:
    """Variables for a process that imports this checkout, wherever it runs; one thread, no data folder."""
    kept = {name: value for name, value in os.environ.items() if name != "MTCNN_DATA"}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **changes}


def mtcnn(*arguments: object, folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run the real command in `folder`, and return the result whatever its exit status."""
    words = [sys.executable, "-m", "mtcnn", *map(str, arguments)]
    return subprocess.run(words, cwd=folder, env=environment(**changes), capture_output=True, text=True, check=False)


def make_crops(path: Path, size: int = 12, scenes: int = 12, workers: int = 1, **settings: Any) -> Path:
    """A store of sampled crops of drawn scenes; `settings` are those of CropSettings."""
    chosen: dict[str, Any] = {"negatives": 20, "near": 3, "tries": 4, "val": 20.0, **settings}
    build(
        synthetic.records(scenes, 0),
        CropMaker(size, 0, IouBands(), CropSettings(**chosen)),
        path,
        "k",
        local_workers(workers),
        True,
    )
    return path


def random_crops(rng: np.random.Generator, size: int, kinds: list[Kind]) -> CropBatch:
    """One crop of noise for each of `kinds`, with the targets that the kind has."""
    count, kind = len(kinds), np.array(kinds, np.uint8).reshape(-1)
    has_box, has_points = np.isin(kind, (Kind.PART, Kind.POS)), kind == Kind.LANDMARK
    return CropBatch(
        rng.integers(0, 256, (count, size, size, 3), np.uint8),
        kind,
        np.where(has_box[:, None], rng.uniform(-0.5, 0.5, (count, 4)), 0).astype(np.float32),
        np.where(has_points[:, None, None], rng.uniform(0.05, 0.95, (count, 5, 2)), np.nan).astype(np.float32),
    )


def write_crops(path: Path, batches: list[CropBatch], val: tuple[int, ...] = (), key: str = "k") -> Path:
    """A finished store with one item for each batch; the items `val` belong to the validation part."""
    with CropWriter(path, batches[0].crops.shape[1], key) as writer:
        for number, batch in enumerate(batches):
            writer.append(batch, val=number in val)
        writer.finish()
    return path


RECIPES = {
    12: """
net = "pnet"
[crops]
negatives = 30
near = 4
tries = 4
[mine]
thresholds = [0.3]
max_neg = 40
[draft]
epochs = 1
steps = 20
batch = 64
warmup = 5
[train]
epochs = 2
steps = 20
batch = 64
warmup = 5
recall = 0.95
""",
    24: """
net = "rnet"
[crops]
negatives = 10
near = 2
tries = 3
[mine]
thresholds = [0.2]
max_neg = 40
[train]
epochs = 2
steps = 15
batch = 64
warmup = 5
recall = 0.95
""",
    48: """
net = "onet"
[crops]
negatives = 10
near = 2
tries = 3
landmarks = 2
[mine]
thresholds = [0.2, 0.05]
max_neg = 40
[train]
epochs = 2
steps = 10
batch = 64
warmup = 5
[train.mix]
landmark = 1
""",
}


CNET = """
net = "cnet"
[bands]
neg = 0.25
part = 0.25
pos = 0.5
[crops]
context = 1.7333
negatives = 10
near = 2
tries = 3
landmarks = 2
[mine]
thresholds = [0.2, 0.05, 0.0]
max_neg = 40
jitter = 1
[train]
epochs = 2
steps = 3
batch = 32
warmup = 2
lr = 1e-5
iou = 2.0
[train.score]
before = 1.33
temperature = 2.67
[train.mix]
landmark = 1
"""


def write_cnet_recipe(work: Path) -> Path:
    """CNET in a work folder. Its learning rate leaves the weights nearly as they start."""
    path = work / "models-48" / "recipe-cnet.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CNET)
    return work


def write_recipes(work: Path, changes: dict[int, tuple[str, str]] | None = None) -> Path:
    """Recipes of RECIPES in a work folder, trained in a second or two each; `changes` replaces a piece of a text."""
    for (size, text), net in zip(RECIPES.items(), ("pnet", "rnet", "onet"), strict=True):
        before, after = (changes or {}).get(size, ("", ""))
        assert before in text
        path = work / f"models-{size}" / f"recipe-{net}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace(before, after, 1) if before else text)
    return work
