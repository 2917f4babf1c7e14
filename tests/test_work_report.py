"""`mtcnn report`: one page that loads nothing, of whole and of half-made work folders."""

from __future__ import annotations

import base64
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from factories import write_recipes
from run_command import run

import mtcnn
from mtcnn.errors import DataError
from mtcnn.types import Faces
from prepare.records import ImageRecord
from prepare.synthetic import write_folder
from stages.report.accuracy import measured
from stages.report.charts import bar_chart, line_chart, ticks
from stages.report.facts import size_bars
from stages.report.page import table
from stages.report.pictures import hard_negatives
from stages.report.write import write_report

VOID = {"meta", "img", "line", "rect", "circle", "polyline"}
LARGEST = 4_000_000  # bytes of a page


class Page(HTMLParser):
    """The tags of a page, which must all be closed, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.headings = "", list[str]()
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings.append(data)

    def pictures(self) -> list[Any]:
        sources = [str(attrs["src"]) for tag, attrs in self.tags if tag == "img"]
        raw = [base64.b64decode(source.removeprefix("data:image/jpeg;base64,"), validate=True) for source in sources]
        return [cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) for content in raw]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cascade, trained for some seconds on drawn faces in files."""
    folder = tmp_path_factory.mktemp("report")
    write_folder(folder / "data", 16, 0)
    more = ("[crops]", "[crops]\nval = 20")
    mtcnn.train(None, folder / "data", write_recipes(folder / "my <work>", {12: more, 24: more, 48: more}))
    return folder / "my <work>"


@pytest.fixture(scope="module")
def page(work: Path) -> Page:
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.is_file()}
    done = run("report", work)
    assert done.exit_code == 0, done.stderr
    assert re.fullmatch(rf"{re.escape(str(work / 'report.html'))}: [1-9][\d,]* kB\n", done.stdout)
    after = {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.is_file()}
    del after[work / "report.html"]
    assert before == after, "the work folder has changed"
    assert (work / "report.html").stat().st_size < LARGEST
    return Page(work / "report.html")


def test_every_part_is_there(page: Page) -> None:
    for heading in (
        "my <work>: training report", "Photos", "Accuracy on validation photos", "Worst false alarms",
        "Largest missed faces", "Training", "pnet-draft", "pnet", "rnet", "onet", "Crops by kind", "crops-12",
        "crops-12-hard", "crops-24", "crops-48", "Negatives that look hardest", "Stages", "Settings",
        "How to reproduce",
    ):  # fmt: skip
        assert heading in page.headings, heading
    assert "mtcnn run --data" in page.text
    assert 'net = "onet"' in page.text, "the recipes"
    assert f"mtcnn-cascade{mtcnn.__version__}" in page.text
    assert re.search(r"crops-12fresh", page.text)
    charts = [attrs["aria-label"] for tag, attrs in page.tags if tag == "svg"]
    assert {"faces by longer side", "precision over recall", "total", "face"} <= set(charts)


def test_nothing_is_loaded(page: Page) -> None:
    for tag, attrs in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "base"), tag
        for name in ("src", "href", "data", "srcset", "style"):
            assert str(attrs.get(name) or "data:").startswith("data:"), attrs
    assert "url(" not in page.text
    assert "@import" not in page.text
    policy = [str(attrs.get("content")) for tag, attrs in page.tags if attrs.get("http-equiv")]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_pictures_can_be_decoded(page: Page) -> None:
    pictures = page.pictures()
    assert len(pictures) > 100
    assert all(picture is not None and picture.shape[0] > 10 for picture in pictures)


def test_phones_and_dark_rooms(page: Page) -> None:
    views = [attrs["content"] for tag, attrs in page.tags if tag == "meta" and attrs.get("name") == "viewport"]
    assert views == ["width=device-width, initial-scale=1"]
    assert "prefers-color-scheme:dark" in page.text


def test_a_folder_of_a_detector(tmp_path: Path) -> None:
    recipe = tmp_path / "work" / "models-full" / "slim" / "recipe.toml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text('net = "slim"\ntrain = {epochs = 2, steps = 2, batch = 2, val = 40}\n')
    mtcnn.train("slim", "synthetic:8", tmp_path / "work")
    found = Page(write_report(tmp_path / "work", tmp_path / "page.html"))
    assert "slim" in found.headings
    assert "Crops by kind" not in found.headings
    assert "--net slim --data synthetic:8" in found.text
    assert "2 epochs" in found.text


def test_a_folder_in_the_making(work: Path, tmp_path: Path) -> None:
    """Its photos are gone, a store is damaged, and ONet is missing."""
    copy = tmp_path / "copy"
    shutil.copytree(work, copy)
    (copy / "sources.json").write_text('["wider:/nowhere/x.txt:/nowhere"]')
    (copy / "models-48" / "weights-onet.safetensors").unlink()
    (copy / "crops-24.lmdb" / "data.mdb").write_bytes(b"damaged")
    found = Page(write_report(copy))
    assert "No detector is complete yet" in found.text
    assert "The photos cannot be read: " in found.text
    assert "crops-24.lmdb holds no crops" in found.text
    assert "crops-48" in found.headings


