"""The whole chain with the real command, from drawn faces to detection of unseen ones.

The recipes make weights in half a minute that a photo would laugh at; what is held here is that every part
does its work and fits the next: crops, mining, gating, offsets, landmarks, thresholds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import mtcnn
from reference import plain_iou

from mtcnn.cascade import Detector
from mtcnn.types import Faces
from prepare.synthetic import draw_scene

SCENES, UNSEEN = 120, 60
NODES = ["crops-12", "pnet-draft", "crops-12-hard", "pnet", "crops-24", "rnet", "crops-48", "onet"]
RECIPES = {
    "models-12/recipe-pnet.toml": """
net = "pnet"
crops = {negatives = 60, near = 5, tries = 6, val = 10}
mine = {thresholds = [0.3], max_neg = 100, max_part = 20, max_pos = 20}
draft = {epochs = 1, steps = 150, batch = 128, lr = 4e-3, warmup = 30}
train = {epochs = 2, steps = 200, batch = 128, lr = 4e-3, warmup = 30, recall = 0.97}
""",
    "models-24/recipe-rnet.toml": """
net = "rnet"
crops = {negatives = 15, near = 3, tries = 6, val = 10}
mine = {thresholds = [0.4], max_neg = 80, max_part = 30, max_pos = 30}
train = {epochs = 2, steps = 150, batch = 128, lr = 3e-3, warmup = 30, recall = 0.97}
""",
    "models-48/recipe-onet.toml": """
net = "onet"
crops = {negatives = 5, near = 3, tries = 6, landmarks = 4, val = 10}
mine = {thresholds = [0.4, 0.2], max_neg = 40, max_part = 30, max_pos = 30}

[train]
epochs = 3
steps = 150
batch = 64
lr = 3e-3
warmup = 30
recall = 0.97
landmark = 1.0
mix = {landmark = 2}
""",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which `mtcnn run` has made everything, in ./work."""
    folder = tmp_path_factory.mktemp("end_to_end")
    for name, text in RECIPES.items():
        path = folder / "work" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    done = mtcnn("run", "--data", f"synthetic:{SCENES}", "--workers", 1, "--quiet", folder=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"made {', '.join(NODES)}\n"
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> list[tuple[Faces, Any, Any]]:
    """What is found in scenes of another series, with the true boxes and landmarks."""
    detector = Detector(models=folder / "work", thresholds=(0.3, 0.3, 0.5))
    scenes = [draw_scene(1, index) for index in range(UNSEEN)]
    return [(detector.detect(image), boxes, points) for image, boxes, points in scenes]


def matches(faces: Faces, boxes: Any) -> list[tuple[int, int]]:
    """Pairs of detection and face with IoU of 0.5 or more, the best detection first, each face once."""
    pairs: list[tuple[int, int]] = []
    for row in range(len(faces)):
        left = [g for g in range(len(boxes)) if g not in {taken for _, taken in pairs}]
        overlaps = {g: plain_iou(faces.boxes[row].tolist(), boxes[g].tolist()) for g in left}
        best = max(overlaps, key=overlaps.__getitem__, default=-1)
        if best >= 0 and overlaps[best] >= 0.5:
            pairs.append((row, best))
    return pairs


def test_unseen_faces_are_found(found: list[tuple[Faces, Any, Any]]) -> None:
    seen = hits = alarms = 0
    for faces, boxes, _ in found:
        pairs = matches(faces, boxes)
        large = {g for g in range(len(boxes)) if max(boxes[g][2:] - boxes[g][:2]) >= 24}  # min_face is 20
        seen += len(large)
        hits += len(large & {g for _, g in pairs})
        alarms += len(faces) - len(pairs)
    assert seen > 60
    assert hits / seen >= 0.8, f"{hits} of {seen} faces"
    assert alarms / UNSEEN <= 0.2, f"{alarms} false alarms in {UNSEEN} scenes"


def test_boxes_and_landmarks_are_accurate(found: list[tuple[Faces, Any, Any]]) -> None:
    overlaps, errors = [], []
    for faces, boxes, points in found:
        assert faces.landmarks is not None
        for row, g in matches(faces, boxes):
            overlaps.append(plain_iou(faces.boxes[row].tolist(), boxes[g].tolist()))
            distance = np.linalg.norm(faces.landmarks[row] - points[g], axis=1).mean()
            errors.append(distance / np.linalg.norm(points[g][1] - points[g][0]))
    assert np.mean(overlaps) >= 0.75
    assert np.mean(errors) <= 0.17, "of the distance of the eyes"


def test_everything_is_fresh_and_stays_fresh(folder: Path) -> None:
    status = mtcnn("status", folder=folder)
    assert [line.split()[:2] for line in status.stdout.splitlines()] == [[name, "fresh"] for name in NODES]
    again = mtcnn("run", "--quiet", folder=folder)
    assert (again.returncode, again.stdout, again.stderr) == (0, "all fresh\n", "")


def test_files_of_a_run(folder: Path) -> None:
    work = folder / "work"
    for name in (
        "draft/models-12/weights-pnet.safetensors",
        "models-48/curves-onet.png",
        "models-24/metrics-rnet.jsonl",
    ):
        assert (work / name).stat().st_size > 0
    rows = (work / "models-48" / "metrics-onet.jsonl").read_text().splitlines()
    assert len(rows) == 3
    assert not list(work.rglob(".*")), "no drafts"
