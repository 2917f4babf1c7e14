"""Dense distillation: a teacher's outputs become the targets of all anchors, with or without labels."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from run_command import run

from mtcnn.checkpoint import Checkpoint, read, write
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.anchors import RETINAFACE as LAYOUT
from mtcnn.detectors.anchors import S3FD, Layout, Level, anchors
from mtcnn.detectors.decoders import SsdCodes
from mtcnn.detectors.distances import Distances
from mtcnn.detectors.load import build, load_runtime, model_of
from mtcnn.errors import CheckpointError, DataError, RecipeError
from mtcnn.types import ImageSize
from prepare import synthetic
from prepare.readers import read_source
from stages.objectives.closer import CloserCells, CloserTeacher
from stages.objectives.distill import CLIP, SMALL, Distill, DistillSettings, TeacherTargets
from stages.objectives.matching import BACKGROUND, match
from stages.objectives.targets import stack
from stages.objectives.teacher import RecodedTeacher, load_teacher
from stages.photos.crops import PictureSettings
from stages.photos.recipe import DetectorRecipe, PhotoSchedule
from stages.photos.store import PhotoStore, build_photos
from stages.photos.task import DetectorTask, new_net, train_detector
from stages.recipes import recipe_path
from stages.scene import Scene

SIDE = 96
DECODER = SsdCodes(LAYOUT)
DISTANCES = Distances(LAYOUT)
ANCHORS = DECODER.anchors(ImageSize(SIDE, SIDE))
BOX = np.array([[20, 24, 52, 60]], np.float32)


def said(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Random outputs of a teacher."""
    rng, count = np.random.default_rng(seed), len(ANCHORS)
    return {
        "logits": rng.normal(0, 4, count).astype(np.float32),
        "boxes": rng.normal(0, 1, (count, 4)).astype(np.float32),
        "landmarks": rng.normal(0, 1, (count, 10)).astype(np.float32),
    }


def scene(labelled: bool) -> Scene:
    boxes = BOX if labelled else np.zeros((0, 4), np.float32)
    points = np.full((len(boxes), 5, 2), np.nan, np.float32)
    return Scene(np.zeros((SIDE, SIDE, 3), np.uint8), boxes, points, np.zeros(len(boxes), bool), labelled)


def targets(labelled: bool, **settings: Any) -> TeacherTargets:
    return Distill(DistillSettings(**settings), DECODER, lambda image: said()).targets(scene(labelled))


def test_without_labels_targets_are_the_teachers() -> None:
    found, teacher = targets(labelled=False), said()
    assert np.allclose(found.scores, 1 / (1 + np.exp(-teacher["logits"].astype(np.float64))), atol=1e-6)
    assert np.array_equal(found.logits, teacher["logits"])
    assert np.array_equal(found.boxes, teacher["boxes"])
    assert np.array_equal(found.landmarks, teacher["landmarks"])


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_labels_are_mixed_in(share: float) -> None:
    found, plain = targets(labelled=True, labels=share), targets(labelled=False)
    matching = match(ANCHORS, BOX, np.zeros(1, bool), DistillSettings().match)
    face, background = matching == 0, matching == BACKGROUND
    assert face.any() and background.any()
    assert np.allclose(found.scores[face], plain.scores[face] + share * (1 - plain.scores[face]), atol=1e-6)
    assert np.allclose(found.scores[background], (1 - share) * plain.scores[background], atol=1e-6)
    assert np.array_equal(found.boxes[~face], plain.boxes[~face])
    codes, _ = DECODER.encode(ImageSize(SIDE, SIDE), np.flatnonzero(face), np.repeat(BOX, face.sum(), 0),
                              np.zeros((int(face.sum()), 5, 2), np.float32))  # fmt: skip
    assert np.allclose(found.boxes[face], (1 - share) * plain.boxes[face] + share * codes, atol=1e-5)
    assert np.array_equal(found.landmarks, plain.landmarks), "the points of this face are unknown"


def test_landmarks_of_small_faces_have_low_weight() -> None:
    found = targets(labelled=False, min_landmark_face=20.0)
    boxes = DECODER.boxes(said(), ImageSize(SIDE, SIDE), np.arange(len(ANCHORS)))
    sides = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    clear = np.abs(sides - 20) > 0.01
    assert np.array_equal(found.points[clear], np.where(sides >= 20, 1, np.float32(SMALL))[clear])


