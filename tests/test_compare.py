"""`mtcnn compare`: the table agrees with `mtcnn eval`, a run resumes, attributes count the right faces."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from run_command import run
from sample_data import lay_out, write_mats

from mtcnn.checkpoint import set_threshold, weights_path
from mtcnn.compare import cache, choose, costs, outputs, sheet
from mtcnn.compare.entries import RECALL
from mtcnn.compare.outputs import Row, plot, tables
from mtcnn.errors import CheckpointError, DataError, SettingsError
from mtcnn.metrics.attributes import with_attributes
from mtcnn.metrics.plots import save_figure
from mtcnn.metrics.problems import Problems
from mtcnn.metrics.wider import GroundTruth
from mtcnn.pictures.draw import save_image
from mtcnn.types import Faces
from mtcnn.workers import Here


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("drawn"))


def compare(drawn: Path, *words: object) -> Any:
    return run("compare", *words, "--photos", drawn / "images", "--ground-truth", drawn / "ground_truth")


def test_figures_equal_those_of_eval(drawn: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = compare(drawn, "mtcnn", "retinaface", "ssh", "--refine", "rnet,onet", "--workers", 1, "--out", tmp_path)
    assert done.exit_code == 0, done.stderr
    rows = {row["detector"]: row for row in json.loads((tmp_path / "table.json").read_text())}
    assert list(rows) == ["mtcnn", "retinaface", "retinaface+rnet+onet", "ssh"]
    assert rows["ssh"] == {"detector": "ssh", "missing": "no weights of ssh"}
    for name, settings in {
        "mtcnn": (),
        "retinaface": ("--stage1", "retinaface", "--threshold", 0.02),
        "retinaface+rnet+onet": ("--stage1", "retinaface", "--refine", "rnet,onet", "--threshold", 0.02),
    }.items():
        own = run("eval", "wider", "--photos", drawn / "images", "--ground-truth", drawn / "ground_truth", "--json",
                  "--workers", 1, *settings)  # fmt: skip
        result = json.loads(own.stdout)[name]
        assert {key: rows[name]["ap"][key] for key in result["ap"]} == result["ap"], name
        assert rows[name]["detections"] == result["detections"]
    assert rows["retinaface"]["parameters"] == 426_608
    assert rows["retinaface"]["ms"] > 0
    assert rows["retinaface"]["memory_mib"] > 50
    assert (tmp_path / "table.md").read_text() == done.stdout
    assert "| ssh: no weights of ssh " in done.stdout
    assert {"table.png", "photos.jpg"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("count", [3, 14])
def test_names_of_many_detectors_stand_beside_the_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    pytest.importorskip("matplotlib")
    figures: list[Any] = []

    def keep(figure: Any, axes: list[Any], path: Path, corner: str) -> Path:
        figures.append(figure)
        return save_figure(figure, axes, path, corner)

    monkeypatch.setattr(outputs, "save_figure", keep)
    curves = {"easy": SimpleNamespace()}
    rows = [Row("none", missing="no weights")]
    for i in range(count):
        result: Any = SimpleNamespace(curves=curves, ap={"easy": 0.5 + 0.01 * i})
        rows.append(Row(f"net-{i}", result=result, costs={"ms": 5.0 + i}))
    plot(rows, tmp_path / "plot.png")
    (figure,) = figures
    inside = [text.get_text() for text in figure.axes[0].texts]
    beside = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    if count == 3:
        assert inside == ["net-0", "net-1", "net-2"] and beside == []
    else:
        assert inside == [str(2 + i) for i in range(count)], "numbers of the rows of the table"
        assert beside == [f"{2 + i}  net-{i}" for i in range(count)]


def test_killed_run_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished photos are not detected again; truncated lines and lines of other photos are not used."""
    photos = {str(i): tmp_path / f"{i}.jpg" for i in range(6)}
    for i, path in enumerate(photos.values()):
        path.write_bytes(bytes(i + 1))
    asked: list[str] = []

    def detect_each(images: dict[str, Path], *_: object) -> Iterator[tuple[str, Faces]]:
        for name in images:
            asked.append(name)
            if len(asked) > 4:
                raise KeyboardInterrupt
            yield name, Faces(np.array([[1.5, 2, 3, 4]]), np.array([0.3]))

    class Bar:
        done = 0

        def update(self, count: int) -> None:
            self.done += count

    monkeypatch.setattr(cache, "detect_each", detect_each)
    monkeypatch.setattr(cache, "CHUNK", 2)
    file = tmp_path / "found" / "a.jsonl"

    def go() -> tuple[dict[str, Any], int]:
        bar = Bar()
        return cache.detections(file, photos, lambda: None, Here(), Problems(), bar), bar.done  # type: ignore[arg-type,return-value]

    with pytest.raises(KeyboardInterrupt):
        go()
    with file.open("a") as half:
        half.write('{"photo": "4", "sta')
    photos["1"].write_bytes(b"another photo")
    asked.clear()
    found, done = go()
    assert asked == ["1", "4", "5"]
    assert done == 6
    assert list(found) == list(photos)
    assert np.allclose(found["4"], [[1.5, 2, 1.5, 2, 0.3]])
    asked.clear()
    assert go()[1] == 6
    assert asked == []


