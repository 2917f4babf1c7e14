"""What trained weights and their card say of sources and teachers."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_second_pass import models_with_own

from mtcnn.checkpoint import Checkpoint, read, weights_path, write
from prepare.readers import read_source
from prepare.records import ImageRecord
from prepare.source_notes import SourceNote, note_of
from prepare.teachers.origins import origins_of
from prepare.teachers.teacher import Teacher, find_teachers
from stages.card import MARK, card_of, name_sources
from stages.graph.project import open_project
from stages.recipes import recipe_path

TEACHER = {"net": "retinaface", "sha256": "ab" * 32, "from": "a | file", "licence": "MIT", "terms": "for research"}
RECIPE = """
net = "retinaface"
[pictures]
sizes = [64]
[train]
epochs = 1
steps = 2
batch = 2
"""


def labels(folder: Path, teachers: object = (TEACHER,), named: str = "labelv2.txt") -> str:
    """Two photos that teachers labelled, as a source; the second is all doubtful."""
    rows = []
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 256, (96, 128, 3), np.uint8)
        assert cv2.imwrite(str(folder / f"{i}.png"), pixels)
        face = "20 20 60 60 " + " ".join(["-1"] * 15) + " 0.7"
        rows += [f"# {i}.png 128 96", face if i == 0 else "20 20 60 60 1", "70 10 90 30 1"]
    (folder / "labelv2.txt").write_text("\n".join(rows))
    note = {"labels": named, "teachers": [{"name": "x", "weights": list(teachers)}]}  # type: ignore[call-overload]
    (folder / "teachers.json").write_text(json.dumps(note))
    return f"labelv2:{folder}/labelv2.txt:{folder}"


def test_the_note_of_a_source(tmp_path: Path) -> None:
    spec = labels(tmp_path)
    found = note_of(spec, read_source(spec)[0])
    assert found == SourceNote("labelv2:labelv2.txt", 2, 1, 1, 3, (TEACHER,))
    drawn = note_of("synthetic:3", read_source("synthetic:3")[0])
    assert (drawn.name, drawn.photos, drawn.scored, drawn.teachers) == ("synthetic:3", 3, 0, ())
    people = ImageRecord(Path("x.jpg"), np.array([[0, 0, 9, 9]]), scores=np.array([1.0]))
    assert note_of(str(tmp_path), [people]).scored == 0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"labels": "labelv2.txt", "teachers": 3}', "[" * 9999, "\xff",
                                  '{"labels": "labelv2.txt", "teachers": [{"weights": [{"net": 1}]}]}'])  # fmt: skip
def test_a_note_about_teachers_that_is_none(tmp_path: Path, text: str) -> None:
    spec = labels(tmp_path)
    (tmp_path / "teachers.json").write_text(text, "latin-1")
    assert note_of(spec, []).teachers == ()


def test_a_note_about_other_labels(tmp_path: Path) -> None:
    assert note_of(labels(tmp_path, named="coco.json"), []).teachers == ()


def test_origins_of_packaged_imported_and_own_weights(random_models: Path, tmp_path: Path) -> None:
    (cascade,) = find_teachers(["mtcnn"])
    assert [(each["net"], each["licence"]) for each in origins_of(cascade)][:3] == [
        ("pnet", "MIT"), ("rnet", "MIT"), ("onet", "MIT"),
    ]  # fmt: skip
    assert origins_of(cascade)[1]["terms"] == "see Terms of the data in models-24/MODEL_CARD.md"
    models = models_with_own(random_models, tmp_path / "models")
    (own,) = find_teachers(["mtcnn"], models)
    assert [each["net"] for each in origins_of(own)] == ["pnet", "rnet", "onet", "cnet"]
    known = "2979b33ffafda5d74b6948cd7a5b9a7a62f62b949cef24e95fd15d2883a65220"
    for source, licence in ((known, "MIT"), ("0" * 64, "unknown: ask who made the weights")):
        recipe = {"imported": {"file": "mobilenet0.25_Final.pth", "sha256": source}}
        write(weights_path(tmp_path, "ssh"), Checkpoint("ssh", {"x": np.zeros(1, np.float32)}, recipe=recipe))
        (found,) = origins_of(Teacher("ssh", tmp_path, sha256=("cd",)))
        assert (found["sha256"], found["licence"]) == ("cd", licence) and source in found["from"]
        assert ("for research" in found["terms"]) == (source == known)
    write(weights_path(tmp_path, "ssh"), Checkpoint("ssh", {"x": np.zeros(1, np.float32)}))
    assert origins_of(Teacher("ssh", tmp_path, sha256=("cd",)))[0]["from"] == "trained by mtcnn"


def test_every_packaged_card_has_terms_of_the_data() -> None:
    from mtcnn.checkpoint import has_weights, packaged_weights
    from mtcnn.detectors import DETECTORS

    for net in ("pnet", "rnet", "onet", "cnet", *DETECTORS):
        if has_weights(packaged_weights(), net):
            card = weights_path(packaged_weights(), net).with_name("MODEL_CARD.md")
            assert "## Terms of the data" in card.read_text("utf-8"), card


def test_a_training_names_its_sources(tmp_path: Path) -> None:
    """In the weights and in a card; with another source only the card and the recipe would change."""
    work = tmp_path / "work"
    (tmp_path / "labels").mkdir()
    specs = [labels(tmp_path / "labels"), "synthetic:12"]
    path = recipe_path(work, "retinaface")
    path.parent.mkdir(parents=True)
    path.write_text(RECIPE)
    dag = open_project(work, ["retinaface"], specs, quiet=True)
    dag.ensure("retinaface")
    weights, card = weights_path(work, "retinaface"), weights_path(work, "retinaface").with_name("MODEL_CARD.md")
    found = read(weights)
    assert found.recipe_hash == dag.nodes["retinaface"].key
    assert [(each["name"], each["photos"], each["scored"]) for each in found.recipe["sources"]] == [
        ("labelv2:labelv2.txt", 2, 1), ("synthetic:12", 12, 0),
    ]  # fmt: skip
    assert found.recipe["sources"][0]["teachers"] == [TEACHER]
    text = card.read_text("utf-8")
    assert f"| retinaface | {'ab' * 32} | a \\| file | MIT | for research |" in text
    assert "| labelv2:labelv2.txt | 2 | 1 | 1 | 3 |" in text and "| all | 14 |" in text and str(tmp_path) not in text
    before = weights.read_bytes()
    card.unlink()
    assert open_project(work, ["retinaface"], quiet=True).ensure("retinaface") == []
    assert card.read_text("utf-8") == text and weights.read_bytes() == before, "written again, the same"
    card.write_text("# mine\n")
    open_project(work, ["retinaface"], quiet=True).ensure("retinaface")
    assert card.read_text("utf-8") == "# mine\n"


def test_the_card_of_a_net_of_the_cascade(tmp_path: Path) -> None:
    path = weights_path(tmp_path, "pnet")
    recipe = {"epochs": 3, "steps": 20, "batch": 8}
    write(path, Checkpoint("pnet", {"x": np.arange(3, dtype=np.float32)}, recipe=recipe, recipe_hash="k"))
    notes = [SourceNote("wider:a.txt", 3, 4, 0, 0), SourceNote("labelv2:b.txt", 1000, 5, 5, 6, (TEACHER,))]
    name_sources(path, notes)
    found = read(path)
    assert found.state["x"].tolist() == [0, 1, 2] and found.recipe_hash == "k"
    text = path.with_name("MODEL_CARD.md").read_text("utf-8")
    assert text == card_of(found, path.name, notes) and MARK in text
    assert "3 epochs of 20 steps" in text and "| all | 1,003 | 9 | 5 | 6 |" in text
    assert "Teachers" not in card_of(found, path.name, notes[:1])