def smooth_l1(x: float, beta: float = 1.0) -> float:
    return 0.5 * x * x / beta if abs(x) < beta else abs(x) - 0.5 * beta


@pytest.mark.parametrize("beta", [1.0, 0.25])
def test_losses_equal_a_plain_loop(beta: float) -> None:
    settings = DistillSettings(face=2.0, box=3.0, landmark=0.5, logit=0.25, background=0.01, landmark_beta=beta)
    wanted = [targets(labelled=True), targets(labelled=False)]
    student = [said(1), said(2)]
    outputs = {name: torch.from_numpy(np.stack([each[name] for each in student])) for name in said()}
    losses = Distill(settings, DECODER, lambda image: said()).loss(outputs, stack(wanted))
    face = box = landmark = logit = positives = weights = 0.0
    for target, output in zip(wanted, student, strict=True):
        for a in range(len(ANCHORS)):
            p, z = float(target.scores[a]), float(output["logits"][a])
            q = 1 / (1 + math.exp(-z))
            face += (abs(p - q) + p) * (max(z, 0) - z * p + math.log1p(math.exp(-abs(z))))
            w = p + settings.background
            positives, weights = positives + p, weights + w
            logit += w * smooth_l1(min(max(z, -CLIP), CLIP) - min(max(float(target.logits[a]), -CLIP), CLIP))
            box += w * sum(smooth_l1(float(d)) for d in output["boxes"][a] - target.boxes[a])
            away = output["landmarks"][a] - target.landmarks[a]
            landmark += w * float(target.points[a]) * sum(smooth_l1(float(d), beta) for d in away)
    expected = {
        "face": face / positives,
        "logit": logit / weights,
        "box": box / weights,
        "landmark": landmark / weights,
    }
    assert {name: float(losses[name]) for name in expected} == pytest.approx(expected, rel=1e-4)
    total = 2 * expected["face"] + 3 * expected["box"] + 0.5 * expected["landmark"] + 0.25 * expected["logit"]
    assert float(losses["total"]) == pytest.approx(total, rel=1e-4)


def test_requirements_of_the_objective() -> None:
    with pytest.raises(RecipeError, match="distill without a teacher; expected weights of a net with the same"):
        Distill(DistillSettings(), DECODER)
    with pytest.raises(RecipeError, match="a net with object; expected one with anchors; for YuNet name distill-cells"):
        Distill(DistillSettings(), object(), lambda image: said())  # type: ignore[arg-type]


# ---- in a training