def test_names(tmp_path: Path) -> None:
    entries = choose(["mtcnn", "retinaface", "retinaface+rnet"], scales=["original", "320"], refine="rnet")
    assert [entry.label for entry in entries] == [
        "mtcnn", "retinaface", "retinaface+rnet", "mtcnn @320", "retinaface @320", "retinaface+rnet @320",
    ]  # fmt: skip
    assert [entry.nets for entry in entries[:3]] == [
        ("pnet", "rnet", "onet"), ("retinaface",), ("retinaface", "rnet")
    ]  # fmt: skip
    every = [entry.name for entry in choose(["all"])]
    assert every[:2] == ["mtcnn", RECALL]
    assert {"retinaface", "yunet-n", "s3fd"} <= set(every)
    for wrong in ("cascade", "mtcnn+rnet", "retinaface+onet", "retinaface+"):
        with pytest.raises(SettingsError, match="is not a detector; expected all, a file that ends"):
            choose([wrong])
    with pytest.raises(SettingsError, match="sizes is 'big'"):
        choose(["mtcnn"], scales=["big"])
    with pytest.raises(
        CheckpointError, match="no weights at /none: no such folder; train them or import them, or name"
    ):
        choose(["mtcnn"], [Path("/none")])  # and not the packaged ones


def test_names_without_weights_alone_are_an_error(drawn: Path, tmp_path: Path) -> None:
    """Beside others they are rows that say so."""
    done = compare(drawn, "ssh", "s3fd", "--out", tmp_path / "out")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "mtcnn: ssh: no weights of ssh; s3fd: no weights of s3fd; expected a detector that runs; train them or import "
        "them, and name their folder as --models\n"
    )
    assert not (tmp_path / "out").exists()
    assert [bool(entry.missing()) for entry in choose(["ssh", "mtcnn"])] == [True, False]
    assert any(entry.missing() for entry in choose(["all"]))


def test_weights_from_the_first_folder_that_has_them(random_models: Path, tmp_path: Path) -> None:
    """A cascade's nets come from one folder, and other weights are other detections."""
    (tmp_path / "none").mkdir()
    packaged, own = choose(["mtcnn"])[0], choose(["mtcnn"], [tmp_path / "none", random_models])[0]
    assert packaged.models != own.models == own.refiners == random_models
    assert packaged.key() != own.key() == choose(["mtcnn"], [random_models])[0].key()
    alone = tmp_path / "alone" / "models-full" / "retinaface"
    assert packaged.models is not None
    shutil.copytree(packaged.models / "models-full" / "retinaface", alone)
    behind = choose(["retinaface+rnet+onet"], [tmp_path / "alone"])[0]
    assert behind.models == tmp_path / "alone"
    assert behind.refiners == packaged.models
    assert behind.missing() == ""


def test_attributes_of_both_formats(tmp_path: Path) -> None:
    """A face counts by its own label, if it counts in the widest setting."""
    boxes = {"e/a": [[0, 0, 8, 20], [9, 9, 70, 60], [5, 5, 400, 400]], "e/b": [[1, 1, 30, 30]]}
    counted = {"e/a": [1, 2], "e/b": [1]}
    blur = {"e/a": [0, 2, 2], "e/b": [2]}
    folder = write_mats(tmp_path / "mats", boxes, dict.fromkeys(("easy", "medium", "hard"), counted), {"blur": blur})
    found = with_attributes(GroundTruth.load(folder), folder)
    assert found.settings == (
        "easy", "medium", "hard", "10-50 px", "50-300 px", "300+ px", "blur none", "blur normal", "blur heavy",
    )  # fmt: skip
    picked = {name: [mask.tolist() for mask in found.counted[name].values()] for name in found.settings[3:]}
    assert picked == {
        "10-50 px": [[True, False, False], [True]],
        "50-300 px": [[False, True, False], [False]],
        "300+ px": [[False, False, False], [False]],
        "blur none": [[True, False, False], [False]],
        "blur normal": [[False, False, False], [False]],
        "blur heavy": [[False, True, False], [True]],
    }
    text = tmp_path / "bbx.txt"
    text.write_text("e/a.jpg\n2\n0 0 8 20 1 0 1 0 2 1\n9 9 70 60 2 1 0 1 0 0\ne/b.jpg\n1\n1 1 30 30\n")
    found = with_attributes(GroundTruth.load(text), text)
    assert found.counted["pose atypical"]["e/a"].tolist() == [True, False]
    assert found.counted["occlusion heavy"]["e/a"].tolist() == [True, False]
    assert found.counted["blur heavy"]["e/a"].tolist() == [False, False], "an invalid face never counts"
    assert found.counted["blur none"]["e/b"].tolist() == [True]
    write_mats(folder, boxes, dict.fromkeys(("easy", "medium", "hard"), counted), {"pose": {**blur, "e/a": [0]}})
    with pytest.raises(DataError, match="e/a has 1 labels of pose for 3 boxes"):
        with_attributes(GroundTruth.load(folder), folder)


