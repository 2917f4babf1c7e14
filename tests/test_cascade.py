"""The cascade: with nets made by hand for exact boxes, and with random weights for unusual images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mtcnn import boxes as box
from mtcnn import refiner
from mtcnn.cascade import Detector
from mtcnn.checkpoint import weights_path
from mtcnn.errors import CheckpointError, ImageError
from mtcnn.images import as_rgb, read_image
from mtcnn.nets import load_net
from mtcnn.nms import nms
from mtcnn.proposer import PNetProposer
from mtcnn.refiner import NetRefiner
from mtcnn.types import Faces, NetOutput
from mtcnn.weights import SIZES

Image = NDArray[Any]
SURE = 12.0  # a logit


def noise(*shape: int, dtype: Any = np.uint8) -> Image:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def black(height: int, width: int) -> Image:
    return np.zeros((height, width, 3), np.uint8)


def faces_at(*boxes: tuple[float, ...]) -> Faces:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return Faces(array, np.linspace(0.9, 0.8, len(array), dtype=np.float32))


def map_size(x: Tensor) -> tuple[int, int]:
    return math.ceil((x.shape[2] - 2) / 2) - 4, math.ceil((x.shape[3] - 2) / 2) - 4


class FiringPNet(nn.Module):
    """Fires at given cells, by the size of the level: {(height, width): {(row, column): logit}}."""

    def __init__(
        self, cells: dict[tuple[int, int], dict[tuple[int, int], float]], offsets: tuple[float, ...] = (0, 0, 0, 0)
    ) -> None:
        super().__init__()
        self.cells, self.constant = cells, torch.tensor(offsets, dtype=torch.float32)

    def forward(self, x: Tensor) -> NetOutput:
        logits = torch.full((1, *map_size(x)), -SURE)
        for (row, column), logit in self.cells.get((x.shape[2], x.shape[3]), {}).items():
            logits[0, row, column] = logit
        offsets = torch.zeros(1, 4, *map_size(x))
        for row, column in self.cells.get((x.shape[2], x.shape[3]), {}):
            offsets[0, :, row, column] = self.constant
        return NetOutput(logits, offsets, None)


class WhitePNet(nn.Module):
    """Fires where all 12 x 12 pixels are white."""

    def forward(self, x: Tensor) -> NetOutput:
        mean = nn.functional.avg_pool2d(x.mean(dim=1, keepdim=True), 12, 2, ceil_mode=True)[:, 0]
        return NetOutput((mean - 0.9) * 200, torch.zeros(1, 4, *mean.shape[1:]), None)


class ShownNet(nn.Module):
    """RNet or ONet: records its crops; the logit grows with their brightness, and other outputs are constant.

    White gives a logit of about 4, black one of about -4.
    """

    def __init__(self, offsets: tuple[float, ...] = (0, 0, 0, 0), landmarks: Any = None) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        self.constant = torch.tensor(offsets, dtype=torch.float32)
        self.points = None if landmarks is None else torch.tensor(landmarks, dtype=torch.float32)

    def forward(self, x: Tensor) -> NetOutput:
        self.seen.append(x.clone())
        count = len(x)
        points = None if self.points is None else self.points.expand(count, 5, 2)
        return NetOutput(x.mean(dim=(1, 2, 3)) * 4, self.constant.expand(count, 4), points)


class NumberedNet(ShownNet):
    """Outputs depend on the index of a crop: box i moves right by i eighths, its landmarks by i twentieths."""

    def forward(self, x: Tensor) -> NetOutput:
        output, places = super().forward(x), torch.arange(len(x), dtype=torch.float32)
        offsets = places[:, None] * torch.tensor([0.125, 0, 0.125, 0])
        points = None if output.landmarks is None else output.landmarks + places[:, None, None] * 0.05
        return NetOutput(output.face_logits, offsets, points)


# ---- PNet


@pytest.mark.parametrize(
    ("level", "step_x", "step_y"),
    [((120, 160), 1, 1), ((60, 80), 2, 2), ((30, 40), 4, 4), ((15, 20), 8, 8)],
)
def test_a_cell_is_12_pixels_at_stride_2_of_its_level(level: tuple[int, int], step_x: float, step_y: float) -> None:
    cell = (1, 3) if level[0] > 15 else (1, 2)
    propose = PNetProposer(FiringPNet({level: {cell: SURE}}), min_face=12, scale_factor=0.5)
    faces = propose(black(120, 160))
    r, c = cell
    expected = [2 * c * step_x, 2 * r * step_y, (2 * c + 12) * step_x, (2 * r + 12) * step_y]
    np.testing.assert_allclose(faces.boxes, [expected])
    np.testing.assert_allclose(faces.scores, [1 / (1 + math.exp(-SURE))], rtol=1e-6)
    assert faces.landmarks is None


def test_rounded_levels_have_their_own_steps() -> None:
    """101 x 67 pixels at half size are rounded up to 51 x 34, and so their steps are below 2, and not the same."""
    propose = PNetProposer(FiringPNet({(51, 34): {(0, 0): SURE, (15, 10): SURE}}), min_face=24, scale_factor=0.5)
    y, x = 101 / 51, 67 / 34
    expected = [[0, 0, 12 * x, 12 * y], [20 * x, 30 * y, 32 * x, 42 * y]]
    np.testing.assert_allclose(propose(black(101, 67)).boxes, expected, rtol=1e-6)


def test_offsets_move_a_proposal_by_its_size() -> None:
    net = FiringPNet({(30, 40): {(1, 3): SURE}}, offsets=(0.1, -0.25, 0.5, 1))
    faces = PNetProposer(net, min_face=48, scale_factor=0.5)(black(120, 160))
    x1, y1, side = 6 * 4, 2 * 4, 48
    expected = [[x1 + 0.1 * side, y1 - 0.25 * side, x1 + side + 0.5 * side, y1 + side + side]]
    np.testing.assert_allclose(faces.boxes, expected, rtol=1e-6)


@pytest.mark.parametrize("side", [24, 36, 60, 91])
@pytest.mark.parametrize("corner", [(48, 24), (0, 0), (37, 51)])
def test_a_white_square_is_found_at_any_size(side: int, corner: tuple[int, int]) -> None:
    image = black(150, 201)
    x, y = corner
    image[y : y + side, x : x + side] = 255
    faces = PNetProposer(WhitePNet(), min_face=12, scale_factor=0.87)(image)
    square = np.array([[x, y, x + side, y + side]])
    # A cell surely fits from 14 pixels of the level on, for they are 2 apart; at the next level these are 16.1.
    assert box.iou(faces.boxes, square).max(initial=0) > (12 / 16.1) ** 2
    assert (box.ios(faces.boxes, square + np.array([-3, -3, 3, 3])) > 0.99).all()


def test_threshold_of_pnet_is_inclusive() -> None:
    net = FiringPNet({(24, 24): {(0, 0): 0.0, (5, 5): -0.01}})
    faces = PNetProposer(net, min_face=12, scale_factor=0.6, threshold=0.5)(black(24, 24))
    assert faces.scores.tolist() == [0.5]
    net = FiringPNet({(24, 24): {(0, 0): 30.0, (5, 5): -30.0}})
    assert len(PNetProposer(net, 12, 0.6, threshold=1)(black(24, 24))) == 0
    assert len(PNetProposer(net, 12, 0.6, threshold=0)(black(24, 24))) >= 2  # and the -12 of all other cells


def test_nms_within_a_level_is_at_one_half() -> None:
    """Two columns apart, cells share 8 of 12 columns: an IoU of just 1/2. Next to each other aslant: 0.53."""
    for other, left in (((0, 1), [3.0]), ((1, 1), [3.0]), ((0, 2), [3.0, 2.0]), ((0, 3), [3.0, 2.0])):
        net = FiringPNet({(24, 40): {(0, 0): 2.0, other: 3.0}})
        faces = PNetProposer(net, 12, 0.4)(black(24, 40))
        np.testing.assert_allclose(faces.scores, [1 / (1 + math.exp(-logit)) for logit in left], rtol=1e-6)


def test_nms_across_levels_is_at_seven_tenths() -> None:
    levels = {(60, 60): {(0, 0): 2.0}, (48, 48): {(0, 0): 3.0}}  # 12 and 15 pixels: IoU 0.64
    assert len(PNetProposer(FiringPNet(levels), 12, 0.8)(black(60, 60))) == 2
    levels = {(60, 60): {(0, 0): 2.0}, (53, 53): {(0, 0): 3.0}}  # 12 and 13.6 pixels: IoU 0.78
    faces = PNetProposer(FiringPNet(levels), 12, 0.875)(black(60, 60))
    np.testing.assert_allclose(faces.boxes, [[0, 0, 12 * 60 / 53, 12 * 60 / 53]], rtol=1e-6)


@pytest.mark.parametrize(
    ("factor", "settings", "calls"),
    [
        (0.5, {}, 1), (0.709, {}, 1), (0.8, {}, 1), (0.86, {}, 2), (0.5, {"level_iou": 0.7}, 2),
        (0.709, {"nms_iou": 0.4}, 2),
    ],
)  # fmt: skip
def test_nms_across_levels_is_left_out_where_no_cells_overlap_enough(
    factor: float, settings: dict[str, Any], calls: int, random_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is the same, in the same order."""
    counted: list[int] = []

    def counting(boxes: Any, *arguments: Any, **named: Any) -> Any:
        counted.append(len(boxes))
        return nms(boxes, *arguments, **named)

    monkeypatch.setattr("mtcnn.proposer.nms", counting)
    net = load_net(weights_path(random_models, "pnet"), "pnet")
    propose = PNetProposer(net, 15, factor, 0.45, **settings)
    found = propose(noise(150, 170, 3))
    assert len(counted) == calls and len(found) > 100
    monkeypatch.setattr(PNetProposer, "_apart", lambda *_: False)
    wanted = propose(noise(150, 170, 3))
    np.testing.assert_array_equal(found.boxes, wanted.boxes)
    np.testing.assert_array_equal(found.scores, wanted.scores)


