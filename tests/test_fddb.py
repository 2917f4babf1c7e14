"""FDDB: masks and matching compared with plain loops, a case by hand, the original's ROC files, bad files."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from reference import plain_assignment, plain_fddb, plain_rectangle

from mtcnn.errors import DataError, MtcnnError
from mtcnn.metrics import fddb, plots
from mtcnn.metrics.matching import best_pairs
from mtcnn.metrics.problems import Problems
from mtcnn.types import ImageSize

_number = st.floats(-9, 30).map(lambda v: round(v * 2) / 2)  # halves: where rounding to even shows
_size = st.tuples(st.integers(1, 14), st.integers(1, 14))


@given(st.tuples(_number, _number, _number, _number), _size)
def test_rectangles_are_drawn_as_the_original_does(
    box: tuple[float, float, float, float], size: tuple[int, int]
) -> None:
    mask = fddb.draw(np.array([*box, 1.0]), ImageSize(*size))
    assert mask.tolist() == plain_rectangle(*box, height=size[0], width=size[1])
    x, y, w, h = box
    drawn = np.zeros(size, np.uint8)
    cv2.rectangle(drawn, (round(x), round(y)), (round(x + w), round(y + h)), 1, -1)
    np.testing.assert_array_equal(mask, drawn)


@given(st.floats(15, 40), st.floats(15, 40), st.floats(-1.6, 1.6), _number, _number)
def test_ellipses_lie_where_their_equation_says(a: float, b: float, angle: float, cx: float, cy: float) -> None:
    mask = fddb.draw(np.array([a, b, angle, cx, cy, 1]), ImageSize(60, 70))
    y, x = np.mgrid[:60, :70]
    along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
    # The centre is moved by up to half a pixel, the axes lose up to one, and the outline is a polygon.
    inside = (along / (a - 3)) ** 2 + (across / (b - 3)) ** 2 <= 1
    outside = (along / (a + 2)) ** 2 + (across / (b + 2)) ** 2 > 1
    assert mask[inside].all()
    assert not mask[outside].any()


_weight = st.sampled_from([0.0, 0.0, 0.25, 0.5, 0.75]) | st.floats(0, 1).map(lambda v: round(v, 3))


@st.composite
def _weighted_image(draw: st.DrawFn) -> tuple[list[list[float]], list[float]]:
    faces, found = draw(st.integers(0, 3)), draw(st.integers(1, 4))
    row = st.lists(_weight, min_size=found, max_size=found)
    scores = st.lists(st.sampled_from([0.1, 0.5, 0.5, 0.9]), min_size=found, max_size=found)
    return draw(st.lists(row, min_size=faces, max_size=faces)), draw(scores)


@given(_weighted_image())
def test_best_pairs_have_the_highest_total(image: tuple[list[list[float]], list[float]]) -> None:
    weights = np.array(image[0]).reshape(-1, len(image[1]))
    pairs = best_pairs(weights)
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
    assert (weights[pairs[:, 0], pairs[:, 1]] > 0).all()
    plain = plain_assignment(image[0])
    assert sum(weights[i, j] for i, j in pairs) == pytest.approx(sum(image[0][i][j] for i, j in plain))


@given(st.lists(_weighted_image(), min_size=1, max_size=4))
def test_merging_equals_matching_at_every_threshold(images: list[tuple[list[list[float]], list[float]]]) -> None:
    """Only where the best assignment is the only one: of equal totals either may be taken, with other hits."""
    for weights, scores in images:
        for threshold in scores:
            part = [[w for w, score in zip(row, scores, strict=True) if score >= threshold] for row in weights]
            assume(_unambiguous(part))
    expected = plain_fddb(images)
    patched = iter([np.array(weights).reshape(-1, len(scores)) for weights, scores in images])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fddb, "overlaps", lambda faces, found, size: next(patched))
        result = fddb.evaluate(
            {str(i): np.zeros((len(weights), 6)) for i, (weights, _) in enumerate(images)},
            {str(i): np.array([[0, 0, 1, 1, score] for score in scores]) for i, (_, scores) in enumerate(images)},
            {str(i): ImageSize(5, 5) for i in range(len(images))},
        )
    faces = max(sum(len(weights) for weights, _ in images), 1)
    got = np.stack([result.scores, result.discrete * faces, result.continuous * faces, result.false], axis=1)
    np.testing.assert_allclose(got, expected, atol=1e-9)


def _unambiguous(weights: list[list[float]]) -> bool:
    """Whether every other way to pair has a lower total: forbidding any used pair must cost something."""
    pairs = plain_assignment(weights)
    total = sum(weights[i][j] for i, j in pairs)
    for i, j in pairs:
        without = [[0.0 if (r, c) == (i, j) else w for c, w in enumerate(row)] for r, row in enumerate(weights)]
        if sum(without[r][c] for r, c in plain_assignment(without)) > total - 1e-9:
            return False
    return True


# By hand, on images of 11 x 11. The face of image p is an ellipse with half axes 2 and 2 around (5, 5), which OpenCV
# draws as a diamond of 13 pixels: 1, 3, 5, 3, 1 in rows 3 to 7. Image q has the same face and no detection.
#   .9  3 3 4 4     corners (3, 3) and (7, 7) included: 25 pixels, all 13 inside: overlap 13 / 25 = .52, a hit
#   .8  5 5 2 2     9 pixels, 6 of the diamond (3 + 2 + 1): 6 / (13 + 9 - 6) = .375; the face is worth more with .52
#   .5  -2 -2 3 3   4 pixels inside the image, none of the face
# At .5: one hit of 2 faces, 2 false; at .8: 1 false; at .9: none. q gives one point more, at the largest double.
_FOLD = "d/p\n1\n2.0 2.0 0.0 5.0 5.0  1\nd/q\n1\n2.0 2.0 0.0 5.0 5.0  1\n"
_FOUND = "d/p\n3\n5 5 2 2 0.8\n3 3 4 4 0.9\n-2 -2 3 3 0.5\nd/q\n0\n"
_DISCRETE = "0.5 2 0.5\n0.5 1 0.8\n0.5 0 0.9\n0 0 1.79769e+308\n"
_CONTINUOUS = "0.26 2\n0.26 1\n0.26 0\n0 0\n"


def _write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.fixture
def hand(tmp_path: Path) -> Path:
    _write(tmp_path, "FDDB-fold-01-ellipseList.txt", _FOLD)
    _write(tmp_path, "sizes.csv", "path,width,height\nd/p,11,11\nd/q.jpg,11,11\n")
    _write(tmp_path, "found.txt", _FOUND)
    return tmp_path


def _evaluate(folder: Path, found: str = "found.txt") -> fddb.FddbResult:
    faces = fddb.load_folds(folder, Problems())
    strict = Problems(strict=True)
    return fddb.evaluate(
        faces, fddb.load_results(folder / found, strict), fddb.load_sizes(folder / "sizes.csv"), strict
    )


def test_worked_out_by_hand(hand: Path) -> None:
    result = _evaluate(hand)
    paths = result.write(str(hand / "my"))
    assert [Path(path).name for path in paths] == ["myDiscROC.txt", "myContROC.txt"]
    assert [Path(path).read_text() for path in paths] == [_DISCRETE, _CONTINUOUS]
    assert fddb.read_roc(paths[0]).shape == (4, 3)
    assert result.rates([0, 1]) == {0: (0.5, 0.26), 1: (0.5, 0.26)}
    assert fddb.table({"mine": result}, [0]).splitlines()[2] == "| mine     | 0.5000 / 0.2600 |      2 |"
    assert result.to_dict()["tpr_at_false_positives"]["1000"] == {"discrete": 0.5, "continuous": 0.26}


def test_ellipses_and_split_files(hand: Path) -> None:
    """The face itself as detection, in two files of a folder: overlap 1."""
    folder = hand / "parts"
    folder.mkdir()
    _write(folder, "fold-01-out.txt", "d/p\n1\n2 2 0 5 5 0.5\n")
    _write(folder, "fold-02-out.txt", "d/q\n0\n")
    assert _evaluate(hand, "parts").rates([0])[0] == (0.5, 0.5)


@pytest.mark.parametrize("width", [5, 6])
def test_written_results_are_read_back(tmp_path: Path, width: int) -> None:
    rows = np.array([[1.5, 2.25, 10, 20, 0.1, 0.987654321][6 - width :]])
    fddb.write_results(tmp_path / "r.txt", {"d/p": rows, "d/q": np.zeros((0, width))})
    found = fddb.load_results(tmp_path / "r.txt", Problems(strict=True))
    np.testing.assert_allclose(found["d/p"], rows)
    assert found["d/q"].shape[0] == 0


def test_regions_are_clipped_to_the_image() -> None:
    """Half of the face and most of the detection lie left of the image; the halves inside agree, the wholes do not."""
    face = np.array([[8.0, 8.0, 0.0, 0.0, 10.0, 1.0]])
    found = np.array([[-100.0, 4.0, 107.0, 12.0, 1.0]])
    shift = np.array([0.0, 0, 0, 200, 0, 0]), np.array([200.0, 0, 0, 0, 0])
    assert fddb.overlaps(face, found, ImageSize(20, 20))[0, 0] > 0.7
    assert fddb.overlaps(face + shift[0], found + shift[1], ImageSize(20, 300)) < 0.2
    # A box wholly outside leaves no pixel and overlaps nothing.
    assert fddb.overlaps(face, np.array([[50.0, 50, 9, 9, 1]]), ImageSize(20, 20)).tolist() == [[0]]


@pytest.mark.parametrize(
    ("text", "message", "line", "kept"),
    [
        ("d/p\nmany\n1 1 5 5 .5\n", "no count after the image name; the rows that follow are taken", 2, None),
        ("d/p\n1 1 5 5 .5\n", "no count after the image name; the rows that follow are taken", 2, 1),
        ("d/p\n2\n1 1 5 5 .5\n", "count is 2, but 1 rows follow; the rows are taken", 2, 1),
        ("d/p\n2\n1 1 5 5 .5\n1 1 5 .5\n", "4 numbers in a row; expected 5; row left out", 4, 1),
        ("d/p\n1\n1 1 nan 5 .5\n", "NaN or infinity; row left out", 3, 0),
        ("d/p\n1\n1 1 -5 5 .5\n", "size -5 x 5 is negative; drawn mirrored, as the tool does", 3, 1),
        ("d/p\n1\n-2 2 0 5 5 .5\n", "half axes -2 x 2 are negative; row left out", 3, 0),
        ("d/p\n0\nd/p\n0\n", "d/p has detections twice; the first are taken", 3, 0),
    ],
)
def test_bad_result_files(tmp_path: Path, text: str, message: str, line: int, kept: int | None) -> None:
    path = _write(tmp_path, "found.txt", text)
    problems = Problems()
    found = fddb.load_results(path, problems)
    assert f"{path}:{line}: {message}" in [str(problem) for problem in problems]
    if kept is not None:
        assert len(found["d/p"]) == kept
    with pytest.raises(DataError):
        fddb.load_results(path, Problems(strict=True))


def test_missing_and_unknown_images(hand: Path) -> None:
    faces, sizes = fddb.load_folds(hand, Problems()), fddb.load_sizes(hand / "sizes.csv")
    problems = Problems()
    result = fddb.evaluate(faces, {"d/p": np.array([[3.0, 3, 4, 4, 0.9]]), "d/x": np.zeros((0, 5))}, sizes, problems)
    assert (result.faces, result.discrete[0]) == (2, 0.5)
    assert [str(problem) for problem in problems] == [
        "d/q: no detections; counted as none found",
        "d/x: detections, but not in the folds; left out",
    ]
    with pytest.raises(DataError, match=r"d/q: image size unknown \(1 of 2 images\).*a table as `sizes`"):
        fddb.evaluate(faces, {}, {"d/p": ImageSize(11, 11)}, Problems())
    with pytest.raises(DataError, match=r"shape \(1, 4\)"):
        fddb.evaluate(faces, {"d/p": np.zeros((1, 4)), "d/q": np.zeros((0, 5))}, sizes)


def test_bad_folds_and_sizes(hand: Path) -> None:
    problems = Problems()
    fddb.load_folds(hand, problems)
    assert "1 folds; the protocol has 10" in problems.summary()
    with pytest.raises(DataError, match="no FDDB-fold-01-ellipseList"):
        fddb.load_folds(hand / "nowhere")
    (empty := hand / "empty").mkdir()
    with pytest.raises(DataError, match="no image in its folds; expected image path"):
        fddb.load_folds(_write(empty, "FDDB-fold-01-ellipseList.txt", "").parent, problems)
    _write(hand, "FDDB-fold-02-ellipseList.txt", "d/p\n0\n")
    fddb.load_folds(hand, problems)
    assert "FDDB-fold-02-ellipseList.txt:1: d/p is listed twice" in problems.summary()
    with pytest.raises(DataError, match="columns are 'a,b'"):
        fddb.load_sizes(_write(hand, "bad.csv", "a,b\n"))
    sizes = fddb.load_sizes(_write(hand, "half.csv", "path,width,height\nd/p,11,x\nd/q,4\nd/r,3,2\n"), problems)
    assert sizes == {"d/r": ImageSize(height=2, width=3)}
    assert [problem.where for problem in problems][-2:] == [f"{hand}/half.csv:2", f"{hand}/half.csv:3"]
    with pytest.raises(DataError, match="cannot be read"):
        fddb.load_results(hand / "nowhere.txt")
    with pytest.raises(DataError, match="not a ROC file"):
        fddb.read_roc(hand / "sizes.csv")


def test_sizes_come_from_photos_too(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    Image.new("RGB", (7, 5)).save(tmp_path / "d/p.jpg")
    assert fddb.sizes_of_images(tmp_path, ["d/p", "d/q"]) == {"d/p": ImageSize(height=5, width=7)}
    (tmp_path / "d/q.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"q\.jpg: is not an image"):
        fddb.sizes_of_images(tmp_path, ["d/q"])


def test_scipy_is_named_when_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(MtcnnError, match=r"mtcnn-cascade\[eval\]"):
        best_pairs(np.ones((2, 2)))


def test_plot(hand: Path) -> None:
    pytest.importorskip("matplotlib")
    assert plots.plot_roc({"mine": _evaluate(hand)}, hand / "roc.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.data
@pytest.mark.parametrize("name", ["fddb_s3fd_official", "fddb_ssh_400x600", "fddb_faceboxes"])
def test_roc_files_of_the_original(data_folder: Path, name: str) -> None:
    folder = data_folder / "eval/fddb"
    faces = fddb.load_folds(folder / "FDDB-folds", Problems(strict=True))
    assert (len(faces), sum(map(len, faces.values()))) == (2845, 5171)
    (file,) = (folder / name).glob("*_result.txt")
    found = fddb.load_results(file, Problems(strict=True))
    result = fddb.evaluate(faces, found, fddb.load_sizes(folder / "image_sizes_estimated.csv"), Problems(strict=True))
    for kind, tolerance in (("Disc", 0.001), ("Cont", 0.002)):
        roc = fddb.read_roc(str(file).replace("result", f"{kind}ROC"))
        for count, rates in result.rates().items():
            assert rates[kind == "Cont"] == pytest.approx(fddb.rate_at(roc[:, 0], roc[:, 1], count), abs=tolerance)


def test_memory_is_counted_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask for each face and two more, and eight bytes for each pair."""
    faces = {"a": np.array([[3, 3, 0, 5, 5, 1]] * 3)}
    found = {"a": np.array([[0, 0, 9, 9, 0.5]] * 7)}
    sizes = {"a": ImageSize(10, 20)}
    needed = 5 * 10 * 20 + 8 * 3 * 7
    monkeypatch.setattr(fddb, "LARGEST", needed)
    assert fddb.evaluate(faces, found, sizes).faces == 3
    monkeypatch.setattr(fddb, "LARGEST", needed - 1)
    with pytest.raises(
        DataError, match=f"3 faces and 7 detections in 20 x 10 pixels take {needed} bytes; expected at most"
    ):
        fddb.evaluate(faces, found, sizes)


