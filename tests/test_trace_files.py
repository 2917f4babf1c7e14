"""The outputs of a trace: pictures, JSON, and lines on stderr."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from run_command import visible
from sample_data import block, write_text

from mtcnn.cascade import Detector
from mtcnn.images import read_image
from mtcnn.metrics.wider_truth import GroundTruth
from mtcnn.stream.items import Item
from mtcnn.stream.sinks.trace_files import TraceFiles, truth_of
from mtcnn.trace import Trace, judge, pictures, record
from mtcnn.trace.pictures import DROPPED, LEAST_SIDE, TRUTH
from mtcnn.types import Faces
from prepare.synthetic import draw_scene

RGB = NDArray[np.uint8]
NAMES = ["1-proposals", "2-pnet", "3-rnet", "4-onet"]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector()


@pytest.fixture(scope="module")
def drawn() -> tuple[RGB, NDArray[Any]]:
    """A scene of 240 x 320 pixels with two faces, and their boxes."""
    image, boxes, _ = draw_scene(0, 3)
    return image, boxes


@pytest.fixture(scope="module")
def trace(detector: Detector, drawn: tuple[RGB, NDArray[Any]]) -> Trace:
    return record(detector, drawn[0])


# ---- pictures


def below_caption(picture: RGB, height: int) -> RGB:
    return picture[len(picture) - height :]


def test_a_picture_for_each_stage(trace: Trace, drawn: tuple[RGB, NDArray[Any]]) -> None:
    image = drawn[0]
    before = image.copy()
    made = pictures(image, trace)
    assert list(made) == NAMES
    assert np.array_equal(image, before)
    for picture in made.values():
        assert picture.shape[1] == 2 * 320 == LEAST_SIDE  # enlarged
        assert 480 < picture.shape[0] < 600
        assert (below_caption(picture, 480) != below_caption(made["4-onet"], 480)).any() or picture is made["4-onet"]


def test_large_images_keep_their_size(detector: Detector, photos: dict[str, RGB]) -> None:
    photo = np.ascontiguousarray(np.tile(photos["rocket"], (1, 2, 1)))
    made = pictures(photo, record(detector, photo))
    assert {picture.shape[1] for picture in made.values()} == {photo.shape[1]}


def colours(picture: RGB) -> set[tuple[int, ...]]:
    packed = np.unique(picture.reshape(-1, 3) @ np.array([1 << 16, 1 << 8, 1]))  # rows are slow to sort
    return {(value >> 16, value >> 8 & 255, value & 255) for value in packed.tolist()}


@pytest.mark.parametrize(("side", "zoom"), [(350, 2), (700, 1)])
def test_proposals_are_coloured_by_level(detector: Detector, side: int, zoom: int) -> None:
    """On a plain image every line is seen: each cell at its place, in the colour that the caption gives its size."""
    image = np.zeros((side, side, 3), np.uint8)
    trace = record(detector, image)
    seen = trace.stages[0].candidates
    assert seen is not None
    kept = seen.steps[0].kept
    kept[:] = False
    chosen = [int(np.flatnonzero(seen.level == level)[-1]) for level in (0, 3)]  # at the far corner
    kept[chosen] = True
    picture = below_caption(pictures(image, trace)["1-proposals"], 700)
    rows, columns = np.nonzero(picture.any(axis=2))
    places = zoom * seen.boxes[chosen]
    assert (columns.min(), rows.min()) == pytest.approx(places[1, :2], abs=2)
    lines = [picture[int(y1) + 5, int(x1) - 1 : int(x1) + 2].sum(axis=0, dtype=float) for x1, y1, _, _ in places]
    hues = np.array([line / np.linalg.norm(line) for line in lines])  # a line between pixels is darker, its hue is not
    assert hues[0] @ hues[1] < 0.9
    caption = np.array(
        [colour for colour in colours(pictures(image, trace)["1-proposals"][:-700]) if max(colour) > 100]
    )
    known = caption / np.linalg.norm(caption, axis=1, keepdims=True)
    assert (hues @ known.T).max(axis=1).min() > 0.995


def test_dropped_boxes_are_orange_and_truth_is_green(trace: Trace, drawn: tuple[RGB, NDArray[Any]]) -> None:
    image, boxes = drawn
    verdicts = [judge(trace, box) for box in boxes]
    plain, judged = pictures(image, trace), pictures(image, trace, verdicts)
    for name in NAMES:
        assert TRUTH not in colours(plain[name])
        assert TRUTH in colours(judged[name])
    assert DROPPED in colours(plain["3-rnet"])
    assert DROPPED not in colours(plain["2-pnet"])
    x1, y1 = (2 * boxes[0, :2]).round().astype(int)
    picture = below_caption(judged["4-onet"], 480)
    line = picture[y1 - 2 : y1 + 3, x1 + 10 : x1 + 30].astype(int)
    assert np.abs(line - TRUTH).sum(axis=2).min() < 80  # it lies between pixels


def test_without_detections_the_picture_is_unchanged(detector: Detector) -> None:
    image = np.full((700, 700, 3), 90, np.uint8)
    made = pictures(image, record(detector, image, Faces.empty()))
    assert np.array_equal(below_caption(made["4-onet"], 700), image)


# ---- files


def truth_file(path: Path, boxes: NDArray[Any]) -> Path:
    rows = [[x1, y1, x2 - x1, y2 - y1, 0, 0, 0, 0, 0, 0] for x1, y1, x2, y2 in boxes]
    return write_text(path, block("0--Drawn/scene.jpg", rows) + block("0--Drawn/empty.jpg", [[0] * 10]))


def test_files(
    detector: Detector, drawn: tuple[RGB, NDArray[Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, boxes = drawn
    source = tmp_path / "scene.jpg"
    faces = detector.detect(image)
    sink = TraceFiles(tmp_path / "why", [source], detector, [tuple(boxes[0]), (200.0, 20.0, 240.0, 60.0)])
    sink.write(Item(source, image, faces))
    sink.close()
    assert visible(tmp_path / "why") == [
        *(f"scene-{name}.jpg" for name in NAMES), "scene.json",
    ]  # fmt: skip
    assert read_image(tmp_path / "why" / "scene-3-rnet.jpg").shape[1] == 640
    found = json.loads((tmp_path / "why" / "scene.json").read_text())
    assert (found["image"], found["width"], found["height"]) == (str(source), 320, 240)
    assert found["faces"] == faces.to_dicts()
    assert [stage["stage"] for stage in found["stages"]] == ["pnet", "rnet", "onet"]
    assert found["stages"][2]["found"] == len(faces)
    assert all(stage["ms"] > 0 for stage in found["stages"])
    assert [face["found"] for face in found["truth"]] == [True, False]
    first, *rest = capsys.readouterr().err.splitlines()
    pnet, rnet = found["stages"][:2]
    assert first.startswith(f"mtcnn: {source}: pnet {pnet['after threshold']} of {pnet['seen']} cells, {pnet['found']}")
    assert f"; rnet {rnet['given']} to {rnet['found']} in {rnet['ms']:.1f} ms; " in first
    assert first.endswith(f"; {len(faces)} faces")
    x1, y1, x2, y2 = (round(float(value)) for value in boxes[0])
    assert rest[0].startswith(f"mtcnn: {source}: face [{x1} {y1} {x2} {y2}] found as face ")
    assert rest[1] == f"mtcnn: {source}: face [200 20 240 60] lost by pnet: {found['truth'][1]['why']}"
    assert rest[2] == "mtcnn: 1 of 2 faces found, 1 lost by pnet"


def test_labels_of_many_images(
    detector: Detector, drawn: tuple[RGB, NDArray[Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, boxes = drawn
    truth = GroundTruth.load(truth_file(tmp_path / "labels.txt", np.concatenate([boxes, [[0.0, 0.0, 8.0, 8.0]]])))
    sources = [tmp_path / "0--Drawn" / name for name in ("scene.jpg", "empty.jpg", "stranger.jpg")]
    sink = TraceFiles(tmp_path / "why", sources, detector, truth=truth)
    for source in sources:
        sink.write(Item(source, image, detector.detect(image)))
    sink.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == f"mtcnn: {len(boxes)} of {len(boxes) + 1} faces found, 1 lost by pnet"
    told = [line for line in lines if "face [" in line]  # those found are not told
    assert len(told) == 1
    assert "face [0 0 8 8] lost by pnet: no cell covers it" in told[0]
    assert [line for line in lines if "not in the labels" in line] == [
        f"mtcnn: {sources[2]}: not in the labels; expected 0--Drawn/stranger among them"
    ]


def test_frames_of_a_video(detector: Detector, drawn: tuple[RGB, NDArray[Any]], tmp_path: Path) -> None:
    source = tmp_path / "clip.mp4"
    sink = TraceFiles(tmp_path / "why", [source], detector)
    sink.write(Item(source, drawn[0], Faces.empty(), frame=7, time=0.28, fps=25.0))
    sink.close()
    assert (tmp_path / "why" / "clip-frame000007-1-proposals.jpg").is_file()
    found = json.loads((tmp_path / "why" / "clip-frame000007.json").read_text())
    assert (found["frame"], found["time"], found["faces"]) == (7, 0.28, [])


def test_truth_is_found_by_event_or_by_a_name_that_is_alone(tmp_path: Path) -> None:
    rows = [[1, 2, 3, 4, 0, 0, 0, 0, 0, 0], [5, 5, 0, 9, 0, 0, 0, 0, 0, 0]]
    text = block("a/one.jpg", rows) + block("a/two.jpg", rows) + block("b/two.jpg", [[9, 9, 1, 1, 0, 0, 0, 0, 0, 0]])
    truth = GroundTruth.load(write_text(tmp_path / "labels.txt", text))
    assert truth_of(truth, Path("x/a/one.jpg")) == [[1, 2, 4, 6]]  # a box without width is none
    assert truth_of(truth, Path("elsewhere/one.png")) == [[1, 2, 4, 6]]
    assert truth_of(truth, Path("x/b/two.jpg")) == [[9, 9, 10, 10]]
    assert truth_of(truth, Path("c/two.jpg")) is None
    assert truth_of(truth, Path("three.jpg")) is None


def test_invalid_boxes(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`trace_box` 5 0 2 9; expected pixels x1 y1 x2 y2 with x1 < x2"):
        TraceFiles(tmp_path, [Path("a.jpg")], detector, [(5, 0, 2, 9)])
    with pytest.raises(ValueError, match="`trace_box` is a face of one image and there are 2"):
        TraceFiles(tmp_path, [Path("a.jpg"), Path("b.jpg")], detector, [(1, 2, 3, 4)])