def test_per_level_keeps_the_best_of_each_level() -> None:
    cells = {(0, 6 * i): float(i) for i in range(5)}
    net = FiringPNet({(24, 70): cells, (12, 35): {(0, 0): 2.5, (0, 6): 1.5}})
    faces = PNetProposer(net, 12, 0.5, per_level=2)(black(24, 70))
    np.testing.assert_allclose(faces.scores, [1 / (1 + math.exp(-v)) for v in (4, 3, 2.5, 1.5)], rtol=1e-6)
    assert faces.boxes[:, 0].tolist() == [48, 36, 0, 24]
    assert len(PNetProposer(net, 12, 0.5, per_level=0)(black(24, 70))) == 0


def test_no_proposals_have_the_right_shapes() -> None:
    quiet = PNetProposer(FiringPNet({}), min_face=20)
    for image in (black(100, 100), black(5, 5), black(5, 500)):
        faces = quiet(image)
        assert (faces.boxes.shape, faces.scores.shape, faces.landmarks) == ((0, 4), (0,), None)


# ---- RNet and ONet


def test_candidates_become_squares_and_move() -> None:
    image = np.full((100, 100, 3), 255, np.uint8)
    net = ShownNet(offsets=(0.1, 0, -0.1, 0.25))
    faces = NetRefiner(net, "rnet")(image, faces_at((10, 20, 30, 30)))  # the square (10, 15, 30, 35)
    np.testing.assert_allclose(faces.boxes, [[12, 15, 28, 40]], rtol=1e-6)
    np.testing.assert_allclose(faces.scores, [1 / (1 + math.exp(-4 * 127.5 / 128))], rtol=1e-6)
    assert faces.landmarks is None
    assert [tuple(x.shape) for x in net.seen] == [(1, 3, 24, 24)]