def test_far_and_huge_regions() -> None:
    """OpenCV would overflow: everything, nothing, and a half are drawn."""
    size = ImageSize(20, 30)
    assert fddb.draw(np.array([1e12, 1e12, 1e9, 15, 10, 1]), size).all()
    assert not fddb.draw(np.array([5, 5, 0, 1e12, 10, 1]), size).any()
    assert not fddb.draw(np.array([5, 5, 0, 3e9, -3e9, 1]), size).any()
    half = fddb.draw(np.array([-1e30, -1e30, 1e30 + 1, 2e30, 1]), size)
    assert half[:, 0].all() and not half[:, 1:].any()


def test_sizes_of_one_pixel_and_rectangles_without_width(tmp_path: Path) -> None:
    problems = Problems()
    table = _write(tmp_path, "sizes.csv", "path,width,height\na,1,7\nb,7,1\nc,0,7\nd,7,0\ne,x,1\n")
    assert fddb.load_sizes(table, problems) == {"a": ImageSize(7, 1), "b": ImageSize(1, 7)}
    assert [problem.where.rpartition(":")[2] for problem in problems] == ["4", "5", "6"]
    problems = Problems()
    rows = fddb.load_results(_write(tmp_path, "r.txt", "a\n3\n1 2 0 5 .5\n1 2 5 0 .5\n1 2 -1 5 .5\n"), problems)["a"]
    assert len(rows) == 3 and [problem.where.rpartition(":")[2] for problem in problems] == ["5"]


def test_a_pair_without_overlap_is_none() -> None:
    """The best assignment may have to pair the rest with 0."""
    assert best_pairs(np.array([[1, 0.1], [0.5, 0]])).tolist() == [[0, 0]]
    assert best_pairs(np.array([[0, 0, 0], [0, 0.25, 0.25], [0, 0, 0]])).tolist() == [[1, 1]]
