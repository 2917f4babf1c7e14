"""YuNet in training: with labels and with a teacher, killed and resumed, in two processes, and exported."""

from __future__ import annotations

import json
import math
import pickle
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from processes import signalled
from run_command import run
from test_simota import CASES, CELLS, DECODER, FACES, SIZE, said, scene, slow_bce, slow_iou, slow_smooth_l1
from torch.multiprocessing.spawn import start_processes

from mtcnn.checkpoint import Checkpoint, read, weights_path, write
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import build, load_detector, load_runtime, model_of
from mtcnn.errors import RecipeError
from mtcnn.runtimes.torch import TorchRuntime
from prepare import synthetic
from stages.graph.ddp import launch
from stages.objectives.distill import CLIP, SMALL
from stages.objectives.distill_cells import BETA, CellTargets, DistillCells, DistillCellsSettings
from stages.objectives.simota import SimOTA, SimOTASettings
from stages.objectives.targets import stack
from stages.photos.crops import PictureSettings
from stages.photos.nodes import train_on_photos
from stages.photos.recipe import DetectorRecipe, PhotoSchedule
from stages.photos.store import build_photos
from stages.photos.task import new_net
from stages.recipes import recipe_path
from stages.scene import Scene

MODEL = {"channels": (8, 16, 16, 16, 16, 16)}
RECIPE = DetectorRecipe(
    "yunet-n", MODEL, PictureSettings((96.0, 128.0), crop=(0.3, 1.5), points=0.2), SimOTASettings(),
    PhotoSchedule(epochs=3, steps=12, batch=8, lr=6e-3, warmup=4, ema=0.9, val=20.0),
)  # fmt: skip
PROGRAM = """
import pickle, sys
from stages.graph.ddp import launch
launch(pickle.load(open(sys.argv[1], "rb")))
"""

# Some photos have no face, and the faces of some have no points: a batch may have neither.
RECORDS = [
    replace(each, boxes=each.boxes[:0], landmarks=each.landmarks[:0], ignore=each.ignore[:0]) if i % 5 == 0
    else replace(each, landmarks=np.full_like(each.landmarks, np.nan)) if i % 3 == 0
    else each
    for i, each in enumerate(synthetic.records(30, 0))
]  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "photos.raw"
    assert build_photos(RECORDS, path, "data", quiet=True) == []
    return path


def job(photos: Path, folder: Path, recipe: DetectorRecipe = RECIPE, **changes: Any) -> partial[None]:
    given = {"records": RECORDS, "target": weights_path(folder, recipe.net), "key": "key", "quiet": True}
    return partial(train_on_photos, recipe, photos=photos, **{**given, **changes})


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    launch(job(photos, folder))
    return folder