def test_landmarks_are_relative_to_the_input_square() -> None:
    """And not to the regressed box."""
    targets = [[0, 0], [1, 1], [0.5, 0.5], [0.25, 0.75], [1.5, -0.5]]
    net = ShownNet(offsets=(0.5, 0.5, 0.5, 0.5), landmarks=targets)
    faces = NetRefiner(net, "onet")(np.full((100, 100, 3), 255, np.uint8), faces_at((10, 20, 50, 40)))
    assert faces.landmarks is not None
    # The square is (10, 10, 50, 50).
    np.testing.assert_allclose(faces.landmarks, [[[10, 10], [50, 50], [30, 30], [20, 40], [70, -10]]], rtol=1e-6)
    np.testing.assert_allclose(faces.boxes, [[30, 30, 70, 70]], rtol=1e-6)
    assert [tuple(x.shape) for x in net.seen] == [(1, 3, 48, 48)]


def test_crops_show_the_candidate_in_rgb() -> None:
    image = black(60, 60)
    image[10:34, 20:44] = (255, 127, 0)
    net = ShownNet()
    NetRefiner(net, "rnet", threshold=0)(image, faces_at((20, 10, 44, 34)))
    expected = (torch.tensor([255, 127, 0.0]) - 127.5) / 128
    assert torch.equal(net.seen[0][0], expected[:, None, None].expand(3, 24, 24))


