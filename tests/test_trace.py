"""Traces: they show what detection does, and name the stage and step that lost a face.

Nets made for the purpose are as sure as what they see is bright, so that it is known which stage drops what. What holds
for real nets is tested with the packaged weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mtcnn import boxes as box
from mtcnn.cascade import Detector
from mtcnn.detectors.decoders import Decoder, Outputs
from mtcnn.detectors.single_stage import select
from mtcnn.proposer import PNetProposer
from mtcnn.refiner import NetRefiner
from mtcnn.scoring import Scoring, logits_of, sigmoid
from mtcnn.trace import StageTrace, Trace, Verdict, judge, pictures, record
from mtcnn.types import Faces, ImageSize, NetOutput
from prepare.synthetic import draw_scene

RGB = NDArray[np.uint8]
STILL = (0.0, 0.0, 0.0, 0.0)  # offsets


class BrightPNet(nn.Module):
    """A logit of 4 for a white cell, -4 for a black one, and constant offsets."""

    def __init__(self, offsets: Sequence[float] = STILL) -> None:
        super().__init__()
        self.constant = torch.tensor(offsets, dtype=torch.float32)

    def forward(self, x: Tensor) -> NetOutput:
        mean = nn.functional.avg_pool2d(x.mean(dim=1, keepdim=True), 12, 2, ceil_mode=True)[:, 0]
        return NetOutput(4 * mean, self.constant[None, :, None, None].expand(1, 4, *mean.shape[1:]), None)


class FiringPNet(nn.Module):
    """Fires at given cells, {level: {(row, column): logit}}; levels are distinguished by their height."""

    def __init__(self, cells: dict[int, dict[tuple[int, int], float]]) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, x: Tensor) -> NetOutput:
        height, width = (-(-(side - 2) // 2) - 4 for side in x.shape[2:])
        logits = torch.full((1, height, width), -9.0)
        for place, logit in self.cells.get(x.shape[2], {}).items():
            logits[0][place] = logit
        return NetOutput(logits, torch.zeros(1, 4, height, width), None)


class BrightNet(nn.Module):
    """RNet or ONet: a logit of 4 for a white crop, -4 for a black one; constant offsets, points in the middle."""

    def __init__(self, offsets: Sequence[float] = STILL, with_points: bool = False) -> None:
        super().__init__()
        self.constant, self.with_points = torch.tensor(offsets, dtype=torch.float32), with_points

    def forward(self, x: Tensor) -> NetOutput:
        points = torch.full((len(x), 5, 2), 0.5) if self.with_points else None
        return NetOutput(4 * x.mean(dim=(1, 2, 3)), self.constant.expand(len(x), 4), points)


class Plain(Decoder):
    """Boxes as they are."""

    names = ("logits", "boxes")

    def logits(self, outputs: Outputs) -> Any:
        return outputs["logits"]

    def boxes(self, outputs: Outputs, size: ImageSize, rows: Any) -> Any:
        return outputs["boxes"][rows]


class Given:
    """A proposer that finds the same everywhere."""

    def __init__(self, *boxes: Sequence[float]) -> None:
        self.faces = Faces(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.9))

    def __call__(self, image: RGB) -> Faces:
        return self.faces


class Dropper:
    """A refiner that keeps nothing."""

    def __call__(self, image: RGB, faces: Faces) -> Faces:
        return Faces.empty()


@pytest.fixture
def detector(random_models: Any) -> Detector:
    return cascade(random_models)


def cascade(models: Any, thresholds: Sequence[float] = (0.5, 0.5, 0.5), **offsets: Sequence[float]) -> Detector:
    """A detector of bright things of 40 pixels and of 80."""
    made = Detector(models)
    first, second, third = thresholds
    made.proposer = PNetProposer(BrightPNet(offsets.get("pnet", STILL)), 40, 0.5, first)
    made.refiners = [
        NetRefiner(BrightNet(offsets.get("rnet", STILL)), "rnet", second),
        NetRefiner(BrightNet(offsets.get("onet", STILL), with_points=True), "onet", third),
    ]
    return made


def lost(trace: Trace, truth: Sequence[float]) -> Verdict:
    verdict = judge(trace, truth)
    assert not verdict.found
    return verdict


WHITE, GRAY = (20.0, 40.0, 60.0, 80.0), (100.0, 40.0, 140.0, 80.0)  # where cells of 40 pixels lie


@pytest.fixture
def scene() -> RGB:
    """Black, 120 x 180, with a white and a gray square of 40 pixels."""
    image = np.zeros((120, 180, 3), np.uint8)
    image[40:80, 20:60] = 255
    image[40:80, 100:140] = 170  # (170 - 127.5) / 128 * 4 is a logit of 1.33: a score of 0.79
    return image


# ---- a trace is what detection does


def assert_same(one: Faces, other: Faces) -> None:
    assert np.array_equal(one.boxes, other.boxes)
    assert np.array_equal(one.scores, other.scores)
    assert one.landmarks is not None
    assert other.landmarks is not None
    assert np.array_equal(one.landmarks, other.landmarks)


@pytest.mark.parametrize("scoring", [Scoring(), Scoring(before=0.8, temperature=1.5)])
@pytest.mark.parametrize("index", [0, 5])
def test_candidates_lead_to_the_stages_results(index: int, scoring: Scoring) -> None:
    """With the packaged weights: candidates come from the stage's own code, and detection does not change."""
    detector, image = Detector(), draw_scene(0, index)[0]
    for refiner in detector.refiners:
        stage = cast(Any, refiner)
        stage.net, stage.second = replace(stage.net, scoring=scoring), None
    before = detector.detect(image)
    trace = record(detector, image)
    assert len(before) >= 2
    assert_same(trace.faces, before)
    assert_same(detector.detect(image), before)
    assert [stage.name for stage in trace.stages] == ["pnet", "rnet", "onet"]
    given = 0
    for stage in trace.stages:
        seen = stage.candidates
        assert seen is not None
        kept = seen.steps[-1].kept
        assert 0 < len(stage.found) == kept.sum() < len(kept)
        assert len(stage.given) == given
        left = seen.steps[-1].left
        assert np.array_equal(np.sort(left), np.flatnonzero(kept))
        assert np.array_equal(seen.scores[left].astype(np.float32), stage.found.scores)
        assert np.array_equal(seen.moved[left].astype(np.float32), stage.found.boxes)
        assert np.array_equal(seen.faces().boxes, stage.found.boxes)
        for step, later in zip(seen.steps, seen.steps[1:], strict=False):
            assert not (later.kept & ~step.kept).any()
        given = len(stage.found)
    height, width = trace.size
    last = trace.stages[-1].found
    assert np.array_equal(box.clip(last.boxes, height, width), trace.faces.boxes)


