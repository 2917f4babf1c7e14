"""docs/retrain.md: its commands, in order, on drawn photos; and labels of `mtcnn detect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import write_cnet_recipe, write_recipes
from run_command import run
from test_docs import ROOT, blocks, command_lines

from mtcnn.pictures.draw import save_image
from prepare.readers import READERS, form_of, read_source
from prepare.synthetic import draw_scene

PAGE = ROOT / "docs" / "retrain.md"
SMALL = {"epochs = 8": "epochs = 1", "steps = 30": "steps = 2", "batch = 8": "batch = 2", "[320]": "[64]"}


def draw_photos(folder: Path, seed: int, count: int) -> Path:
    folder.mkdir(parents=True)
    scenes = (draw_scene(seed, index, 160, 200) for index in range(100))
    for number, (image, *_) in zip(range(count), (scene for scene in scenes if len(scene[1])), strict=False):
        save_image(folder / f"{number}.png", image)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("retrain")
    draw_photos(made / "photos", 1, 6)
    draw_photos(made / "test", 2, 3)
    recipe = blocks(PAGE, "toml")[0]
    for before, after in SMALL.items():
        assert before in recipe
        recipe = recipe.replace(before, after)
    path = made / "work/models-full/retinaface/recipe.toml"
    path.parent.mkdir(parents=True)
    path.write_text(recipe)
    write_cnet_recipe(write_recipes(made / "cascade"))
    write_recipes(made / "onet")
    return made


def correct(path: Path) -> int:
    """What a labelling program does: doubtful regions become faces, and no score is left. Returns their number."""
    body = json.loads(path.read_text())
    for annotation in body["annotations"]:
        annotation.update(category_id=1, iscrowd=0)
        annotation.pop("score", None)
    path.write_text(json.dumps(body))
    return len(body["annotations"])


def test_every_command_of_the_page_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scipy")
    monkeypatch.chdir(folder)
    lines = list(command_lines(PAGE))
    assert {words[1] for words in lines} >= {"detect", "data", "eval", "train"}
    for words in lines:
        limits = ["--workers", "1"] if words[1] in ("eval", "train") else []
        done = run(*words[1:], *limits)
        assert done.exit_code == 0, (words, done.stderr)
        if "--coco" in words:
            assert correct(Path(words[words.index("--coco") + 1])) > 0
    for made in ("learn.png", "work/models-full/retinaface/weights.safetensors"):
        assert (folder / made).is_file()
    for net, size in (("pnet", 12), ("rnet", 24), ("onet", 48)):
        assert (folder / f"cascade/models-{size}/start-{net}.safetensors").is_file()
        assert (folder / f"cascade/models-{size}/weights-{net}.safetensors").is_file()
    assert (folder / "cascade/models-48/weights-cnet.safetensors").is_file()
    assert len(list((folder / "after").glob("*.png"))) == 3


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_photos(tmp_path_factory.mktemp("found") / "photos", 1, 3)


def detected(photos: Path, *words: object) -> Any:
    done = run("detect", photos, "--detector", "retinaface", *words)
    assert done.exit_code == 0, done.stderr
    return done


@pytest.mark.parametrize("form", ["coco", "yolo", "voc"])
def test_labels_of_detect(photos: Path, tmp_path: Path, form: str) -> None:
    """Those that `--json` has: sure ones as faces, doubtful ones as ignore regions."""
    listed = [json.loads(line) for line in detected(photos, "--json", "--score", "0.3").stdout.splitlines()]
    scores = sorted(face["score"] for image in listed for face in image["faces"])
    sure = (scores[0] + scores[-1]) / 2
    assert scores[0] < sure < scores[-1]
    target = tmp_path / ("found.json" if form == "coco" else "found")
    done = detected(photos, f"--{form}", target, "--sure", sure)
    assert done.stderr.splitlines()[-2].removeprefix("mtcnn: ").startswith("train on them as ")
    source = done.stderr.splitlines()[-2].removeprefix("mtcnn: train on them as ")
    assert form_of(source) == form
    records, _ = read_source(source)
    assert [record.path.resolve() for record in records] == [Path(image["image"]).resolve() for image in listed]
    if form == "yolo":  # where ultralytics, for one, looks for labels: its img2label_paths
        for record in records:
            assert Path(str(record.path).replace("/images/", "/labels/")).with_suffix(".txt").is_file()
    for record, image in zip(records, listed, strict=True):
        boxes: dict[bool, list[Any]] = {False: [], True: []}
        for face in image["faces"]:
            boxes[face["score"] < sure].append(face["box"])
        for doubtful, wanted in boxes.items():
            found = record.boxes[record.ignore == doubtful]
            np.testing.assert_allclose(found, np.reshape(wanted, (-1, 4)), atol=0.06)


def test_a_coco_file_above_its_photos_finds_them(photos: Path) -> None:
    target = photos.parent / "found.json"
    detected(photos, "--coco", target)
    records, _ = READERS["coco"](target)
    assert len(records) == 3 and all(record.scores is not None for record in records)
    again = run("detect", photos, "--coco", target)
    assert again.exit_code == 2
    assert f"--coco {target} exists; expected a new name, as it may hold corrected labels" in again.stderr


def test_labels_are_for_photos(photos: Path, tmp_path: Path) -> None:
    from clips import write_clip

    write_clip(tmp_path / "a.mp4", [np.zeros((64, 64, 3), np.uint8)] * 3)
    done = run("detect", tmp_path / "a.mp4", "--voc", tmp_path / "voc")
    assert done.exit_code == 2 and "--voc is for photos; expected image files" in done.stderr
    for words, why in (
        (("--sure", 0.5), "expected --coco, --yolo or --voc as well"),
        (("--coco", tmp_path / "x.json", "--out", tmp_path / "y", "--resume"), "expected no --resume with them"),
    ):
        done = run("detect", photos, *words)
        assert done.exit_code == 2 and why in done.stderr.replace("\n", " ")