def test_crops_are_zero_outside_the_image() -> None:
    net = ShownNet()
    white = np.full((48, 48, 3), 255, np.uint8)
    NetRefiner(net, "rnet", threshold=0)(white, faces_at((-12, -12, 12, 12), (36, 36, 60, 60)))
    shown = net.seen[0].mean(dim=1)  # (2, 24, 24)
    light, dark = 127.5 / 128, -127.5 / 128
    assert (shown[0, 12:, 12:] == light).all()
    assert (shown[0, :12] == dark).all()
    assert (shown[0, :, :12] == dark).all()
    assert torch.equal(shown[1], shown[0].flip(0, 1))


def test_candidates_outside_the_image_are_dropped() -> None:
    net = ShownNet(landmarks=[[0.5, 0.5]] * 5)
    outside = [(-30, 0, -10, 20), (60, 0, 80, 20), (0, -30, 20, -10), (0, 60, 20, 80), (5, 5, 5, 5)]
    unknown = [(np.nan, 0, 10, 10), (20, 20, 10, 10)]  # turned inside out
    white = np.full((50, 50, 3), 255, np.uint8)
    faces = NetRefiner(net, "onet")(white, faces_at(*outside, (10, 10, 20, 20), *unknown))
    np.testing.assert_allclose(faces.boxes, [[10, 10, 20, 20]])
    assert sum(len(x) for x in net.seen) == 1


def test_threshold_of_a_refiner_is_exclusive() -> None:
    class Even(ShownNet):
        def forward(self, x: Tensor) -> NetOutput:
            return super().forward(x)._replace(face_logits=torch.arange(len(x)) * 1.0)

    faces = faces_at((0, 0, 10, 10), (30, 30, 40, 40), (60, 60, 70, 70))  # with logits 0, 1, 2
    found = NetRefiner(Even(), "rnet", threshold=0.5)(noise(80, 80, 3), faces)
    assert found.boxes[:, 0].tolist() == [60, 30]
    assert len(NetRefiner(Even(), "rnet", threshold=1)(noise(80, 80, 3), faces)) == 0


def test_nms_of_rnet_and_of_onet() -> None:
    """RNet counts intersection over union of its squares, ONet over the smaller of the boxes it moved."""
    white = np.full((100, 100, 3), 255, np.uint8)
    nested = faces_at((10, 10, 90, 90), (30, 30, 60, 60))
    assert len(NetRefiner(ShownNet(), "rnet")(white, nested)) == 2
    assert len(NetRefiner(ShownNet(landmarks=[[0.5, 0.5]] * 5), "onet")(white, nested)) == 1
    nearly = faces_at((10, 10, 50, 50), (12, 10, 52, 50))
    assert len(NetRefiner(ShownNet(), "rnet")(white, nearly)) == 1


def test_nms_of_rnet_comes_before_moving_and_that_of_onet_after() -> None:
    """Three candidates in one place, which their offsets move apart."""
    white = np.full((100, 100, 3), 255, np.uint8)
    candidates = faces_at(*[(10, 10, 30, 30)] * 3)
    assert NetRefiner(NumberedNet(), "rnet")(white, candidates).boxes[:, 0].tolist() == [10]
    found = NetRefiner(NumberedNet(landmarks=[[0.5, 0.5]] * 5), "onet")(white, faces_at(*[(10, 10, 30, 30)] * 5))
    assert found.boxes[:, 0].tolist() == [10, 17.5]  # two eighths away they share 0.75 of an area, three 0.625


