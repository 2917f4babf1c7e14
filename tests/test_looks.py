"""The sizes at which a single-stage detector processes a photo; faces of every size are found once."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from run_command import run

from mtcnn.boxes import ios, iou
from mtcnn.candidates import Candidates, Step
from mtcnn.cascade import Detector
from mtcnn.detector_settings import DetectorSettings
from mtcnn.detectors import DETECTORS, looks
from mtcnn.detectors.anchors import RETINAFACE, anchors, encode_box_codes, encode_landmark_codes
from mtcnn.detectors.looks import Span, View, confirmed, covered, merge, views
from mtcnn.detectors.single_stage import SingleStage
from mtcnn.errors import SettingsError
from mtcnn.metrics.detections import DetectorMaker
from mtcnn.trace import judge, record
from mtcnn.types import ImageSize

Array = NDArray[Any]

FACE = (20, 20, 110, 135)  # of the cut-out below, about


@pytest.fixture(scope="module")
def face(photos: dict[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(photos["astronaut"][40:200, 160:290])


@pytest.fixture(scope="module")
def retinaface() -> Detector:
    return Detector(stage1="retinaface")


def enlarged(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC).astype(np.uint8)


# ---- which sizes


@pytest.mark.parametrize(
    ("photo", "wanted"),
    [
        ((480, 640), [(480, 640)]),
        ((724, 724), [(724, 724)]),
        ((300, 5000), [(300, 5000)]),  # no face is 5,000 pixels wide and 300 high
        ((768, 1024), [(768, 1024), (192, 256)]),
        ((1080, 1920), [(1080, 1920), (270, 480)]),
        ((3000, 4000), [(3000, 4000), (750, 1000), (188, 250)]),
        ((1, 1), [(1, 1)]),
    ],
)
def test_coarser_looks_until_the_largest_face_is_within_reach(
    photo: tuple[int, int], wanted: list[tuple[int, int]]
) -> None:
    seen = views(ImageSize(*photo), 512)
    assert [view.size for view in seen] == wanted and [view.look for view in seen] == list(range(len(wanted)))
    assert [view.size for view in views(ImageSize(*photo), 512, coarse=False)] == wanted[:1]


def test_size_ranges_of_looks_overlap() -> None:
    sizes = [(view.smallest, view.largest) for view in views(ImageSize(3000, 4000), 512)]
    assert sizes == [(0, 384), (256, 1536), (1024, np.inf)]
    assert [(view.smallest, view.largest) for view in views(ImageSize(480, 640), 512)] == [(0, np.inf)]


def test_the_longer_side_bounds_the_first_look() -> None:
    seen = views(ImageSize(3000, 4000), 512, max_side=1000)
    assert [view.size for view in seen] == [(750, 1000), (188, 250)]
    assert seen[1].smallest == looks.BEGINS * 512 * 4
    assert [view.size for view in views(ImageSize(300, 400), 512, max_side=1000)] == [(300, 400)]


def test_enlarged_first_looks() -> None:
    photo = ImageSize(300, 400)
    assert [view.size for view in views(photo, 512, enlarge=2.0)] == [(600, 800), (150, 200)]
    assert [view.size for view in views(photo, 512, coarse=False, enlarge=2.0)] == [(600, 800)]
    assert [view.size for view in views(photo, 512, max_side=500, enlarge=2.0)] == [(375, 500)]
    assert [view.size for view in views(photo, 512, max_side=200, enlarge=2.0)] == [(150, 200)]
    assert views(photo, 512, enlarge=2.0)[1].smallest == looks.BEGINS * 512 / 2


@pytest.mark.parametrize("name", list(DETECTORS))
def test_every_decoder_has_max_face(name: str) -> None:
    limit = DETECTORS[name].decoder.max_face
    assert 100 <= limit <= 1000
    assert len(views(ImageSize(round(limit), round(limit)), limit)) == 1
    assert len(views(ImageSize(round(limit * 2), round(limit * 2)), limit)) == 2


def test_tiles_cover_a_look_and_share_its_centres(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "TILED", 1_000_000)
    monkeypatch.setattr(looks, "TILE", 512)
    photo = ImageSize(1111, 1733)
    seen = views(photo, 100, coarse=False)
    assert len(seen) > 6
    shown, owners = np.zeros(photo, int), np.zeros(photo, int)
    y, x = np.mgrid[: photo.height, : photo.width].reshape(2, -1)
    points = np.stack([x, y, x + 1, y + 1], axis=1).astype(np.float32)
    for view in seen:
        assert view.rows.start % looks.GRID == view.columns.start % looks.GRID == 0
        shown[view.rows.start : view.rows.end, view.columns.start : view.columns.end] += 1
        owners += view.owns(points, photo).reshape(photo)
    assert shown.min() == 1 and (owners == 1).all()


# ---- parts of faces


def plain_covered(boxes: Array, logits: Array, look: Array) -> list[bool]:
    found = []
    for i, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        area, part = (x2 - x1) * (y2 - y1), False
        for j, (a1, b1, a2, b2) in enumerate(boxes.tolist()):
            inner = max(min(x2, a2) - max(x1, a1), 0) * max(min(y2, b2) - max(y1, b1), 0)
            whole = (a2 - a1) * (b2 - b1)
            if look[j] > look[i] and logits[j] >= 0 and area <= looks.PART * whole and inner >= looks.INSIDE * area:
                part = True
        found.append(part)
    return found


def test_parts_of_faces_equal_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    for count in (0, 1, 2, 60, 60, 60, 200):
        look = rng.integers(0, 3, count)
        corners, sides = rng.uniform(0, 60, (count, 2)), rng.uniform(4, 20, (count, 2)) * (1 + look[:, None]) ** 1.5
        boxes, logits = np.concatenate([corners, corners + sides], axis=1), rng.normal(size=count).round()
        wanted = plain_covered(boxes, logits, look)
        assert covered(boxes, logits, look).tolist() == wanted
        assert count < 60 or 0 < sum(wanted) < count


def test_a_part_is_small_inside_and_finer() -> None:
    boxes = np.array([[0, 0, 100, 100], [10, 10, 50, 50], [0, 0, 90, 90], [80, 80, 120, 120], [10, 60, 40, 90]], float)
    look, logits = np.array([1, 0, 0, 0, 1]), np.array([0.0, 9, 9, 9, 9])
    assert covered(boxes, logits, look).tolist() == [False, True, False, False, False]
    assert not covered(boxes, np.array([-0.1, 9, 9, 9, 9]), look).any()


# ---- a net that finds bright squares


class Squares:
    """A runtime that finds bright squares of up to `largest` pixels, with scores that grow with green."""

    def __init__(self, largest: float = 700) -> None:
        self.largest, self.shapes = largest, list[tuple[int, ...]]()

    def __call__(self, image: NDArray[np.uint8]) -> dict[str, Array]:
        self.shapes.append(image.shape[:2])
        anchor = anchors(image.shape[0], image.shape[1], RETINAFACE)
        logits = np.full(len(anchor), -18, np.float32)
        codes, points = np.zeros((len(anchor), 4), np.float32), np.zeros((len(anchor), 10), np.float32)
        # Only whole squares: one that is cut by a tile's edge is another shape.
        parts = cv2.connectedComponentsWithStats((image[..., 0] > 190).astype(np.uint8))
        for row, (x, y, width, height, _) in enumerate(parts[2][1:]):
            if max(width, height) <= self.largest and abs(width - height) <= 0.2 * width:
                box = np.array([[x, y, x + width, y + height]], np.float32)
                place = slice(row, row + 1)
                logits[place] = image[y + height // 2, x + width // 2, 1] / 50
                codes[place] = encode_box_codes(anchor[place], box)
                points[place] = encode_landmark_codes(
                    anchor[place], np.repeat((box[:, :2] + box[:, 2:]) / 2, 5, 0)[None]
                )
        return {"logits": logits, "boxes": codes, "landmarks": points}


def squares(photo: ImageSize, places: list[tuple[int, int, int]]) -> NDArray[np.uint8]:
    image = np.full((*photo, 3), 123, np.uint8)
    for number, (x, y, side) in enumerate(places):
        image[y : y + side, x : x + side] = (255, 250 - number, 255)
    return image


def at_work(**settings: Any) -> SingleStage:
    return SingleStage(Squares(), DETECTORS["retinaface"], **settings)


PLACES = [(20, 30, 40), (100, 400, 1200), (1500, 200, 300), (1350, 900, 600), (1999, 30, 24)]


def in_order(places: list[tuple[int, int, int]]) -> Array:
    return np.array([[x, y, x + side, y + side] for x, y, side in places], float)


def test_squares_of_every_size_once_in_pixels_of_the_photo() -> None:
    stage, image = at_work(), squares(ImageSize(1700, 2100), PLACES)
    found = stage(image)
    boxes = found.boxes[np.argsort(-found.scores, kind="stable")].astype(float)
    overlaps = iou(in_order(PLACES), boxes)
    assert overlaps.shape == (5, 5) and overlaps.max(axis=1).min() > 0.95
    assert found.landmarks is not None
    middles = (found.boxes[:, None, :2] + found.boxes[:, None, 2:]) / 2
    np.testing.assert_allclose(found.landmarks, np.broadcast_to(middles, (5, 5, 2)), atol=1e-2)
    assert stage.runtime.shapes == [(1728, 2112), (448, 544)]  # type: ignore[attr-defined]
    assert len(at_work(coarse=False)(image)) == 4  # without the largest


def test_one_list_of_candidates_for_detection_and_trace(retinaface: Detector) -> None:
    image = squares(ImageSize(1700, 2100), PLACES)
    found, seen = at_work()(image), at_work().candidates(image)
    for name in ("boxes", "scores", "landmarks"):
        np.testing.assert_array_equal(getattr(found, name), getattr(seen.faces(), name))
    assert [step.name for step in seen.steps][-4:] == [
        "size for its look", "coarser look", "parts of faces", "NMS across looks",
    ]  # fmt: skip
    detector = Detector(stage1="retinaface")
    detector.proposer = at_work(threshold=0.6)
    trace = record(detector, image)
    assert all(judge(trace, box).found for box in in_order(PLACES))


def test_a_shrunk_look_answers_in_pixels_of_the_photo() -> None:
    found = at_work(max_side=525, coarse=False)(squares(ImageSize(1700, 2100), PLACES))
    assert iou(in_order(PLACES[1:4]), found.boxes.astype(float)).max(axis=1).min() > 0.9


def test_tiles_find_what_the_whole_has(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, photo = np.random.default_rng(0), ImageSize(2050, 2900)
    places = [(x, y, int(rng.integers(10, 60))) for y in range(5, 1980, 67) for x in range(5, 2830, 67)]
    image = squares(photo, places[:240])
    whole = at_work()(image)
    monkeypatch.setattr(looks, "TILED", 1_000_000)
    monkeypatch.setattr(looks, "TILE", 1024)
    stage = at_work()
    tiled = stage(image)
    assert len(stage.runtime.shapes) > 8 and len(tiled) == len(whole) == 240  # type: ignore[attr-defined]
    order = [np.lexsort(np.round(found.boxes).T) for found in (whole, tiled)]
    np.testing.assert_allclose(tiled.boxes[order[1]], whole.boxes[order[0]], atol=1e-2)


# ---- the packaged net


@pytest.mark.parametrize("factor", [1, 2, 4, 8, 16])
def test_a_face_is_found_in_every_size(retinaface: Detector, face: NDArray[np.uint8], factor: int) -> None:
    """And no part of it; a blurred background may look like a face."""
    found, place = retinaface.detect(enlarged(face, factor)), np.array([FACE], float) * factor
    assert (ios(place, found.boxes.astype(float)) > 0.1).sum() == 1
    assert iou(place, found.boxes.astype(float))[0, 0] > 0.6
    assert found.landmarks is not None
    assert (found.landmarks[0] > found.boxes[0, :2]).all() and (found.landmarks[0] < found.boxes[0, 2:]).all()


def test_parts_of_a_large_face_are_not_found(face: NDArray[np.uint8]) -> None:
    image = enlarged(face, 12)
    once, both = (
        Detector(stage1="retinaface", coarse=coarse, thresholds=0.3).detect(image) for coarse in (False, True)
    )
    place = np.array([FACE], float) * 12
    assert (ios(place, once.boxes.astype(float)) > 0.6).sum() > 5  # what it is about
    assert (ios(place, both.boxes.astype(float)) > 0.6).sum() == 1


@pytest.mark.parametrize("name", ["retinaface", "yunet-n"])
def test_an_enlarged_image_shows_smaller_faces(photos: dict[str, NDArray[np.uint8]], name: str) -> None:
    """A face of 8 x 10 pixels, whose box and landmarks are in pixels of the image as it is."""
    small = cv2.resize(photos["astronaut"], (48, 48), interpolation=cv2.INTER_AREA)
    place = (np.array([FACE], float) + np.array([160, 40, 160, 40])) * 48 / 512
    found = Detector(detector=name, enlarge=2.0).detect(small)
    assert not len(Detector(detector=name).detect(small)) and len(found) == 1
    assert iou(place, found.boxes.astype(float))[0, 0] > 0.5
    assert found.landmarks is not None
    assert (found.landmarks[0] > found.boxes[0, :2]).all() and (found.landmarks[0] < found.boxes[0, 2:]).all()
    alike = Detector(detector=name).detect(cv2.resize(small, (96, 96), interpolation=cv2.INTER_LINEAR))
    assert iou(alike.boxes.astype(float) / 2, found.boxes.astype(float))[0, 0] > 0.9


def test_small_images_are_processed_once(retinaface: Detector, photos: dict[str, NDArray[np.uint8]]) -> None:
    once = Detector(stage1="retinaface", coarse=False, thresholds=0.02)
    both = Detector(stage1="retinaface", thresholds=0.02)
    for image in (photos["astronaut"], enlarged(photos["astronaut"][:480], 1.25)):
        for name in ("boxes", "scores", "landmarks"):
            np.testing.assert_array_equal(getattr(once.detect(image), name), getattr(both.detect(image), name))
        assert len(once.detect(image))


def test_alone_in_a_list_copied_and_in_torch(retinaface: Detector, face: NDArray[np.uint8]) -> None:
    image = enlarged(face, 8)
    one = retinaface.detect(image)
    for other in (
        retinaface.detect([image, face])[0],
        pickle.loads(pickle.dumps(retinaface)).detect(image),
        Detector(stage1="retinaface", coarse=True, max_side=5000).detect(image),
    ):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.scores, other.scores)
    for engine in ("torch", "onnx"):
        np.testing.assert_allclose(
            Detector(stage1="retinaface", engine=engine).detect(image).boxes, one.boxes, atol=0.1
        )


# ---- settings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_side": 640}, "max_side is 640; expected none for pnet"),
        ({"coarse": True}, "coarse is True; expected none for pnet"),
        ({"detector": "retinaface", "max_side": 8}, "max_side is 8; expected a number of at least 32"),
        ({"enlarge": 2.0}, "enlarge is 2.0; expected none for pnet"),
        ({"detector": "retinaface", "enlarge": 0.5}, "enlarge is 0.5; expected a number from 1 to 8"),
        ({"detector": "retinaface", "enlarge": "2"}, "enlarge is '2'; expected a number from 1 to 8"),
        ({"detector": "retinaface", "coarse": "no"}, "coarse is 'no'; expected True or False"),
    ],
)
def test_invalid_settings(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        DetectorSettings(**given)


def test_an_evaluation_looks_once_by_default() -> None:
    assert Detector(stage1="retinaface").proposer.coarse is True  # type: ignore[attr-defined]
    assert DetectorMaker({"stage1": "retinaface"}).to_dict()["coarse"] is False
    assert DetectorMaker({"stage1": "retinaface", "coarse": True}).to_dict()["coarse"] is True
    assert DetectorMaker({}).to_dict()["coarse"] is None
    assert "enlarge" not in DetectorMaker({"stage1": "retinaface"}).to_dict()  # which names what is cached
    assert DetectorMaker({"stage1": "retinaface", "enlarge": 2.0}).to_dict()["enlarge"] == 2.0
    assert DetectorMaker({"stage1": "retinaface"})().detect.__self__.proposer.coarse is False  # type: ignore[attr-defined]


def test_the_options_of_the_command(tmp_path: Path, face: NDArray[np.uint8]) -> None:
    cv2.imwrite(str(tmp_path / "large.png"), enlarged(face, 12)[..., ::-1])
    words = ("detect", str(tmp_path / "large.png"), "--detector", "retinaface", "--quiet")
    first = [run(*words, *more).output.splitlines()[0] for more in ((), ("--no-coarse",), ("--max-side", "400"))]
    assert first[0].endswith(": 1 face") and first[2] == first[0] and first[1] != first[0]


def test_an_entry_without_anchors_is_asked_for_its_largest_face() -> None:
    decoder = replace(DETECTORS["yunet-n"].decoder, max_face=100.0)  # type: ignore[type-var]
    stage = SingleStage(Squares(), replace(DETECTORS["yunet-n"], decoder=decoder))
    assert [view.size for view in views(ImageSize(400, 400), stage.spec.decoder.max_face)] == [(400, 400), (100, 100)]


# ---- a tile and the photo


def test_a_tile_is_moved_to_its_place_in_the_photo() -> None:
    """A tile that begins at another row or another column, and one of a smaller look."""
    box, points = (
        np.array([[1, 2, 11, 22]], np.float32),
        np.array([[[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]], np.float32),
    )
    step = Step("threshold", np.array([0]), 1)
    seen = Candidates(box, box, np.zeros(1), None, (step,), lambda index: points[index])
    whole, photo = Span(0, 400, -np.inf, np.inf), ImageSize(400, 400)
    for size, rows, columns, corner, factor in (
        (photo, whole, whole, (0, 0), 1),
        (photo, Span(128, 400, 0, 9), whole, (0, 128), 1),
        (photo, whole, Span(256, 400, 0, 9), (256, 0), 1),
        (ImageSize(100, 200), Span(50, 100, 0, 9), Span(10, 200, 0, 9), (10, 50), (2, 4)),
    ):
        found = View(0, size, rows, columns).in_photo(seen, photo)
        moved = (points + corner) * np.array(factor)
        np.testing.assert_array_equal(
            found.boxes, (box + np.tile(corner, 2)) * np.tile(np.array(factor), 2 if size != photo else 1)
        )
        np.testing.assert_array_equal(found.landmarks(np.array([0])), moved)


def test_a_view_of_a_look_is_contiguous_and_the_whole_no_copy() -> None:
    look = np.zeros((60, 80, 3), np.uint8)
    size, whole = ImageSize(60, 80), (Span(0, 60, 0, 9), Span(0, 80, 0, 9))
    assert np.shares_memory(View(0, size, *whole).of(look), look)
    tile = View(0, size, whole[0], Span(16, 80, 0, 9)).of(look)
    assert tile.shape == (60, 64, 3) and tile.flags.c_contiguous
    read = look[:, ::-1]
    assert np.shares_memory(View(0, size, *whole).of(read), look)


def test_tiles_begin_on_the_largest_stride() -> None:
    seen = views(ImageSize(4000, 9000), 512, coarse=False)
    assert {view.rows.start for view in seen} == {0, 2304} and {view.columns.start for view in seen} == {
        0,
        2304,
        4608,
        6912,
    }
    assert all(view.rows.end - view.rows.start <= 3072 for view in seen)
    assert len(views(ImageSize(5000, 5000), 512, coarse=False)) == 1  # 25 megapixels
    assert len(views(ImageSize(5000, 5001), 512, coarse=False)) == 4


def test_a_box_that_two_looks_could_see_needs_both() -> None:
    """Sizes that only the finer look sees, and the coarsest look, are not asked for."""
    boxes = np.array(
        [
            [0, 0, 200, 260],  # of look 0, as large as the faces of look 1, which has it
            [500, 0, 700, 260],  # which has it elsewhere only
            [500, 0, 700, 250],  # too small for look 1
            [10, 10, 210, 250],  # look 1: the first box; its own size is checked before
            [560, 90, 860, 390],  # look 1: an IoU of 0.2 with the second box
            [0, 0, 1900, 2100],  # look 2 is the coarsest
        ],
        np.float32,
    )
    look = np.array([0, 0, 0, 1, 1, 2])
    found = confirmed(boxes, look, np.array([0, 256, 1024]))
    assert found.tolist() == [True, False, True, True, True, True]
    assert confirmed(boxes[:0], look[:0], np.array([0, 256])).tolist() == []
    assert confirmed(boxes[:2], look[:2], np.array([0, 256])).tolist() == [False, False], "it sees nothing at all"


def test_steps_without_a_limit_show_none() -> None:
    box = np.array([[0, 0, 10, 10]], np.float32)
    part = Candidates(box, box, np.zeros(1), None, (Step("threshold", np.array([0]), 1),))
    photo = ImageSize(3000, 4000)
    found = merge([part] * 3, views(photo, 512), photo, 0.4)
    assert [(step.name, step.limit) for step in found.steps] == [
        ("threshold", 0.0), ("size for its look", 0.0), ("coarser look", 0.3), ("parts of faces", 0.5),
        ("NMS across looks", 0.4),
    ]  # fmt: skip


def test_the_command_enlarges(tmp_path: Path, photos: dict[str, NDArray[np.uint8]]) -> None:
    cv2.imwrite(
        str(tmp_path / "s.png"), cv2.resize(photos["astronaut"], (48, 48), interpolation=cv2.INTER_AREA)[..., ::-1]
    )
    words = ("detect", str(tmp_path / "s.png"), "--detector", "retinaface", "--quiet")
    first = [run(*words, *more).output.splitlines()[0] for more in ((), ("--enlarge", "2"))]
    assert first[0].endswith(": 0 faces") and first[1].endswith(": 1 face")
    wrong = run("detect", str(tmp_path / "s.png"), "--enlarge", "2")
    assert wrong.exit_code == 2 and "enlarge is 2.0; expected none for pnet" in wrong.stderr
