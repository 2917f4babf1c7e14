"""CenterFace's objective: heat maps and losses equal to slow loops, with empty photos and crowds, and in a training."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from mtcnn.checkpoint import read, weights_path
from mtcnn.detectors.anchors import RETINAFACE
from mtcnn.detectors.decoders import SsdCodes
from mtcnn.detectors.load import load_detector
from mtcnn.detectors.point_decoders import HeatMap
from mtcnn.errors import RecipeError
from mtcnn.types import ImageSize
from prepare import synthetic
from stages.fit import Training
from stages.graph.ddp import launch
from stages.objectives.heat_map import HeatMapSettings, Peaks, heat_of, radius_of
from stages.objectives.targets import stack
from stages.photos.crops import PictureSettings
from stages.photos.nodes import train_on_photos
from stages.photos.recipe import DetectorRecipe, PhotoSchedule
from stages.photos.store import build_photos
from stages.scene import Scene

HEIGHT, WIDTH = 32, 48
SIZE = ImageSize(HEIGHT, WIDTH)
ROWS, COLUMNS = HEIGHT // 4, WIDTH // 4
CELLS = ROWS * COLUMNS
DECODER = HeatMap()
OBJECTIVE = Peaks(HeatMapSettings(), DECODER)

Array = NDArray[Any]


def scene(boxes: Any, points: bool = True, ignore: tuple[bool, ...] = (), complete: bool = True) -> Scene:
    faces = np.array(boxes, np.float32).reshape(-1, 4)
    places = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
    landmarks = faces[:, None, :2] + places * (faces[:, None, 2:] - faces[:, None, :2])
    landmarks[:] = landmarks if points else np.nan
    hidden = np.array(ignore or [False] * len(faces), bool)
    return Scene(np.zeros((HEIGHT, WIDTH, 3), np.uint8), faces, landmarks, hidden, complete)


def said(seed: int) -> dict[str, Tensor]:
    rng = np.random.default_rng(seed)
    shapes = {"logits": (), "sizes": (2,), "offsets": (2,), "landmarks": (10,)}
    return {
        name: torch.from_numpy(rng.normal(0, 1, (2, CELLS, *shape)).astype(np.float32)).requires_grad_()
        for name, shape in shapes.items()
    }


# ---- targets


@given(st.floats(0.5, 60), st.floats(0.5, 60), st.floats(0.3, 0.9))
def test_a_box_moved_by_the_radius_keeps_the_overlap(width: float, height: float, overlap: float) -> None:
    """Shifted, shrunk and grown it has at least that IoU; one of the three has just that."""
    r = radius_of(width, height, overlap)
    shared = (width - r) * (height - r)
    shifted = shared / (2 * width * height - shared)
    shrunk = (width - 2 * r) * (height - 2 * r) / (width * height)
    grown = width * height / ((width + 2 * r) * (height + 2 * r))
    assert 0 < 2 * r < min(width, height)
    assert min(shifted, shrunk, grown) == pytest.approx(overlap, abs=1e-6)


def slow_heat(faces: list[tuple[int, int, float, float]]) -> Array:
    """Cell by cell."""
    heat = np.zeros((ROWS, COLUMNS))
    for y in range(ROWS):
        for x in range(COLUMNS):
            for column, row, w, h in faces:
                r = int(radius_of(w, h, 0.7))
                if abs(x - column) <= r and abs(y - row) <= r:
                    sigma = (2 * r + 1) / 6
                    peak = math.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * sigma**2))
                    heat[y, x] = max(heat[y, x], peak)
    return heat


FACE = st.tuples(st.integers(0, COLUMNS - 1), st.integers(0, ROWS - 1), st.floats(0.5, 30), st.floats(0.5, 30))


@settings(max_examples=50)
@given(st.lists(FACE, max_size=6))
def test_heat_equals_a_slow_loop(faces: list[tuple[int, int, float, float]]) -> None:
    """With peaks beyond the edges, on top of each other, and without any face."""
    middles, sides = np.array([face[:2] for face in faces], int), np.array([face[2:] for face in faces])
    found = heat_of(middles.reshape(-1, 2), sides.reshape(-1, 2), np.array([COLUMNS, ROWS]), 0.7)
    np.testing.assert_allclose(found, slow_heat(faces), atol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 40, 200])
def test_targets_decode_to_the_faces(count: int) -> None:
    """Of a crowd too; of faces with the same cell the smallest."""
    rng = np.random.default_rng(count)
    corners, sides = rng.uniform(-3, 44, (count, 2)) * [1, 0.6], rng.uniform(3, 12, (count, 2))
    centres = corners + sides / 2
    inside = (centres > 0).all(axis=1) & (centres < [WIDTH, HEIGHT]).all(axis=1)
    made = scene(np.concatenate([corners, corners + sides], axis=1)[inside])
    found = OBJECTIVE.targets(made)
    owners: dict[int, int] = {}
    for i in np.argsort(-(made.boxes[:, 2:] - made.boxes[:, :2]).prod(axis=1), kind="stable"):
        x, y = (made.boxes[i, :2] + made.boxes[i, 2:]) / 2
        owners[int(y // 4) * COLUMNS + int(x // 4)] = int(i)
    rows = np.array(sorted(owners), int)
    assert np.array_equal(np.flatnonzero(np.isfinite(found.sizes[:, 0])), rows)
    assert np.array_equal(np.flatnonzero(found.heat == 1), rows)
    assert (found.weights == 1).all()
    outputs = {"sizes": found.sizes, "offsets": found.offsets, "landmarks": found.landmarks}
    wanted = made.boxes[[owners[row] for row in rows]].reshape(-1, 4)
    np.testing.assert_allclose(DECODER.boxes(outputs, SIZE, rows), wanted, atol=1e-3)
    points = made.landmarks[[owners[row] for row in rows]].reshape(-1, 5, 2)
    decoded = DECODER.landmarks(outputs, SIZE, rows)
    assert decoded is not None
    np.testing.assert_allclose(decoded, points, atol=1e-3)


def test_what_is_ignored_is_not_background() -> None:
    found = OBJECTIVE.targets(scene([[4, 4, 20, 20], [10, 10, 14, 14]], ignore=(True, False)))
    weights = found.weights.reshape(ROWS, COLUMNS)
    assert weights[2, 3] == 0 and weights[6, 3] == 1 and weights[3, 3] == 1, "the last is the centre of a face in it"
    assert (weights == 0).sum() == 15
    assert np.isfinite(found.sizes[:, 0]).sum() == 1


# ---- losses


def slow_losses(outputs: dict[str, Tensor], scenes: list[Scene]) -> dict[str, float]:
    sums, counts = (
        dict.fromkeys(("face", "offset", "size", "landmark"), 0.0),
        dict.fromkeys(("face", "offset", "size", "landmark"), 0),
    )
    for n, made in enumerate(scenes):
        target = OBJECTIVE.targets(made)
        for a in range(CELLS):
            z, y = outputs["logits"][n, a].item(), float(target.heat[a])
            p = 1 / (1 + math.exp(-z))
            if y == 1 and target.weights[a]:
                counts["face"] += 1
                sums["face"] -= (1 - p) ** 2 * math.log(p)
            else:
                sums["face"] -= float(target.weights[a]) * (1 - y) ** 4 * p**2 * math.log(1 - p)
            for name, key in (("offset", "offsets"), ("size", "sizes"), ("landmark", "landmarks")):
                apart = np.abs(outputs[key][n, a].detach().numpy() - getattr(target, key)[a])
                if np.isfinite(apart).any():
                    counts[name] += 1
                    each = apart if name == "offset" else np.where(apart < 1, apart**2 / 2, apart - 0.5)
                    sums[name] += float(each.sum())
    return {name: value / max(counts[name], 1) for name, value in sums.items()}


FACES = [[4, 6, 20, 26], [20, 10, 31, 20], [40, 20, 44, 26]]
CASES = {
    "faces in both": [scene(FACES), scene(FACES[1:])],
    "one photo is empty": [scene([]), scene(FACES)],
    "both are empty": [scene([]), scene([])],
    "no face has points": [scene(FACES, points=False), scene([])],
    "an ignored face": [scene(FACES, ignore=(True, False, False)), scene(FACES[:1], ignore=(True,))],
    "a page of points": [scene(FACES, complete=False), scene([FACES[1]])],
}


@pytest.mark.parametrize("name", CASES)
def test_losses_equal_a_slow_loop(name: str) -> None:
    outputs = said(3)
    losses = OBJECTIVE.loss(outputs, stack([OBJECTIVE.targets(made) for made in CASES[name]]))
    expected = slow_losses(outputs, CASES[name])
    assert {each: losses[each].item() for each in expected} == pytest.approx(expected, rel=1e-4, abs=1e-6)
    total = expected["face"] + expected["offset"] + 0.1 * (expected["size"] + expected["landmark"])
    assert losses["total"].item() == pytest.approx(total, rel=1e-4)
    losses["total"].backward()  # type: ignore[no-untyped-call]
    assert all(value.grad is not None and bool(value.grad.isfinite().all()) for value in outputs.values())


def test_which_nets_it_is_for() -> None:
    with pytest.raises(RecipeError, match="objective is heat-map for a net with SsdCodes; expected CenterFace"):
        Peaks(HeatMapSettings(), SsdCodes(RETINAFACE))


# ---- in a training

RECIPE = DetectorRecipe(
    "centerface", {"width": 0.25}, PictureSettings((96.0, 128.0), crop=(0.3, 1.5), points=0.2), HeatMapSettings(),
    PhotoSchedule(epochs=3, steps=8, batch=8, lr=1e-2, warmup=4, ema=0.8, val=20.0),
)  # fmt: skip


@pytest.fixture(scope="module")
def records() -> list[Any]:
    return [
        replace(each, boxes=each.boxes[:0], landmarks=each.landmarks[:0], ignore=each.ignore[:0])
        if i % 5 == 0
        else each
        for i, each in enumerate(synthetic.records(20, 0))
    ]


@pytest.fixture(scope="module")
def photos(records: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "photos.raw"
    assert build_photos(records, path, "data", quiet=True) == []
    return path


class Stopped(Exception):
    """Instead of a kill."""


def stop_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    step, calls = Training.step, list[int]()

    def stopping(self: Training, loss: Tensor, number: int) -> None:
        calls.append(number)
        if len(calls) > steps:
            raise Stopped
        step(self, loss, number)

    monkeypatch.setattr(Training, "step", stopping)


def test_it_learns_and_resumes(
    photos: Path, records: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training stopped in its second epoch ends with the weights of one that ran through."""
    targets = [weights_path(tmp_path / name, "centerface") for name in ("a", "b")]
    jobs = [partial(train_on_photos, RECIPE, records, photos, target, "k", quiet=True) for target in targets]
    launch(jobs[0])
    with monkeypatch.context() as patch:
        stop_after(RECIPE.train.steps + 3, patch)
        with pytest.raises(Stopped):
            launch(jobs[1])
    launch(jobs[1])
    one, two = (read(target) for target in targets)
    assert all(np.array_equal(value, two.state[name]) for name, value in one.state.items())
    rows = targets[0].with_name("metrics-centerface.jsonl").read_text().splitlines()
    first, *_, last = (json.loads(line) for line in rows)
    for name in ("train_total", "train_offset", "train_landmark"):
        assert last[name] < 0.95 * first[name]
    assert math.isfinite(last["val_total"])
    image = synthetic.draw_scene(3, 1)[0]
    assert load_detector("centerface", tmp_path / "a", threshold=0.0)(image).boxes.shape[1] == 4