def test_a_folder_without_curves(tmp_path: Path) -> None:
    """Nothing was made yet."""
    run("status", "--work", tmp_path / "work", "--data", "synthetic:3")
    found = Page(write_report(tmp_path / "work"))
    assert "crops-12missing" in found.text
    assert "Training" not in found.headings


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "expected a work folder"),
        (lambda path: path.mkdir(), "is no work folder: no recipe in it"),
        (lambda path: write_folder(path, 2, 0), "is no work folder: no recipe in it"),
        (lambda path: path.write_text("x"), "expected a work folder"),
    ],
)
def test_folders_that_are_none(make: Any, message: str, tmp_path: Path) -> None:
    make(tmp_path / "x")
    done = run("report", tmp_path / "x")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert message in done.stderr
    assert not (tmp_path / "x" / "report.html").exists()


def test_a_page_that_cannot_be_written(work: Path, tmp_path: Path) -> None:
    done = run("report", work, "--out", tmp_path / "missing" / "page.html", "--quiet")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "cannot be written" in done.stderr


def test_a_detector_that_is_not_there(work: Path) -> None:
    with pytest.raises(mtcnn.MtcnnError, match="retinaface"):
        write_report(work, detector="retinaface")


# ---- the parts


def test_the_worst_are_found(tmp_path: Path) -> None:
    """Of three faces one is found, one is too small to count; a box on nothing, and one on an ignored face."""
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((200, 300, 3), np.uint8))
    boxes = np.array([[10, 10, 60, 60], [100, 10, 190, 100], [200, 10, 210, 20], [200, 100, 260, 160]], np.float32)
    record = ImageRecord(tmp_path / "a.png", boxes, ignore=np.array([False, False, False, True]))
    places = np.array([[11, 10, 61, 60], [20, 120, 90, 190], [200, 101, 260, 161], [100, 10, 190, 100]])
    faces = Faces(places, np.array([0.9, 0.8, 0.7, 0.2]))  # the last below the threshold
    found = measured([record], lambda image: faces, 0.5)
    assert found is not None
    assert [spot.box.tolist() for spot in found.false_alarms] == [[20, 120, 90, 190]]
    assert found.false_alarms[0].score == pytest.approx(0.8)
    assert [spot.box.tolist() for spot in found.misses] == [[100, 10, 190, 100]]
    assert {name: curve.faces for name, curve in found.result.curves.items()} == {
        "all": 2, "20 to 40": 0, "40 to 80": 1, "80 to 160": 1, "160 and more": 0,
    }  # fmt: skip
    assert measured([], lambda image: faces, 0.5) is None


def test_hard_negatives_come_hardest_first(work: Path) -> None:
    tiles = hard_negatives(work / "crops-24.lmdb", "rnet", work)
    scores = [float(tile.words) for tile in tiles]
    assert len(scores) == 24
    assert scores == sorted(scores, reverse=True)


def test_sizes_of_faces() -> None:
    boxes = np.array([[0, 0, 5, 9], [0, 0, 10, 2], [0, 0, 400, 3], [np.nan] * 4, [0, 0, 50, 50]], np.float32)
    record = ImageRecord(Path("a"), boxes, ignore=np.array([False, False, False, False, True]))
    assert dict(size_bars([record])) == {"<10": 1, "10-": 1, "20-": 0, "40-": 0, "80-": 0, "160-": 0, "320+": 1}
    assert size_bars([]) == []


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.5, 1]),
        (0, 10, [0, 5, 10]),
        (1, 30, [10, 20, 30]),
        (3, 3, [3]),
        (0, 0.02, [0, 0.005, 0.01, 0.015, 0.02]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_charts() -> None:
    drawn = line_chart("a <title>", {"one": [(1, 0.5), (2, math.nan), (3, 1.0)], "two": []}, "epoch")
    assert "a &lt;title&gt;" in drawn
    assert drawn.count("<polyline") == 1
    assert drawn.count("<circle") == 2
    assert "nan" not in drawn
    many = line_chart("many", {"one": [(i, 1.0) for i in range(10_001)]}, "epoch")
    assert len(many) < 6000
    assert line_chart("none", {"one": [(1, math.inf)]}, "epoch") == ""
    assert bar_chart("none", [], "x") == ""
    assert bar_chart("bars", [("<10", 3), ("10-", 0)], "pixels").count("<rect") == 2


def test_texts_are_escaped() -> None:
    assert table([("<script>", "1")]) == (
        '<div class="wide"><table><tr><td>&lt;script&gt;</td><td class=n>1</td></tr></table></div>'
    )


def test_an_unknown_folder_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        write_report(tmp_path / "none")