def test_landmarks_and_offsets_follow_their_candidate() -> None:
    """Through threshold, sorting and NMS."""
    image = black(200, 200)
    places = [(10, 10), (100, 10), (10, 100), (100, 100), (150, 150)]
    for i, (x, y) in enumerate(places):
        image[y : y + 40, x : x + 40] = (200, 255, 100, 255, 230)[i]
    candidates = faces_at(*((x, y, x + 40, y + 40) for x, y in places))
    net = NumberedNet(landmarks=[[0.25, 0.5]] * 5)
    faces = NetRefiner(net, "onet", threshold=0.6)(image, candidates)
    order = [1, 3, 4, 0]  # by brightness; the third is too dark
    corners = np.array(places)[order]
    moved = np.array(order)[:, None] * 40  # pixels, times what NumberedNet says
    np.testing.assert_allclose(faces.boxes[:, :2], corners + moved * [0.125, 0], rtol=1e-6)
    assert faces.landmarks is not None
    np.testing.assert_allclose(faces.landmarks[:, 3], corners + [10, 20] + moved * 0.05, rtol=1e-6)
    assert (np.diff(faces.scores) <= 0).all()


@pytest.mark.parametrize("name", ["rnet", "onet"])
def test_batch_size_does_not_matter(random_models: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    net = load_net(weights_path(random_models, name), name)
    image, rng = noise(90, 110, 3), np.random.default_rng(1)
    corners = rng.uniform(-10, 80, (11, 2))
    squares = np.concatenate([corners, corners + rng.uniform(5, 40, (11, 1))], axis=1)
    refine = NetRefiner(net, name)
    whole = refine.raw(image, squares)
    monkeypatch.setattr(refiner, "BATCH", 4)
    for found, expected in zip(refine.raw(image, squares), whole, strict=True):
        if expected is not None:
            assert len(expected) == 11
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["rnet", "onet"])
def test_no_candidates_no_faces(random_models: Path, name: str) -> None:
    refine = NetRefiner(load_net(weights_path(random_models, name), name), name)
    points = (0, 5, 2) if name == "onet" else None
    for faces in (Faces.empty(), faces_at((-9, -9, -1, -1))):
        found = refine(noise(20, 20, 3), faces)
        assert (found.boxes.shape, found.scores.shape) == ((0, 4), (0,))
        assert (None if found.landmarks is None else found.landmarks.shape) == points


# ---- the whole cascade


def everything(models: Path, **settings: Any) -> Detector:
    """Returns faces whatever the nets output."""
    return Detector(models, thresholds=(0, 0, 0), **settings)


def assert_valid(faces: Faces, height: int, width: int) -> None:
    assert faces.landmarks is not None
    assert faces.landmarks.shape == (len(faces), 5, 2)
    for array in (faces.boxes, faces.scores, faces.landmarks):
        assert np.isfinite(array).all()
    assert (faces.boxes[:, :2] >= 0).all()
    assert (faces.boxes[:, 2:] <= (width, height)).all()
    assert (faces.boxes[:, :2] < faces.boxes[:, 2:]).all()
    assert (np.diff(faces.scores) <= 0).all()
    assert ((faces.scores >= 0) & (faces.scores <= 1)).all()


SHAPES = [(60, 80, 3), (60, 80), (60, 80, 1), (60, 80, 2), (60, 80, 4), (13, 300, 3), (300, 13, 3), (12, 12, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_any_image(random_models: Path, shape: tuple[int, ...], dtype: Any) -> None:
    image = noise(*shape, dtype=dtype)
    before = image.copy()
    detector = everything(random_models, min_face=12)
    faces = detector.detect(image)
    assert len(faces)
    assert_valid(faces, *shape[:2])
    np.testing.assert_array_equal(image, before)
    again = detector.detect(as_rgb(image))
    np.testing.assert_array_equal(again.boxes, faces.boxes)
    np.testing.assert_array_equal(again.landmarks, faces.landmarks)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1), (1, 1000, 3), (1000, 1, 4), (11, 11, 3), (19, 19, 3)])
def test_images_too_small_for_a_face(random_models: Path, shape: tuple[int, ...]) -> None:
    faces = everything(random_models).detect(noise(*shape))
    assert len(faces) == 0
    assert_valid(faces, *shape[:2])