@pytest.mark.parametrize("settings", [{}, {"pre_nms": 3}, {"max_faces": 1}])
def test_the_inside_of_a_single_stage_detector(settings: dict[str, int]) -> None:
    """Every box that it predicts, and the same steps as in detection."""
    image, boxes, _ = draw_scene(3, 0)
    detector = Detector(stage1="retinaface", thresholds=0.05)
    stage = cast(Any, detector.proposer)
    for name, value in settings.items():
        setattr(stage, name, value)
    trace = record(detector, image)
    seen, found = trace.stages[0].candidates, trace.stages[0].found
    assert seen is not None
    height, width = (-(-side // 32) * 32 for side in image.shape[:2])
    assert len(seen.boxes) == 2 * sum((height // stride) * (width // stride) for stride in (8, 16, 32))
    assert_same(seen.faces(), found)
    assert_same(found, detector.proposer(image))
    assert [step.name for step in seen.steps] == ["threshold", "the best for NMS", "NMS"]
    above, best, left = (int(step.kept.sum()) for step in seen.steps)
    assert above == (seen.scores >= 0.05).sum() > 3
    confident = int((seen.scores >= 0.5).sum())  # which nothing cuts
    assert above > best == max(settings["pre_nms"], confident) if "pre_nms" in settings else best == above
    assert left == len(found) <= best
    if not settings:
        assert judge(trace, boxes[0]).found
        assert not (seen.steps[2].kept & ~seen.steps[1].kept).any()
        assert pictures(image, trace).keys() == {"1-SingleStage"}


@pytest.mark.parametrize(
    ("threshold", "pre_nms", "max_faces", "truth", "why"),
    [
        (0.6, 5000, 750, (10, 10, 42, 42), "below the threshold 0.6: best score 0.50"),
        (0.1, 2, 750, (10, 10, 42, 42), "not among the 2 best boxes: score 0.48"),
        (0.1, 5000, 0, (10, 10, 42, 42), "beyond the 1 best boxes, more are not taken: score 0.48"),
        (
            0.1,
            5000,
            750,
            (118, 100, 150, 132),
            "suppressed in NMS by [100 100 132 132]: score 0.38 against 0.95, IoU 0.42",
        ),
        (0.1, 5000, 750, (60, 10, 70, 110), "no box that it predicts covers it (best IoU 0.00)"),
    ],
)
def test_why_a_single_stage_detector_lost_a_face(
    threshold: float, pre_nms: int, max_faces: int, truth: Sequence[float], why: str
) -> None:
    """One that predicts three boxes wherever it looks."""
    boxes = np.array([[100, 100, 132, 132], [113, 100, 145, 132], [10, 10, 42, 42]], np.float32)
    logits = np.array([3, -0.5, -0.1 if threshold < 0.5 else 0], np.float32)
    if max_faces == 0:
        boxes, logits = boxes[[0, 2]], logits[[0, 2]]
    if pre_nms == 2:
        logits[1] = 1
    seen = select(
        Plain(), {"boxes": boxes, "logits": logits}, ImageSize(160, 160), threshold, 0.4, pre_nms, max_faces, True
    )
    stage = StageTrace("plain", Faces.empty(), seen.faces(), 0.0, seen)
    verdict = judge(Trace(ImageSize(160, 160), (stage,), seen.faces()), truth)
    assert (verdict.lost_by, verdict.why) == ("plain", why)


def test_candidates_outside_the_image_have_no_score(detector: Detector) -> None:
    image = np.full((100, 100, 3), 255, np.uint8)
    detector.proposer = Given((-60, 20, -20, 60), (20, 20, 60, 60))
    seen = record(detector, image).stages[1].candidates
    assert seen is not None
    assert seen.scores[0] == 0 < seen.scores[1]
    assert [step.left.tolist() for step in seen.steps] == [[1], [1], [1]]


@pytest.mark.parametrize(("stage", "steps"), [(0, (0.1, 0.2)), (1, (0.3,)), (2, (0.4,))])
def test_verdicts_use_the_overlap_of_each_stage(detector: Detector, stage: int, steps: Sequence[float]) -> None:
    for settings in (detector.proposer, *detector.refiners)[stage : stage + 1]:
        one = cast(Any, settings)
        one.nms_iou = steps[-1]
        if stage == 0:
            one.level_iou = steps[0]
    seen = record(detector, np.full((120, 180, 3), 255, np.uint8)).stages[stage].candidates
    assert seen is not None
    limits = [step.limit for step in seen.steps if step.rivals is not None]
    assert limits == list(steps)
    for step in seen.steps:
        if step.rivals is None:
            continue
        boxes = seen.rivals(step)[step.left]
        overlaps = (box.ios if step.smaller else box.iou)(boxes, boxes)
        if step.group is not None:
            overlaps *= step.group[step.left][:, None] == step.group[step.left]
        assert (np.triu(overlaps, 1) <= step.limit + 1e-6).all()
        assert len(boxes) > 0


def test_the_trace_uses_the_detectors_stages(detector: Detector, scene: RGB) -> None:
    parts = (detector.proposer, *detector.refiners)
    faces = detector.detect(scene)
    trace = record(detector, scene, faces)
    assert trace.faces is faces
    assert all(one is other for one, other in zip(parts, (detector.proposer, *detector.refiners), strict=True))


def test_an_image_too_small_for_any_level(detector: Detector) -> None:
    trace = record(detector, np.full((15, 15, 3), 255, np.uint8))
    assert [len(stage.found) for stage in trace.stages] == [0, 0, 0]
    verdict = lost(trace, (0, 0, 15, 15))
    assert verdict.lost_by == "pnet"
    assert verdict.why == "the image is smaller than the smallest face to find; lower min_face"


def test_counts_by_level_add_up(detector: Detector, scene: RGB) -> None:
    pnet, rnet, onet = (stage.to_dict() for stage in record(detector, scene).stages)
    names = ["seen", "after threshold", "after NMS in its level", "after NMS across levels"]
    assert pnet["after NMS across levels"] == pnet["found"] == rnet["given"] == len(pnet["kept"])
    assert onet["given"] == rnet["found"]
    for name in names:
        assert sum(level[name] for level in pnet["levels"]) == pnet[name] > 0
    sizes = [(level["cell"], level["height"], level["width"]) for level in pnet["levels"]]
    assert sizes == [(40, 36, 54), (80, 18, 27)]
    assert pnet["levels"][0]["seen"] == 13 * 22  # cells of 12 pixels, each 2 from the next


def test_verdicts_give_the_fused_score(detector: Detector, scene: RGB) -> None:
    """The gray square's logit is 1.33 in each stage; ONet's score takes half of RNet's as well, or is cooled."""
    for scoring, fused in ((Scoring(before=0.5), 1.5 * 1.33), (Scoring(temperature=4), 1.33 / 4)):
        last = cast(Any, detector.refiners[1])
        last.net.scoring, last.threshold = scoring, 0.99
        verdict = lost(record(detector, scene), GRAY)
        assert verdict.lost_by == "onet"
        assert verdict.score == pytest.approx(1 / (1 + np.exp(-fused)), abs=0.01)
        assert verdict.why == f"below the threshold 0.99: best score {verdict.score:.2f}"


# ---- found, and lost by a threshold


def test_found(detector: Detector, scene: RGB) -> None:
    trace = record(detector, scene)
    verdict = judge(trace, WHITE)
    assert verdict.found
    assert verdict.lost_by is None
    assert verdict.why == f"found as face {1 + int(box.iou(trace.faces.boxes, np.array([WHITE])).argmax())}"
    assert verdict.iou >= 0.5
    assert verdict.score == pytest.approx(0.98, abs=0.02)
    assert verdict.stages[-1][1] == pytest.approx(verdict.iou)
    assert verdict.to_dict()["iou_after"].keys() == {"pnet", "rnet", "onet"}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_each_stage_in_turn_loses_a_face_by_its_threshold(random_models: Any, scene: RGB, number: int) -> None:
    thresholds = [0.5, 0.5, 0.5]
    thresholds[number] = 0.9
    trace = record(cascade(random_models, thresholds), scene)
    assert judge(trace, WHITE).found
    verdict = lost(trace, GRAY)
    assert verdict.lost_by == ("pnet", "rnet", "onet")[number]
    assert verdict.score == pytest.approx(0.79, abs=0.01)
    assert verdict.why == f"below the threshold 0.9: best score {verdict.score:.2f}"
    assert verdict.iou > 0.6
    covered = [overlap >= 0.4 for _, overlap in verdict.stages]
    assert covered == [True] * number + [False] * (3 - number)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_real_nets_lose_a_drawn_face_where_the_threshold_says(number: int) -> None:
    """The face's best score in a stage is where that stage's threshold starts to lose it."""
    image, boxes, _ = draw_scene(0, 3)
    whole = record(Detector(), image)
    assert judge(whole, boxes[0]).found
    seen = whole.stages[number].candidates
    assert seen is not None
    best = float(seen.scores[box.iou(seen.boxes, boxes[:1])[:, 0] >= 0.4].max())
    thresholds = [0.6, 0.7, 0.7]
    thresholds[number] = (1 + best) / 2 if number < 2 else float(sigmoid(logits_of(np.array(best)) + 2))
    verdict = lost(record(Detector(thresholds=thresholds), image), boxes[0])
    assert verdict.lost_by == ("pnet", "rnet", "onet")[number]
    assert verdict.score == pytest.approx(best, abs=1e-4)
    assert verdict.why.startswith("below the threshold ")


# ---- lost in other ways


@pytest.mark.parametrize(
    ("truth", "why"),
    [
        ((22, 32, 42, 52), "20 x 20 pixels is smaller than min_face 40; lower it"),
        ((5, 10, 175, 118), "170 x 108 pixels is larger than the largest cell, 80; raise scale_factor"),
        ((5, 30, 175, 42), "170 x 12 pixels is too long, lies at the border, or falls between the cells"),
    ],
)
def test_no_cell_covers_it(detector: Detector, scene: RGB, truth: Sequence[float], why: str) -> None:
    verdict = lost(record(detector, scene), truth)
    assert verdict.lost_by == "pnet"
    assert verdict.score is None
    assert 0 < verdict.iou < 0.4
    assert verdict.why == f"no cell covers it (best IoU {verdict.iou:.2f}): {why}"


def firing(detector: Detector, cells: dict[int, dict[tuple[int, int], float]], **settings: Any) -> Detector:
    detector.proposer = PNetProposer(FiringPNet(cells), min_face=12, **{"scale_factor": 0.5, **settings})
    return detector


def test_suppressed_within_a_level(detector: Detector) -> None:
    """The box that suppressed it is on its own level, though a better cell of another level overlaps it more."""
    image = np.zeros((40, 40, 3), np.uint8)
    cells = {40: {(0, 11): 3.0, (0, 10): 2.0}, 36: {(0, 10): 3.5}}
    trace = record(firing(detector, cells, scale_factor=0.9), image)
    verdict = lost(trace, (15, 0, 27, 12))  # IoU 0.41 with the cell at 20, less with those at 22
    assert verdict.lost_by == "pnet"
    assert verdict.why == "suppressed in NMS in its level by [22 0 34 12]: score 0.88 against 0.95, IoU 0.71"
    assert verdict.score == pytest.approx(0.88, abs=0.01)


def test_suppressed_across_levels(detector: Detector) -> None:
    """Levels so near each other that their cells overlap by more than 0.7; with the usual ones they never do."""
    image = np.zeros((40, 40, 3), np.uint8)
    trace = record(firing(detector, {40: {(0, 0): 2.0}, 36: {(0, 0): 3.0}}, scale_factor=0.9), image)
    verdict = lost(trace, (0, 0, 8, 8))
    assert verdict.lost_by == "pnet"
    assert verdict.why == "suppressed in NMS across levels by [0 0 13 13]: score 0.88 against 0.95, IoU 0.81"


def test_beyond_what_a_level_may_propose(detector: Detector) -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    trace = record(firing(detector, {40: {(0, 0): 3.0, (10, 10): 2.0}}, per_level=1), image)
    verdict = lost(trace, (20, 20, 32, 32))
    assert verdict.lost_by == "pnet"
    assert verdict.why == "beyond the 1 best boxes of its level, more are not taken: score 0.88"


def test_suppressed_in_a_refiner(detector: Detector) -> None:
    image = np.full((100, 120, 3), 250, np.uint8)
    image[:, 60:] = 0
    detector.proposer = Given((20, 20, 60, 60), (24, 20, 64, 60))
    verdict = lost(record(detector, image), (41, 20, 81, 60))
    assert verdict.lost_by == "rnet"
    assert verdict.why.startswith("suppressed in NMS by [20 20 60 60]: score 0.95 against 0.98, IoU 0.82")


def test_onet_lets_boxes_compete_where_its_offsets_put_them(detector: Detector) -> None:
    detector.proposer = Given((10, 10, 110, 110), (40, 40, 60, 60))
    detector.refiners[1] = NetRefiner(BrightNet((1, 0, 1, 0), with_points=True), "onet", 0.5)
    onet = record(detector, np.full((120, 220, 3), 250, np.uint8)).stages[-1]
    assert onet.candidates is not None
    assert onet.found.boxes.tolist() == [[110, 10, 210, 110], [60, 40, 80, 60]]  # one beside the other
    assert [int(step.kept.sum()) for step in onet.candidates.steps] == [2, 2, 2]


def test_suppressed_by_a_box_around_it(detector: Detector) -> None:
    image = np.full((120, 120, 3), 250, np.uint8)
    image[40:60, 40:60] = 220
    detector.proposer = Given((10, 10, 110, 110), (40, 40, 60, 60))
    verdict = lost(record(detector, image), (40, 40, 60, 60))
    assert verdict.lost_by == "onet"
    assert verdict.why.startswith("suppressed in NMS by [10 10 110 110]: score 0.95 against 0.98")
    assert verdict.why.endswith("overlap over the smaller 1.00")


@pytest.mark.parametrize("stage", ["pnet", "rnet", "onet"])
def test_moved_away(random_models: Any, scene: RGB, stage: str) -> None:
    trace = record(cascade(random_models, **{stage: (2.0, 0.0, 2.0, 0.0)}), scene)
    verdict = lost(trace, WHITE)
    assert verdict.lost_by == stage
    assert verdict.why == "its box moved away: IoU 1.00 before, 0.00 after"


def test_off_the_mark(detector: Detector) -> None:
    """No stage lost it: the final box overlaps it, but with too low an IoU."""
    image = np.full((100, 100, 3), 255, np.uint8)
    detector.proposer = Given((20, 20, 60, 60))
    verdict = lost(record(detector, image), (34, 20, 74, 60))
    assert verdict.lost_by == "onet"
    assert verdict.why == "its box is off the mark: IoU 0.48, expected 0.50"
    assert verdict.score == pytest.approx(0.98, abs=0.01)


def test_outside_of_the_image(detector: Detector) -> None:
    image = np.full((100, 100, 3), 255, np.uint8)
    detector.proposer = Given((-60, 20, -20, 60))
    verdict = lost(record(detector, image), (-60, 20, -20, 60))
    assert (verdict.lost_by, verdict.why) == ("rnet", "outside of the image")


def test_a_square_around_a_long_box(detector: Detector) -> None:
    """RNet looks at the square, of which a long face fills a small part, and this RNet leaves the box so."""
    detector.proposer = Given((20, 20, 100, 40))
    verdict = lost(record(detector, np.full((120, 120, 3), 255, np.uint8)), (20, 20, 100, 40))
    assert verdict.lost_by == "rnet"
    assert verdict.why == "its box moved away: IoU 1.00 before, 0.25 after"


def test_stages_of_other_kinds(detector: Detector, scene: RGB) -> None:
    detector.proposer, detector.refiners = Given(WHITE), [Dropper()]
    trace = record(detector, scene)
    assert [(stage.name, stage.candidates) for stage in trace.stages] == [("Given", None), ("Dropper", None)]
    verdict = lost(trace, WHITE)
    assert (verdict.lost_by, verdict.why) == ("Dropper", "none of its outputs covers the face")
    assert lost(trace, GRAY).lost_by == "Given"
    assert trace.stages[0].to_dict().keys() == {"stage", "given", "found", "ms", "kept"}


def test_a_later_stage_may_find_what_an_earlier_one_missed(detector: Detector) -> None:
    """A proposal that hardly covers the face, moved onto it by RNet."""
    image = np.full((100, 200, 3), 255, np.uint8)
    detector.proposer = Given((20, 20, 60, 60))
    detector.refiners[0] = NetRefiner(BrightNet((0.75, 0, 0.75, 0)), "rnet", 0.5)
    verdict = judge(record(detector, image), (50, 20, 90, 60))
    assert verdict.found
    assert verdict.stages[0][1] < 0.2


@pytest.mark.parametrize("truth", [(10, 10, 10, 20), (10, 20, 30, 15), (0, 0, np.nan, 5), (1, 2, 3), 5, None, "box"])
def test_invalid_boxes(detector: Detector, scene: RGB, truth: Sequence[float]) -> None:
    with pytest.raises(ValueError, match="expected finite x1 y1 x2 y2"):
        judge(record(detector, scene), truth)