def metrics(folder: Path) -> list[dict[str, float]]:
    file = weights_path(folder, "yunet-n").with_name("metrics-yunet-n.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_losses_fall(trained: Path) -> None:
    first, _, last = metrics(trained)
    for name in ("train_object", "train_box", "train_total"):
        assert last[name] < 0.9 * first[name]
    assert last["val_total"] < first["val_total"]
    weighted = last["train_face"] + last["train_object"] + 5 * last["train_box"] + 0.1 * last["train_landmark"]
    assert last["train_total"] == pytest.approx(weighted, abs=1e-3)


def test_killed_and_resumed_gives_the_same_weights(trained: Path, photos: Path, tmp_path: Path) -> None:
    given, weights = job(photos, tmp_path), weights_path(tmp_path, "yunet-n")
    (tmp_path / "job").write_bytes(pickle.dumps(given))
    killed = signalled("stages.fit:Training.step", RECIPE.train.steps + 5, signal.SIGKILL, PROGRAM, tmp_path / "job")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not weights.exists()
    launch(given)
    one, other = read(weights), read(weights_path(trained, "yunet-n"))
    assert all(np.array_equal(value, other.state[name]) for name, value in one.state.items())
    assert one.figures == other.figures


def test_photos_without_faces_alone(photos: Path, tmp_path: Path) -> None:
    """And in bfloat16, where the processor has it."""
    blank = [replace(each, boxes=each.boxes[:0], landmarks=each.landmarks[:0], ignore=each.ignore[:0])
             for each in RECORDS]  # fmt: skip
    recipe = replace(
        RECIPE, pictures=replace(RECIPE.pictures, points=0.0), train=replace(RECIPE.train, steps=3, mixed=True)
    )
    launch(job(photos, tmp_path, recipe, records=blank))
    last = metrics(tmp_path)[-1]
    assert math.isfinite(last["train_object"])
    assert (last["train_face"], last["train_box"], last["train_landmark"]) == (0, 0, 0)


def test_two_processes_run(photos: Path, tmp_path: Path) -> None:
    launch(job(photos, tmp_path, replace(RECIPE, train=replace(RECIPE.train, epochs=1, steps=3))), 2)
    assert len(metrics(tmp_path)) == 1, "written by one of the two"


def losses_of(rank: int, folder: str, objective: Any, outputs: dict[str, Any], scenes: list[Scene]) -> None:
    """One of two processes, which has half of the pictures."""
    meeting = dist.FileStore(f"{folder}/meeting", 2)  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=meeting, rank=rank, world_size=2)
    mine = slice(rank, rank + 1)
    targets = stack([objective.targets(made) for made in scenes[mine]])
    losses = objective.loss({name: value[mine] for name, value in outputs.items()}, targets)
    torch.save({name: float(value) for name, value in losses.items()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_losses_of_two_processes_are_those_of_one(tmp_path: Path) -> None:
    """Their mean, as gradients are averaged; one process has no face with points."""
    scenes = CASES["one has points"]
    objective, outputs = SimOTA(SimOTASettings(), DECODER), {name: value.detach() for name, value in said(3).items()}
    given = (str(tmp_path), objective, outputs, scenes)
    start_processes(losses_of, given, nprocs=2, start_method="fork")  # type: ignore[no-untyped-call]
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    whole = objective.loss(outputs, stack([objective.targets(made) for made in scenes]))
    for name, value in whole.items():
        assert (parts[0][name] + parts[1][name]) / 2 == pytest.approx(float(value), rel=1e-5), name


def test_weights_detect_and_their_export_computes_the_same(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "yunet.onnx"
    done = run("export", "yunet-n", out, "--models", trained)
    assert done.exit_code == 0, done.stderr
    import onnxruntime

    image = synthetic.draw_scene(3, 1)[0][:96, :96]
    x = image.transpose(2, 0, 1)[None].astype(np.float32)
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    found = session.run(None, {"images": x})
    wanted = load_runtime(weights_path(trained, "yunet-n"), "yunet-n")(image)
    for name, values in zip(DECODER.names, found, strict=True):
        np.testing.assert_allclose(values[0], wanted[name], atol=1e-3)
    assert len(load_detector("yunet-n", trained, threshold=0.0)(image).boxes)


# ---- with a teacher


def plain(seed: int, scale: float = 1.0) -> dict[str, Any]:
    return {name: value[0].detach().numpy() for name, value in said(seed, scale).items()}


def targets(made: Scene, **settings: Any) -> CellTargets:
    return DistillCells(DistillCellsSettings(**settings), DECODER, lambda image: plain(1, 0.5)).targets(made)


def test_without_labels_targets_are_the_teachers() -> None:
    teacher, found = plain(1, 0.5), targets(scene(FACES, complete=False))
    assert np.allclose(found.scores, 1 / (1 + np.exp(-DECODER.logits(teacher))), atol=1e-6)
    for name in DECODER.names:
        assert np.array_equal(getattr(found, name), teacher[name])


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_labels_are_mixed_in_as_a_slow_loop_does(share: float) -> None:
    """The labelled faces are boxes that the teacher gives, one of them to ignore."""
    teacher = plain(1, 0.5)
    boxes = DECODER.boxes(teacher, SIZE, np.arange(CELLS))
    made = scene([boxes[9].tolist(), (boxes[40] + 1).tolist(), boxes[70].tolist()], ignore=(False, False, True))
    plainly = targets(made._replace(complete=False))
    scores, codes, points = plainly.scores.copy(), plainly.boxes.copy(), plainly.landmarks.copy()
    made.landmarks[1] = np.nan  # those of one face are unknown
    shared = np.array([[slow_iou(box, face) for face in made.boxes[:2]] for box in boxes])
    for face in range(2):
        mine = [a for a in range(CELLS) if shared[a, face] >= 0.5 and shared[a, face] == shared[a].max()]
        top = max(plainly.scores[a] for a in mine)
        for a in mine:
            if plainly.scores[a] >= 0.6 * top:
                scores[a] += share * (1 - scores[a])
                wanted, marks = DECODER.encode(SIZE, np.array([a]), made.boxes[[face]], made.landmarks[[face]])
                codes[a] += share * (wanted[0] - codes[a])
                points[a] += share * (marks[0] - points[a]) if face == 0 else 0
    hidden = made.boxes[2]
    for a in range(CELLS):
        w, h = (min(boxes[a][i + 2], hidden[i + 2]) - max(boxes[a][i], hidden[i]) for i in (0, 1))
        smaller = min(float(np.prod(box[2:] - box[:2])) for box in (boxes[a], hidden))
        covered = max(w, 0) * max(h, 0) / smaller >= 0.5 or slow_iou(boxes[a], hidden) >= 0.1
        if shared[a].max() < 0.3 and not covered:
            scores[a] *= 1 - share
    assert (scores != plainly.scores).any() or share == 0
    found = targets(made, labels=share)
    np.testing.assert_allclose(found.scores, scores, atol=1e-6)
    np.testing.assert_allclose(found.boxes, codes, atol=1e-5)
    np.testing.assert_allclose(found.landmarks, points, atol=1e-5)


def test_a_teacher_without_landmarks_teaches_the_rest() -> None:
    teacher = {name: values for name, values in plain(1).items() if name != "landmarks"}
    found = DistillCells(DistillCellsSettings(), DECODER, lambda image: teacher).targets(scene(FACES))
    assert found.landmarks.shape == (CELLS, 10)
    assert not found.points.any()


def test_losses_equal_a_slow_loop() -> None:
    settings = DistillCellsSettings(labels=0.5, min_landmark_face=10.0)
    wanted, student = (
        [targets(scene(FACES), min_landmark_face=10.0), targets(scene([]), labels=1.0, min_landmark_face=10.0)],
        said(7),
    )
    losses = DistillCells(settings, DECODER, lambda image: plain(1)).loss(student, stack(wanted))
    sums = dict.fromkeys(("face", "object", "score", "logit", "box", "landmark"), 0.0)
    scores = objects = weights = 0.0

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    def product(a: float, b: float) -> float:
        p = sigmoid(a) * sigmoid(b)
        return math.log(p / (1 - p))

    for n, target in enumerate(wanted):
        for a in range(CELLS):
            c, o = (student[f"{name}_logits"][n, a, 0].item() for name in ("class", "object"))
            tc, to, p = float(target.class_logits[a, 0]), float(target.object_logits[a, 0]), float(target.scores[a])
            z, w = product(c, o), p + settings.background
            scores, objects, weights = scores + p, objects + sigmoid(to), weights + w
            sums["face"] += (abs(p - sigmoid(z)) + p) * slow_bce(z, p)
            sums["object"] += (abs(sigmoid(to) - sigmoid(o)) + sigmoid(to)) * slow_bce(o, sigmoid(to))
            sums["score"] += w * slow_bce(c, sigmoid(tc))
            sums["logit"] += w * slow_smooth_l1(min(max(z, -CLIP), CLIP) - min(max(product(tc, to), -CLIP), CLIP), 1.0)
            sides = [math.exp(min(max(float(v), -2), 5)) for v in target.boxes[a, 2:]]
            apart = student["boxes"][n, a].detach().numpy() - target.boxes[a]
            scaled = [apart[0] / sides[0], apart[1] / sides[1], apart[2], apart[3]]
            sums["box"] += w * sum(slow_smooth_l1(float(v), BETA) for v in scaled)
            size = math.sqrt(sides[0] * sides[1])
            stride = float(DECODER.places(SIZE)[1][a, 0])
            big = 1.0 if math.exp(float(plain(1, 0.5)["boxes"][a, 2:].sum()) / 2) * stride >= 10 else SMALL
            off = student["landmarks"][n, a].detach().numpy() - target.landmarks[a]
            sums["landmark"] += w * big * sum(slow_smooth_l1(float(v) / size, BETA) for v in off)
    expected = {name: value / {"face": scores, "object": objects}.get(name, weights) for name, value in sums.items()}
    assert {name: losses[name].item() for name in expected} == pytest.approx(expected, rel=1e-4)
    total = sum(getattr(settings, name) * value for name, value in expected.items())
    assert losses["total"].item() == pytest.approx(total, rel=1e-4)


def test_a_student_approaches_its_teacher(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    net = build("yunet-n", MODEL)
    for part in net.heads["object_logits"]:  # type: ignore[index]
        torch.nn.init.constant_(part[1].bias, 2.0)
    teacher = tmp_path / "teacher.safetensors"
    write(teacher, Checkpoint("yunet-n", net.state_dict(), scaling=DETECTORS["yunet-n"].scaling,
                              model=model_of("yunet-n", MODEL)))  # fmt: skip
    recipe = replace(
        RECIPE, objective=DistillCellsSettings(labels=0.0), train=replace(RECIPE.train, epochs=2, steps=25)
    )
    with pytest.raises(RecipeError, match="distill-cells without a teacher; expected weights of the same net"):
        launch(job(photos, tmp_path, recipe))
    launch(job(photos, tmp_path, recipe, teacher=teacher))
    image = synthetic.draw_scene(3, 1)[0][:96, :96]
    untrained = TorchRuntime(new_net(recipe).eval(), DETECTORS["yunet-n"].scaling)
    student = load_runtime(weights_path(tmp_path, "yunet-n"), "yunet-n")
    wanted = DECODER.logits(load_runtime(teacher, "yunet-n")(image))
    before, after = (np.abs(DECODER.logits(net(image)) - wanted).mean() for net in (untrained, student))
    assert after < 0.3 * before


def test_the_command(tmp_path: Path) -> None:
    """The packaged recipe is copied, and trains once its steps are few."""
    work = tmp_path / "work"
    for name in ("yunet-n", "yunet-s", "centerface"):
        path = recipe_path(work, name)
        path.parent.mkdir(parents=True)
        text = (Path(__file__).parent.parent / "models-full" / name / "recipe.toml").read_text()
        for setting, value in (("epochs", 1), ("steps", 2), ("batch", 2), ("sizes", [64])):
            text = "\n".join(f"{setting} = {value}" if line.startswith(f"{setting} =") else line
                             for line in text.splitlines())  # fmt: skip
        path.write_text(text)
        done = run("train", "--net", name, "--work", work, "--data", "synthetic:12", "--quiet")
        assert done.exit_code == 0, done.stderr
        assert weights_path(work, name).is_file()