def test_a_single_pixel_may_be_a_face(random_models: Path) -> None:
    assert_valid(everything(random_models, min_face=0.5).detect(noise(1, 1, 3)), 1, 1)


def test_no_face_if_nothing_passes(random_models: Path) -> None:
    for thresholds in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        faces = Detector(random_models, thresholds=thresholds).detect(noise(50, 60, 3))
        assert len(faces) == 0
        assert_valid(faces, 50, 60)


def test_a_path_and_its_pixels_give_the_same_faces(random_models: Path, photo_folder: Path) -> None:
    detector = everything(random_models, min_face=200)
    path = photo_folder / "astronaut.png"
    from_path, from_text = detector.detect(path), detector.detect(str(path))
    from_array = detector.detect(read_image(path))
    assert len(from_path)
    for other in (from_text, from_array):
        np.testing.assert_array_equal(other.boxes, from_path.boxes)


class Fixed:
    """A proposer: the same faces in every image."""

    def __init__(self, faces: Faces) -> None:
        self.faces = faces

    def __call__(self, image: Image) -> Faces:
        return self.faces


def test_boxes_are_clipped_to_the_image_or_dropped_outside(random_models: Path) -> None:
    detector = Detector(random_models)
    proposed = faces_at((-5, -5, 15, 25), (60, 60, 70, 70), (30, 5, 55, 20), (8, 8, 2, 2), (-9, 3, 0, 9))
    detector.proposer, detector.refiners = Fixed(proposed), []
    faces = detector.detect(black(20, 50))
    assert faces.boxes.tolist() == [[0, 0, 15, 20], [30, 5, 50, 20]]
    assert faces.scores.tolist() == proposed.scores[[0, 2]].tolist()


def test_faces_of_any_proposer_are_sorted(random_models: Path) -> None:
    detector = Detector(random_models)
    rising = faces_at((0, 0, 5, 5), (5, 5, 9, 9))[::-1]
    detector.proposer, detector.refiners = Fixed(rising), []
    assert detector.detect(black(20, 20)).boxes[:, 0].tolist() == [0, 5]


def test_stages_are_called_in_order_with_the_settings(random_models: Path) -> None:
    detector = Detector(random_models, min_face=33, scale_factor=0.5, thresholds=(0.1, 0.2, 0.3))
    proposer, refiners = detector.proposer, detector.refiners
    assert isinstance(proposer, PNetProposer)
    assert (proposer.min_face, proposer.scale_factor, proposer.threshold) == (33, 0.5, 0.1)
    found = [(r.name, r.threshold, SIZES[r.name]) for r in refiners if isinstance(r, NetRefiner)]
    assert found == [("rnet", 0.2, 24), ("onet", 0.3, 48)]


@pytest.mark.parametrize("thresholds", [(0.5, 0.5), (0.5,) * 4, (0.5, 0.5, 1.1), (-0.1, 0, 0), (math.nan, 0.5, 0.5)])
def test_invalid_thresholds(random_models: Path, thresholds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"thresholds are .*; expected three numbers from 0 to 1"):
        Detector(random_models, thresholds=thresholds)


def test_invalid_pyramid_settings(random_models: Path) -> None:
    with pytest.raises(ValueError, match="min_face is 0"):
        Detector(random_models, min_face=0).detect(black(30, 30))
    with pytest.raises(ValueError, match="scale_factor is 1"):
        Detector(random_models, scale_factor=1).detect(black(30, 30))


def test_invalid_images_and_models(random_models: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        Detector(random_models).detect(tmp_path / "missing.jpg")
    with pytest.raises(ImageError, match="dtype float64"):
        Detector(random_models).detect(np.zeros((9, 9, 3)))
    with pytest.raises(CheckpointError, match="no weights at"):
        Detector(tmp_path)


def test_a_list_of_images_equals_one_by_one(random_models: Path) -> None:
    images = [noise(40, 60, 3), noise(97, 31, 3), black(5, 5), noise(64, 64)]
    found = everything(random_models)
    for batch in (images, tuple(images)):
        many = found.detect(batch)
        assert len(many) == len(images)
        for faces, image in zip(many, images, strict=True):
            alone = found.detect(image)
            assert np.array_equal(faces.boxes, alone.boxes) and np.array_equal(faces.scores, alone.scores)
    assert found.detect([]) == []