RECIPE = DetectorRecipe(
    "ssh", {"width": 0.0625}, PictureSettings(sizes=(96.0,), crop=(0.3, 1.0), unlabelled=0.5),
    DistillSettings(labels=0.0),
    PhotoSchedule(epochs=2, steps=30, batch=4, lr=6e-3, warmup=4, ema=0.9, val=20.0),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher, drawn scenes with labels, and photos without."""
    folder = tmp_path_factory.mktemp("distill")
    (folder / "plain").mkdir()
    for index in range(4):
        Image.fromarray(synthetic.draw_scene(9, index)[0]).save(folder / "plain" / f"{index}.png")
    torch.manual_seed(5)
    state = build("ssh", {"width": 0.0625}).state_dict()
    state["classes.levels.0.bias"] += torch.tensor([2.0, -2.0] * 2)
    model = model_of("ssh", {"width": 0.0625})
    write(folder / "teacher.safetensors", Checkpoint("ssh", state, scaling=DETECTORS["ssh"].scaling, model=model))
    records = [*synthetic.records(16, 0), *read_source(f"unlabelled:{folder / 'plain'}")[0]]
    assert build_photos(records, folder / "photos.raw", "data", quiet=True) == []
    return folder


def photos(folder: Path, unlabelled: bool = True) -> PhotoStore:
    records = [*synthetic.records(16, 0), *read_source(f"unlabelled:{folder / 'plain'}")[0]]
    found = PhotoStore(folder / "photos.raw", records)
    if not unlabelled:
        found.records = [replace(each, complete=True) for each in found.records]
    return found


def test_a_student_approaches_its_teacher(folder: Path, tmp_path: Path) -> None:
    """Without any label, and deterministically."""
    for name in ("a", "b"):
        train_detector(RECIPE, new_net(RECIPE), photos(folder), tmp_path / name / "ssh.safetensors", "k", quiet=True,
                       teacher=folder / "teacher.safetensors")  # fmt: skip
    one, two = (read(tmp_path / name / "ssh.safetensors") for name in ("a", "b"))
    assert all(np.array_equal(one.state[key], two.state[key]) for key in one.state)
    image = synthetic.draw_scene(3, 1)[0][:96, :96]
    teacher = load_runtime(folder / "teacher.safetensors", "ssh")(image)["logits"]
    student = load_runtime(tmp_path / "a" / "ssh.safetensors", "ssh")(image)["logits"]
    assert np.abs(student - teacher).mean() < 0.7 * np.abs(teacher).mean(), "an untrained net says 0"


def test_unlabelled_photos_get_their_share(folder: Path) -> None:
    pool = DetectorTask(RECIPE, new_net(RECIPE), photos(folder), folder / "teacher.safetensors").pool
    assert (len(pool.unlabelled), len(pool.scenes) + len(pool.val)) == (4, 16)
    drawn: list[int] = []
    seen = pool.scene
    pool.scene = lambda image, size, rng: drawn.append(image) or seen(image, size, rng)  # type: ignore[func-returns-value,method-assign]
    for epoch in range(3):
        for _ in pool.batches(epoch):
            pass
    assert len(drawn) == 360
    assert 0.35 < np.isin(drawn, pool.unlabelled).mean() < 0.65
    assert not np.isin(drawn, pool.val).any()


def test_pictures_of_unlabelled_photos_have_the_teachers_scores(folder: Path) -> None:
    """Whatever the share of labels is: nobody said that their faces are none."""
    recipe = replace(RECIPE, objective=DistillSettings(labels=0.7))
    pool = DetectorTask(recipe, new_net(recipe), photos(folder), folder / "teacher.safetensors").pool
    teacher = load_runtime(folder / "teacher.safetensors", "ssh")
    for image, same in ((pool.unlabelled[0], True), (pool.scenes[0], False)):
        made = pool.scene(int(image), 96, np.random.default_rng(1))
        assert made.complete != same
        logits = teacher(made.image)["logits"].astype(np.float64)
        assert np.allclose(pool.objective.targets(made).scores, 1 / (1 + np.exp(-logits)), atol=1e-5) == same


def test_unlabelled_photos_need_a_teacher_and_a_teacher_photos(folder: Path) -> None:
    labels = replace(RECIPE, objective=DetectorRecipe("ssh").objective)
    make = partial(DetectorTask, net=new_net(RECIPE))
    with pytest.raises(RecipeError, match=r"pictures.unlabelled is 0.5; expected 0 for the objective multibox"):
        make(labels, photos=photos(folder))
    with pytest.raises(DataError, match="name a folder of photos: unlabelled:FOLDER"):
        make(RECIPE, photos=photos(folder, unlabelled=False), teacher=folder / "teacher.safetensors")


def test_the_command(folder: Path, tmp_path: Path) -> None:
    """Without a teacher it fails before any work; the folder remembers one, and another makes weights stale."""
    work = tmp_path / "work"
    path = recipe_path(work, "ssh")
    path.parent.mkdir(parents=True)
    path.write_text(
        'net = "ssh"\n[model]\nwidth = 0.0625\n[pictures]\nsizes = [64]\nunlabelled = 0.5\n[objective]\n'
        'name = "distill"\n[train]\nepochs = 1\nsteps = 2\nbatch = 4\nval = 20\n'
    )
    data = ("--data", "synthetic:8", "--data", f"unlabelled:{folder / 'plain'}")
    words = ("train", "--net", "ssh", "--work", work, *data, "--quiet")
    lacking = run(*words)
    assert lacking.exit_code == 1 and "distill without a teacher; name weights of the same net" in lacking.stderr
    assert not (work / "photos.raw").exists()
    assert run(*words, "--teacher", folder / "teacher.safetensors").exit_code == 0
    assert "| distilled from | ssh, SHA-256 " in path.with_name("MODEL_CARD.md").read_text("utf-8")
    again = run("train", "--net", "ssh", "--work", work, "--quiet")
    assert "(was fresh)" in again.stdout, again.stderr
    other = read(folder / "teacher.safetensors")
    write(
        tmp_path / "other.safetensors", replace(other, state={key: value * 0.5 for key, value in other.state.items()})
    )
    assert (
        run("train", "--net", "ssh", "--work", work, "--quiet", "--teacher", tmp_path / "other.safetensors").exit_code
        == 0
    )
    assert run("status", "--work", work).exit_code == 0
    wrong = run(*words[:5], "--teacher", tmp_path / "missing.safetensors")
    assert wrong.exit_code == 1 and wrong.stderr.count("\n") == 1


# ---- a teacher with the same anchors and other codes


def recoded(landmarks: bool = True) -> RecodedTeacher:
    answer = said()
    answer["boxes"] *= 0.5  # boxes that are not many times their anchor
    if not landmarks:
        del answer["landmarks"]
    return RecodedTeacher(lambda image: answer, DECODER, DISTANCES)


def test_a_teacher_with_other_codes_gives_the_same_boxes_and_points() -> None:
    teacher, size = recoded(), ImageSize(SIDE, SIDE)
    found = teacher(scene(False).image)
    assert list(found) == list(DISTANCES.names)
    theirs, ours = DECODER.decode(teacher.runtime(None), size), DISTANCES.decode(found, size)
    assert np.array_equal(theirs.logits, ours.logits)
    assert np.allclose(theirs.boxes, ours.boxes, atol=1e-3)
    assert theirs.landmarks is not None and ours.landmarks is not None
    assert np.allclose(theirs.landmarks, ours.landmarks, atol=1e-3)
    assert "landmarks" not in recoded(landmarks=False)(scene(False).image)


def test_boxes_of_a_teacher_that_are_turned_inside_out_have_codes() -> None:
    """Distances to the sides of a box are learned near faces; elsewhere they may be negative."""
    rng, count = np.random.default_rng(4), len(ANCHORS)
    answer = {"logits": rng.normal(0, 4, count).astype(np.float32),
              "distances": rng.normal(0, 2, (count, 4)).astype(np.float32)}  # fmt: skip

    def larger(image: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        count = len(anchors(image.shape[0], image.shape[1], LAYOUT))
        return {name: np.repeat(values, 4, 0)[:count] for name, values in answer.items()}

    recoded, closer = (
        RecodedTeacher(lambda image: answer, DISTANCES, DECODER),
        CloserTeacher(larger, DISTANCES, DECODER),
    )
    for teacher in (recoded, closer):
        found = teacher(scene(False).image)
        assert np.isfinite(found["boxes"]).all()
        objective = Distill(DistillSettings(), DECODER, teacher)
        student = {name: torch.from_numpy(values)[None] for name, values in said(1).items()}
        losses = objective.loss(student, stack([objective.targets(scene(True))]))
        assert all(math.isfinite(float(loss)) for loss in losses.values())
    size = ImageSize(SIDE, SIDE)
    upright = (answer["distances"][:, :2] + answer["distances"][:, 2:] > 0.7).all(axis=1)
    plain = RecodedTeacher(lambda image: answer, DISTANCES, DECODER)(scene(False).image)
    there, back = DISTANCES.decode(answer, size).boxes, DECODER.decode(plain, size).boxes
    assert upright.any() and np.allclose(there[upright], back[upright], atol=1e-2)


def test_a_student_that_says_what_such_a_teacher_does_has_no_loss_of_boxes_and_points() -> None:
    objective = Distill(DistillSettings(labels=0.0), DISTANCES, recoded())
    wanted = stack([objective.targets(scene(False))])
    same = {name: torch.from_numpy(values)[None] for name, values in recoded()(scene(False).image).items()}
    other = {**same, "distances": same["distances"] + 1, "landmarks": same["landmarks"] + 1}
    losses, worse = objective.loss(same, wanted), objective.loss(other, wanted)
    for name in ("box", "landmark", "logit"):
        assert float(losses[name]) == pytest.approx(0, abs=1e-5)
    assert float(worse["box"]) > 0.05 and float(worse["landmark"]) > 0.05


def test_labels_belong_to_the_anchors_of_the_teacher() -> None:
    share = DistillSettings().labels
    plain = Distill(DistillSettings(), DISTANCES, recoded()).targets(scene(False))
    found = Distill(DistillSettings(), DISTANCES, recoded()).targets(scene(True))
    face = match(ANCHORS, BOX, np.zeros(1, bool), DistillSettings().match) == 0
    assert np.allclose(found.scores[face], plain.scores[face] + share * (1 - plain.scores[face]), atol=1e-6)
    rows = np.flatnonzero(face)
    codes, _ = DISTANCES.encode(ImageSize(SIDE, SIDE), rows, np.repeat(BOX, len(rows), 0),
                                np.zeros((len(rows), 5, 2), np.float32))  # fmt: skip
    assert np.allclose(found.boxes[rows], (1 - share) * plain.boxes[rows] + share * codes, atol=1e-4)
    assert np.array_equal(found.boxes[~face], plain.boxes[~face])


def test_scrfd_learns_from_retinaface(folder: Path, tmp_path: Path) -> None:
    model = {"stem": [8, 8], "widths": [16, 16, 16, 16], "neck": 8, "head": 8, "norm_groups": 8}
    recipe = replace(RECIPE, net="scrfd-0.5g", model=model)
    train_detector(recipe, new_net(recipe), photos(folder), tmp_path / "w.safetensors", "k", quiet=True,
                   teacher=folder / "teacher.safetensors")  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "metrics-scrfd-0.5g.jsonl").read_text().splitlines()]
    assert rows[-1]["val_face"] < rows[0]["val_face"] and rows[-1]["val_box"] < rows[0]["val_box"]


def test_a_teacher_with_other_anchors_is_refused(folder: Path, tmp_path: Path) -> None:
    assert isinstance(load_teacher(folder / "teacher.safetensors", "scrfd-0.5g"), RecodedTeacher)
    with pytest.raises(CheckpointError, match="holds ssh; expected s3fd, or a net with the same anchors, as its"):
        load_teacher(folder / "teacher.safetensors", "s3fd")
    with pytest.raises(CheckpointError, match="holds ssh; expected yunet-n, or a net with the same anchors, as its"):
        load_teacher(folder / "teacher.safetensors", "yunet-n")


# ---- a teacher that looks at the enlarged picture too


def outputs_for(side: int, seed: int, layout: Layout = LAYOUT) -> dict[str, NDArray[np.float32]]:
    """Random outputs for a square picture."""
    rng, count = np.random.default_rng(seed), len(anchors(side, side, layout))
    return {
        "logits": rng.normal(0, 3, count).astype(np.float32).round(1),  # with equal ones
        "boxes": rng.normal(0, 1, (count, 4)).astype(np.float32),
        "landmarks": rng.normal(0, 1, (count, 10)).astype(np.float32),
    }


def closer(side: int, layout: Layout = LAYOUT, landmarks: bool = True) -> CloserTeacher:
    answers = {side: outputs_for(side, 1, layout), 2 * side: outputs_for(2 * side, 2, layout)}
    if not landmarks:
        for each in answers.values():
            del each["landmarks"]
    decoder = SsdCodes(layout)
    return CloserTeacher(lambda image: answers[len(image)], decoder, decoder)


@pytest.mark.parametrize("layout", [LAYOUT, S3FD, (Level(8, (16.0,)), Level(16, (48.0,)))])
def test_two_looks_are_merged_as_by_a_plain_loop(layout: Layout) -> None:
    side = 128
    teacher, size, twice = closer(side, layout), ImageSize(side, side), ImageSize(2 * side, 2 * side)
    decoder = SsdCodes(layout)
    merged = decoder.decode(teacher(np.zeros((side, side, 3), np.uint8)), size)
    first = decoder.decode(outputs_for(side, 1, layout), size)
    second = decoder.decode(outputs_for(2 * side, 2, layout), twice)
    finest = min(length for level in layout for length in level.sizes)
    strides = [
        level.stride for level in layout for length in level.sizes for _ in range(-((-side // level.stride) ** 2))
    ]
    strides = sorted(strides)  # rising, as in the outputs
    ours, theirs = decoder.anchors(size), decoder.anchors(twice)
    sizes, closer_sizes = ours[:, 2] - ours[:, 0], np.maximum((theirs[:, 2] - theirs[:, 0]) / 2, finest)
    centres, closer_centres = (ours[:, :2] + ours[:, 2:]) / 2, (theirs[:, :2] + theirs[:, 2:]) / 4
    for i, stride in enumerate(strides):
        near = np.abs(closer_centres - centres[i]).max(axis=1) <= stride / 2 - 1e-3
        near |= (closer_centres == centres[i]).all(axis=1)
        rows = np.flatnonzero(near & (closer_sizes == sizes[i]))
        if not len(rows):
            assert merged.logits[i] == first.logits[i] and np.allclose(merged.boxes[i], first.boxes[i], atol=1e-3)
            continue
        best = rows[np.argmax(second.logits[rows])]
        a, b = float(first.logits[i]), float(second.logits[best])
        mean = (1 / (1 + math.exp(-a)) + 1 / (1 + math.exp(-b))) / 2
        assert 1 / (1 + math.exp(-float(merged.logits[i]))) == pytest.approx(mean, abs=1e-5)
        wanted = second.boxes[best] / 2 if b > a else first.boxes[i]
        assert np.allclose(merged.boxes[i], wanted, atol=2e-3)
        assert merged.landmarks is not None and first.landmarks is not None and second.landmarks is not None
        wanted = second.landmarks[best] / 2 if b > a else first.landmarks[i]
        assert np.allclose(merged.landmarks[i], wanted, atol=2e-3)


def test_a_closer_teacher_sees_the_picture_enlarged_and_labels_belong_to_its_anchors() -> None:
    seen: list[NDArray[np.uint8]] = []

    def runtime(image: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        seen.append(image)
        return outputs_for(len(image), 0)

    picture = np.repeat(np.arange(SIDE, dtype=np.uint8)[:, None, None], 3, 2).repeat(SIDE, 1)  # darker above
    teacher = CloserTeacher(runtime, DECODER, DISTANCES)
    assert list(teacher(picture)) == list(DISTANCES.names)
    assert seen[0] is picture and seen[1].shape == (2 * SIDE, 2 * SIDE, 3)
    assert np.abs(seen[1].astype(int) - np.arange(2 * SIDE)[:, None, None] // 2).max() <= 1
    assert np.array_equal(teacher.anchors(ImageSize(SIDE, SIDE)), ANCHORS)
    assert "landmarks" not in closer(SIDE, landmarks=False)(np.zeros((SIDE, SIDE, 3), np.uint8))


def test_a_closer_look_finds_the_small_faces_of_a_photo(folder: Path, tmp_path: Path) -> None:
    """It trains, by the recipe; the first look's picture alone gives other targets."""
    model = {"stem": [8, 8], "widths": [16, 16, 16, 16], "neck": 8, "head": 8, "norm_groups": 8}
    losses = {}
    for looks in (False, True):
        recipe = replace(RECIPE, net="scrfd-0.5g", model=model,
                         objective=replace(RECIPE.objective, closer=looks))  # fmt: skip
        target = tmp_path / str(looks) / "w.safetensors"
        train_detector(recipe, new_net(recipe), photos(folder), target, "k", quiet=True,
                       teacher=folder / "teacher.safetensors")  # fmt: skip
        rows = (target.parent / "metrics-scrfd-0.5g.jsonl").read_text().splitlines()
        losses[looks] = [json.loads(line)["val_face"] for line in rows]
    assert losses[True][-1] < losses[True][0] and losses[True] != losses[False]


def test_two_looks_of_yunet_are_merged_as_by_a_plain_loop(tmp_path: Path) -> None:
    torch.manual_seed(2)
    net = build("yunet-n", {})
    for name, values in net.state_dict().items():
        if name.endswith("bias") and values.numel() == 1:
            values += 3  # scores that are not all alike
    model, scaling = model_of("yunet-n", {}), DETECTORS["yunet-n"].scaling
    write(tmp_path / "t.safetensors", Checkpoint("yunet-n", net.state_dict(), scaling=scaling, model=model))
    teacher = load_teacher(tmp_path / "t.safetensors", "yunet-n", closer=True)
    assert isinstance(teacher, CloserCells)
    decoder, size, twice = teacher.decoder, ImageSize(SIDE, SIDE), ImageSize(2 * SIDE, 2 * SIDE)
    image = np.ascontiguousarray(synthetic.draw_scene(3, 1)[0][:SIDE, :SIDE])
    enlarged = cv2.resize(image, (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_LINEAR)
    merged, first, second = teacher(image), teacher.runtime(image), teacher.runtime(enlarged)
    found, one, two = decoder.decode(merged, size), decoder.decode(first, size), decoder.decode(second, twice)
    (corners, strides), (closer_corners, closer_strides) = decoder.places(size), decoder.places(twice)
    middles, counted = (closer_corners + closer_strides / 2) / 2, np.maximum(closer_strides[:, 0] / 2, 8)
    closer_wins = 0
    for i, stride in enumerate(strides[:, 0]):
        inside = ((middles >= corners[i]) & (middles < corners[i] + stride)).all(axis=1)
        rows = np.flatnonzero(inside & (counted == stride))
        best = rows[np.argmax(two.logits[rows])] if len(rows) else -1
        if best >= 0 and two.logits[best] > one.logits[i]:
            logit, box, factors = two.logits[best], two.boxes[best] / 2, second["object_logits"][best]
            closer_wins += 1
        else:
            logit, box, factors = one.logits[i], one.boxes[i], first["object_logits"][i]
        assert found.logits[i] == logit and merged["object_logits"][i] == factors
        assert np.allclose(found.boxes[i], box, atol=2e-3)
    assert 0 < closer_wins < len(strides)


@pytest.mark.parametrize("closer", [False, True])
@pytest.mark.parametrize("student", ["scrfd-0.5g", "retinaface"])
def test_all_anchors_of_a_cell_learn_what_yunet_says_there(student: str, closer: bool, tmp_path: Path) -> None:
    torch.manual_seed(2)
    net, model, scaling = build("yunet-n", {}), model_of("yunet-n", {}), DETECTORS["yunet-n"].scaling
    write(tmp_path / "t.safetensors", Checkpoint("yunet-n", net.state_dict(), scaling=scaling, model=model))
    image, size = np.ascontiguousarray(synthetic.draw_scene(3, 1)[0][:SIDE, :SIDE]), ImageSize(SIDE, SIDE)
    theirs = DETECTORS["yunet-n"].decoder.decode(
        load_teacher(tmp_path / "t.safetensors", "yunet-n", closer)(image), size
    )
    teacher, decoder = load_teacher(tmp_path / "t.safetensors", student, closer), DETECTORS[student].decoder
    found = teacher(image)
    ours = decoder.decode(found, size)
    assert list(found) == list(decoder.names) and len(ours.logits) == 2 * len(theirs.logits)
    for every in (slice(0, None, 2), slice(1, None, 2)):
        np.testing.assert_array_equal(ours.logits[every], theirs.logits)
        np.testing.assert_allclose(ours.boxes[every], theirs.boxes, atol=2e-2)
        assert ours.landmarks is not None and theirs.landmarks is not None
        np.testing.assert_allclose(ours.landmarks[every], theirs.landmarks, atol=2e-2)
    assert isinstance(decoder, SsdCodes | Distances)
    with pytest.raises(RecipeError, match=r"objective.labels is 0.25 for a teacher without anchors, .*; expected 0"):
        Distill(DistillSettings(), decoder, teacher)
    targets = Distill(DistillSettings(labels=0.0), decoder, teacher).targets(scene(True))
    np.testing.assert_array_equal(targets.logits, teacher(scene(True).image)["logits"])


def test_yunet_does_not_teach_nets_of_other_strides(tmp_path: Path) -> None:
    model, scaling = model_of("yunet-n", {}), DETECTORS["yunet-n"].scaling
    state = build("yunet-n", {}).state_dict()
    write(tmp_path / "t.safetensors", Checkpoint("yunet-n", state, scaling=scaling, model=model))
    with pytest.raises(CheckpointError, match="holds yunet-n; expected slim, or a net with the same anchors, as its"):
        load_teacher(tmp_path / "t.safetensors", "slim")


def test_a_net_that_cannot_look_closer_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "t.safetensors", Checkpoint("centerface", build("centerface", {}).state_dict()))
    with pytest.raises(CheckpointError, match=r"holds centerface; expected a net with anchors or YuNet for a closer"):
        load_teacher(tmp_path / "t.safetensors", "centerface", closer=True)