def test_operating_point_and_outcome() -> None:
    """Best F1: 2 of 3 faces with no false alarm beats 3 with three; ignored faces are neither."""
    truth = GroundTruth({"a": np.array([[0, 0, 9, 9], [20, 0, 9, 9], [40, 0, 9, 9], [60, 0, 9, 9]], float)}, {}, "mat")
    counted = {"a": np.array([True, True, True, False])}
    rows = [[0, 0, 9, 9, 0.9], [60, 0, 9, 9, 0.8], [20, 0, 9, 9, 0.7], *[[80 + i, 50, 9, 9, 0.6] for i in range(3)],
            [40, 0, 9, 9, 0.5]]  # fmt: skip
    found = {"a": np.array(rows)}
    assert sheet._operating_point(truth, counted, found) == 0.7
    outcome = sheet._outcome(found["a"], truth.boxes["a"], counted["a"], 0.7)
    assert outcome.hit.tolist() == [True, True, False]
    assert outcome.false.tolist() == [False, False, False]
    assert outcome.f1 == pytest.approx(0.8)
    assert sheet._operating_point(truth, counted, {"a": np.zeros((0, 5))}) == 0.0


def test_frames_keep_shapes() -> None:
    """A circle stays a circle: the middle of the photo is cut, not squeezed."""
    y, x = np.mgrid[:300, :900]
    photo = np.where((y - 150) ** 2 + (x - 450) ** 2 < 100**2, 255, 0).astype(np.uint8)[..., None].repeat(3, axis=2)
    (frame,) = costs.frames([photo])
    assert frame.shape == (480, 640, 3)
    disc = frame[..., 0] > 127
    assert abs(int(disc.any(axis=0).sum()) - int(disc.any(axis=1).sum())) <= 1
    assert abs(int(disc.any(axis=0).sum()) - 1.6 * 199) <= 1


def test_speed_counts_only_its_own_calls() -> None:
    class Bar:
        count = 0

        def update(self) -> None:
            self.count += 1

    def burn(loops: int) -> Any:
        return lambda image: sum(range(loops))

    bar = Bar()
    found = costs.speed({"slow": burn(400_000), "fast": burn(1000)}, [np.zeros((2, 2, 3), np.uint8)] * 2, 3, bar)
    assert bar.count == 12
    assert found["slow"] > 20 * found["fast"] > 0


def test_photos_that_cannot_be_read_are_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are reported, as in detection, instead of ending the comparison behind it."""
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(costs, "memory", lambda entry: None)
    (photos := tmp_path / "photos" / "e").mkdir(parents=True)
    for name, content in {"a": b"no picture", "b": b""}.items():
        (photos / f"{name}.jpg").write_bytes(content)
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"e/{name}.jpg\n1\n10 10 20 20\n" for name in "abc"))
    words = ("compare", "yunet-n", "--photos", photos.parent, "--ground-truth", labels, "--out", tmp_path / "out")
    done = run(*words)
    assert done.exit_code == 0, done.stderr
    assert ["a.jpg: is not an image" in line or "b.jpg: is empty" in line for line in done.stderr.split("\n")[1:3]] == [
        True,
        True,
    ], "a line each"
    assert "ms" not in json.loads((tmp_path / "out" / "table.json").read_text())[0]
    save_image(photos / "c.png", np.zeros((1, 3, 3), np.uint8))  # smaller than a pixel of a frame
    done = run(*words)
    assert done.exit_code == 0, done.stderr
    assert json.loads((tmp_path / "out" / "table.json").read_text())[0]["ms"] > 0


def test_table_without_any_weights() -> None:
    assert "| s3fd: no weights of s3fd |" in tables([Row("s3fd", "no weights of s3fd")])


def test_bad_input(drawn: Path, tmp_path: Path) -> None:
    done = compare(drawn, "mtcnn", "--out", tmp_path, "--sizes", "320,huge")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--sizes is 'huge'" in done.stderr
    counted = {difficulty: {"e/a": [1]} for difficulty in ("easy", "medium", "hard")}
    other = write_mats(tmp_path / "other", {"e/a": [[0, 0, 9, 9]]}, counted)
    done = run("compare", "mtcnn", "--photos", drawn / "images", "--ground-truth", other, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "no photo of the ground truth" in done.stderr


def test_other_thresholds_are_other_detections(random_models: Path, tmp_path: Path) -> None:
    models = Path(shutil.copytree(random_models, tmp_path / "models"))
    before = choose(["mtcnn"], [models])[0].key()
    set_threshold(weights_path(models, "onet"), 0.95)
    assert choose(["mtcnn"], [models])[0].key() != before
