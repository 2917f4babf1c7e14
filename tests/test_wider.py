"""WIDER FACE: the evaluator against the plain loop, a case worked out by hand, the published figures, bad files."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import plain_wider
from sample_data import write_mats

from mtcnn.errors import DataError, MtcnnError
from mtcnn.metrics import plots, wider, wider_detections
from mtcnn.metrics.problems import Problems
from mtcnn.metrics.wider import GroundTruth
from mtcnn.types import Faces

# Whole numbers on a small canvas: overlaps meet exactly at one half, boxes repeat, several truths tie.
_coordinate = st.integers(0, 12)
_size = st.integers(0, 10)
_truth_row = st.tuples(_coordinate, _coordinate, _size, _size)
# Scores on the thresholds, equal ones included, and some anywhere.
_score = st.one_of(st.integers(0, 10).map(lambda v: v / 10), st.floats(-3, 3, allow_subnormal=False))
_found_row = st.tuples(_coordinate, _coordinate, _size, _size, _score)
_image = st.tuples(
    st.lists(st.tuples(_truth_row, st.booleans()), max_size=4), st.one_of(st.none(), st.lists(_found_row, max_size=6))
)


def _truth(boxes: dict[str, list[tuple[float, ...]]], counted: dict[str, dict[str, list[bool]]]) -> GroundTruth:
    return GroundTruth(
        {name: np.array(rows, float).reshape(-1, 4) for name, rows in boxes.items()},
        {setting: {name: np.array(keep, bool) for name, keep in of.items()} for setting, of in counted.items()},
        "mat",
    )


@given(st.lists(_image, min_size=1, max_size=4), st.booleans())
def test_equals_the_plain_loop(images: list, some: bool) -> None:  # type: ignore[type-arg]
    boxes = {f"e/{i}": [row for row, _ in faces] for i, (faces, _) in enumerate(images)}
    counted = {f"e/{i}": [keep for _, keep in faces] for i, (faces, _) in enumerate(images)}
    found = {f"e/{i}": rows for i, (_, rows) in enumerate(images) if rows is not None}
    chosen = list(boxes)[: max(1, len(boxes) // 2)] if some else None
    arrays = {name: np.array(rows, float).reshape(-1, 5) for name, rows in found.items()}
    result = wider.evaluate(_truth(boxes, {"hard": counted}), arrays, chosen, Problems())
    ap, precision, recall = plain_wider(boxes, counted, found, chosen)
    np.testing.assert_array_equal(result.curves["hard"].precision, precision)
    np.testing.assert_array_equal(result.curves["hard"].recall, recall)
    assert result.ap["hard"] == pytest.approx(ap, abs=1e-12, nan_ok=True)
    assert result.restricted == some


# By hand. All boxes are 8 x 8, 9 x 9 = 81 with the protocol's +1. Faces: A and B in image a, C in image b; B does not
# count as easy. Detections of image a by falling score, 3, 2.75, 2.5, 1, which normalise to 1, .875, .75, 0:
#   d1  3 right of A  intersection 6 * 9 = 54, union 81 + 81 - 54 = 108: exactly one half, so A is found
#                     (without the +1 it would be 40 / 88, a miss)
#   d2  on A          A is taken: false, although it lies better
#   d3  on B          hard: found; easy: neither right nor wrong
#   d4  on nothing    false
# Easy, 2 faces:  right/counted after each 1/1, 1/2, 1/2, 1/3;  recall 1/2.  AP = 1/2 * 1.
# Hard, 3 faces:  1/1, 1/2, 2/3, 2/4;  recall 1/3, 1/3, 2/3, 2/3.  AP = 1/3 * 1 + 1/3 * 2/3 = 5/9.
_HAND = _truth(
    {"e/a": [(0, 0, 8, 8), (100, 0, 8, 8)], "e/b": [(0, 0, 8, 8)]},
    {"easy": {"e/a": [True, False], "e/b": [True]}, "hard": {"e/a": [True, True], "e/b": [True]}},
)
_HAND_FOUND = "a\n4\n3 0 8 8 3\n0 0 8 8 2.75\n100 0 8 8 2.5\n50 50 8 8 1\n"


def _write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_worked_out_by_hand(tmp_path: Path) -> None:
    _write(tmp_path, "e/a.txt", _HAND_FOUND)
    _write(tmp_path, "e/b.txt", "b\n0\n")
    problems = Problems(strict=True)
    result = wider.evaluate(_HAND, wider.load_detections(tmp_path, problems), problems=problems)
    assert result.ap == {"easy": 0.5, "hard": pytest.approx(5 / 9)}
    easy, hard = result.curves["easy"], result.curves["hard"]
    assert (easy.faces, hard.faces, result.images, result.detections) == (2, 3, 2, 4)
    # Thresholds fall from .999 to 0 in steps of .001: .875 is number 125 of them, counted from 1.
    assert [easy.precision[i] for i in (0, 123, 124, 998, 999)] == [1, 1, 1 / 2, 1 / 2, 1 / 3]
    assert [hard.recall[i] for i in (0, 248, 249, 999)] == [1 / 3, 1 / 3, 2 / 3, 2 / 3]
    assert wider.table({"mine": result}).splitlines()[2] == "| mine     | 0.5000 | 0.5556 |      2 |"
    assert result.to_dict()["ap"]["hard"] == pytest.approx(5 / 9, abs=1e-6)


def test_folder_and_archives_give_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "found"
    _write(folder, "deep/e/a.txt", _HAND_FOUND)
    _write(folder, "deep/e/._a.txt", "what macOS adds")
    plain = wider.load_detections(folder)
    for suffix, mode in ((".tar.xz", "w:xz"), (".tgz", "w:gz"), (".tar", "w")):
        with tarfile.open(tmp_path / f"a{suffix}", mode) as archive:  # type: ignore[call-overload]
            archive.add(folder, ".")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.write(folder / "deep/e/a.txt", "deep/e/a.txt")
    for path in sorted(tmp_path.glob("a.*")):
        found = wider.load_detections(path)
        assert list(found) == list(plain) == ["e/a"]
        np.testing.assert_array_equal(found["e/a"], plain["e/a"])


def test_written_detections_are_read_back(tmp_path: Path) -> None:
    faces = Faces(np.array([[1.25, 2, 11.25, 22.5], [0, 0, 5, 5]]), np.array([0.75, 0.5]))
    wider.write_detections(tmp_path, {"0--Parade/x.y": wider.faces_to_rows(faces), "1--H/none": np.zeros((0, 5))})
    found = wider.load_detections(tmp_path, Problems(strict=True))
    np.testing.assert_allclose(found["0--Parade/x.y"], [[1.25, 2, 10, 20.5, 0.75], [0, 0, 5, 5, 0.5]])
    assert found["1--H/none"].shape == (0, 5)


_TEXT = """\
0--Parade/one.jpg
3
0 0 8 8 0 0 0 0 0 0
0 0 60 60 0 0 0 1 0 0
20 20 60 320 0 0 0 0 0 0
0--Parade/none.jpg
0
0 0 0 0 0 0 0 0 0 0
"""


def test_text_labels_count_by_height(tmp_path: Path) -> None:
    truth = GroundTruth.load_text(_write(tmp_path, "gt.txt", _TEXT), Problems(strict=True))
    assert list(truth.boxes) == ["0--Parade/one", "0--Parade/none"]
    assert truth.boxes["0--Parade/none"].tolist() == [[0, 0, 0, 0]]
    counted = {band: truth.counted[band]["0--Parade/one"].tolist() for band in truth.settings}
    # The first is under 10 pixels, the second invalid, the third 320 high.
    none, last = [False] * 3, [False, False, True]
    assert counted == {"10+": last, "10-50": none, "50-300": none, "300+": last}
    found = {"0--Parade/one": np.array([[20, 20, 60, 320, 0.9]]), "0--Parade/none": np.array([[5, 5, 9, 9, 1.0]])}
    result = wider.evaluate(truth, found)
    # The false one in the image without faces comes first: precision 1/2 at recall 1.
    assert result.ap["300+"] == 0.5
    assert np.isnan(result.ap["10-50"])
    assert result.to_dict()["ap"]["10-50"] is None
    assert "by face height" in result.label


def test_image_list_takes_labels_or_names(tmp_path: Path) -> None:
    assert wider.load_image_list(_write(tmp_path, "gt.txt", _TEXT)) == ["0--Parade/one", "0--Parade/none"]
    plain = _write(tmp_path, "list.txt", "/data/0--Parade/one.jpg\n\n0--Parade/jpg.gpj\n")
    assert wider.load_image_list(plain) == ["0--Parade/one", "0--Parade/jpg.gpj"]


@pytest.mark.parametrize(
    ("text", "message", "line", "kept"),
    [
        ("a\nmany\n1 1 5 5 .5\n", "second line is 'many', expected the number of faces; read as empty", 2, 0),
        ("a\n2\n1 1 5 5 .5\n", "count is 2, but 1 rows follow; read as empty", 2, 0),
        ("a\n1\n1 1 5 5 .5\n2 2 5 5 .4\n", "count is 1, but 2 rows follow; the rest is not read", 2, 1),
        ("a\n2\n1 1 5 5 .5\n1 x 5 5 .4\n", "expected 'x y w h score', got '1 x 5 5 .4'; row left out", 4, 1),
        ("a\n1\n1 1 5 .4\n", "expected 'x y w h score', got '1 1 5 .4'; row left out", 3, 0),
        ("a\n2\n1 1 5 5 .5\n1 1 nan 5 .4\n", "NaN or infinity in [1.0, 1.0, nan, 5.0, 0.4]; row left out", 4, 1),
        ("a\n1\n1 1 -5 5 .4\n", "size -5 x 5 is negative; it counts as a false positive", 3, 1),
        ("a\n2\n1 1 5 5 .4\n1 1 5 5 .5\n", "scores are not falling; sorted, as the official reader does", 4, 2),
    ],
)
def test_bad_detection_files(tmp_path: Path, text: str, message: str, line: int, kept: int) -> None:
    _write(tmp_path, "e/a.txt", text)
    problems = Problems()
    rows = wider.load_detections(tmp_path, problems)["e/a"]
    expected = f"{tmp_path}/e/a.txt:{line}: {message}"
    assert [str(problem) for problem in problems] == [expected]
    assert len(rows) == kept
    assert (np.diff(rows[:, 4]) <= 0).all()
    with pytest.raises(DataError) as error:
        wider.load_detections(tmp_path, Problems(strict=True))
    assert str(error.value) == expected


def test_misplaced_and_repeated_files(tmp_path: Path) -> None:
    archive = tmp_path / "found.tar"
    with tarfile.open(archive, "w") as tar:
        for name in ("stray.txt", "e/a.txt", "more/e/a.txt"):
            entry = tarfile.TarInfo(name)
            entry.size = len(_HAND_FOUND)
            tar.addfile(entry, io.BytesIO(_HAND_FOUND.encode()))
    problems = Problems()
    assert list(wider.load_detections(archive, problems)) == ["e/a"]
    assert [problem.where for problem in problems] == [f"{archive}/stray.txt", f"{archive}/more/e/a.txt"]


def test_unknown_and_missing_images() -> None:
    rows = np.array([[0, 0, 8, 8, 0.5], [0, 0, 9, 9, 0.4]])
    found = {"e/a": rows, "e/z": rows, "f/a": rows, "f/b": rows}
    problems = Problems()
    wider.evaluate(_HAND, found, ["e/a.jpg", "e/b", "e/q"], problems)
    assert [str(problem) for problem in problems] == [
        "e/q: in the list of images, but not in the ground truth; left out",
        "f: is not an event of the ground truth; its detections are left out",
        "e/z: detections, but not in the ground truth; left out",
        "e/b: no detections; counted as none found",
    ]
    with pytest.raises(DataError, match="e/q"):
        wider.evaluate(_HAND, found, ["e/a", "e/q"], Problems(strict=True))
    with pytest.raises(DataError, match="no image of the list"):
        wider.evaluate(_HAND, found, ["x/y"], Problems())
    with pytest.raises(DataError, match=r"shape \(2, 4\)"):
        wider.evaluate(_HAND, {"e/a": rows[:, :4]}, problems=Problems())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        wider.evaluate(_HAND, {"e/a": rows})
    assert [str(warning.message) for warning in caught] == ["e/b: no detections; counted as none found"]


def test_equal_scores_are_reported_and_give_zero() -> None:
    problems = Problems()
    result = wider.evaluate(_HAND, {"e/a": np.array([[0, 0, 8, 8, 0.5]]), "e/b": np.zeros((0, 5))}, None, problems)
    assert result.ap == {"easy": 0, "hard": 0}
    assert "all scores are 0.5" in problems.summary()


@pytest.mark.parametrize(
    ("text", "where", "why"),
    [
        ("e/a.jpg\n2\n1 1 5 5\n", 2, "face count is 2, but 1 rows follow; the rows are taken"),
        ("e/a.jpg\n1 1 5 5\n", 2, "no face count after the image path; the rows that follow are taken"),
        ("e/a.jpg\n1\n1 1 5\n", 3, "expected at least 'x y w h' as finite numbers; row left out"),
        ("3\ne/a.jpg\n0\n", 1, "numbers before the first image path; left out"),
        ("x/e/a.jpg\n1\n1 1 5 5\ny/e/a.jpg\n0\n", 4, "e/a is listed twice; the first is taken"),
    ],
)
def test_bad_text_labels(tmp_path: Path, text: str, where: int, why: str) -> None:
    path = _write(tmp_path, "gt.txt", text)
    problems = Problems()
    assert list(GroundTruth.load(path, problems).boxes) == ["e/a"]
    assert str(problems[0]) == f"{path}:{where}: {why}"
    with pytest.raises(DataError, match=why.split(";")[0]):
        GroundTruth.load_text(path, Problems(strict=True))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        wider.load_detections(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no detection file"):
        wider.load_detections(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        wider.load_detections(_write(tmp_path, "x.tar.xz", "not an archive"))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as zipped:
        zipped.writestr("e/a.txt", _HAND_FOUND)
    damaged = bytearray((tmp_path / "x.zip").read_bytes())
    damaged[45] ^= 0xFF
    (tmp_path / "x.zip").write_bytes(damaged)
    with pytest.raises(DataError, match=r"x\.zip: cannot be read \(Bad CRC"):
        wider.load_detections(tmp_path / "x.zip")
    with pytest.raises(DataError, match=r"wider_face_val\.mat: cannot be read"):
        GroundTruth.load_mat(tmp_path)
    with pytest.raises(DataError, match="names no image"):
        wider.load_image_list(_write(tmp_path, "list.txt", "1 2 3\n"))
    with pytest.raises(DataError, match="no image in it"):
        GroundTruth.load_text(_write(tmp_path, "gt.txt", ""))


def test_summary_tells_all_unless_cut() -> None:
    problems = Problems()
    for i in range(12):
        problems.add("f", "odd", i)
    assert len(problems.summary().splitlines()) == 12
    assert problems.summary(2).splitlines() == [
        "f:0: odd",
        "f:1: odd",
        "... and 10 more problems",
    ]


def test_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    result = wider.evaluate(_HAND, {"e/a": np.array([[0, 0, 8, 8, 0.5], [9, 9, 8, 8, 0.1]])}, None, Problems())
    assert plots.plot_pr({"mine": result}, tmp_path / "pr.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(MtcnnError, match="cannot be written"):
        plots.plot_pr({"mine": result}, tmp_path / "pr.xyz")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MtcnnError, match=r"mtcnn-cascade\[plot\]"):
        plots.plot_pr({"mine": result}, tmp_path / "pr.png")


def test_import_is_cheap() -> None:
    code = (
        "import sys, mtcnn.metrics.wider, mtcnn.metrics.fddb, mtcnn.metrics.landmarks, mtcnn.metrics.plots;"
        "print(*{'scipy.io', 'scipy.optimize', 'matplotlib', 'cv2', 'torch'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "published", "restricted"),
    [
        ("mnet025", (0.9070, 0.8816, 0.7382), (0.9329, 0.8942, 0.7861)),
        ("r50", (0.9548, 0.9404, 0.8443), (0.9663, 0.9471, 0.8747)),
    ],
)
def test_published_figures(
    data_folder: Path, name: str, published: tuple[float, ...], restricted: tuple[float, ...]
) -> None:
    truth = GroundTruth.load_mat(data_folder / "wider/ground_truth")
    found = wider.load_detections(data_folder / f"eval/wider/retinaface_{name}_val.tar.xz", Problems(strict=True))
    strict = Problems(strict=True)
    assert list(wider.evaluate(truth, found, problems=strict).ap.values()) == pytest.approx(published, abs=2e-4)
    images = wider.load_image_list(data_folder / "wider/wider_face_dev_bbx_gt.txt")
    part = wider.evaluate(truth, found, images, strict)
    assert part.images == 300
    assert list(part.ap.values()) == pytest.approx(restricted, abs=2e-4)


@pytest.mark.data
def test_official_counts(data_folder: Path) -> None:
    """The numbers of images, boxes and counted faces of the official files, and what their text form agrees with."""
    truth = GroundTruth.load_mat(data_folder / "wider/ground_truth")
    assert (len(truth.boxes), sum(map(len, truth.boxes.values()))) == (3226, 39708)
    counts = [sum(int(keep.sum()) for keep in truth.counted[name].values()) for name in truth.settings]
    assert counts == [7211, 13319, 31958]
    labels = GroundTruth.load_text(data_folder / "wider/wider_face_dev_bbx_gt.txt", Problems(strict=True))
    assert len(labels.boxes) == 300
    assert labels.boxes.keys() <= truth.boxes.keys()


@pytest.mark.parametrize(("counted", "found"), [((False, True), 0), ((True, False), 1), ((True, True), 1)])
def test_of_equal_truths_the_first_is_hit(counted: tuple[bool, bool], found: int) -> None:
    """As Matlab's max takes it: where the first does not count, the detection is neither right nor wrong."""
    truth = _truth({"e/a": [(5, 5, 20, 20)] * 2}, {"hard": {"e/a": list(counted)}})
    rows = np.array([[5, 5, 20, 20, 0.9], [50, 50, 9, 9, 0.1]])
    curve = wider.evaluate(truth, {"e/a": rows}, problems=Problems()).curves["hard"]
    assert curve.recall[-2] * curve.faces == found


def test_detections_with_nan_are_told_and_left_out() -> None:
    good = np.array([[0, 0, 8, 8, 0.5], [0, 0, 9, 9, 0.4]])
    bad = np.array([[np.nan, 0, 8, 8, 0.5], [0, 0, 8, 8, np.inf]])
    problems = Problems()
    found = wider.evaluate(_HAND, {"e/a": np.concatenate([good, bad]), "e/b": good}, problems=problems)
    assert [str(problem) for problem in problems] == ["e/a: 2 detections with NaN or infinity; left out"]
    assert found.detections == 4
    wanted = wider.evaluate(_HAND, {"e/a": good, "e/b": good}, problems=Problems())
    assert found.ap == wanted.ap
    with pytest.raises(DataError, match="e/a: 2 detections with NaN"):
        wider.evaluate(_HAND, {"e/a": np.concatenate([good, bad]), "e/b": good}, problems=Problems(strict=True))


@pytest.mark.parametrize(("count", "why"), [
    ("999999999", "count is 999999999, but 1 rows follow; read as empty"),
    ("9999999999", "second line is '9999999999', expected the number of faces; read as empty"),
])  # fmt: skip
def test_counts_that_are_none(count: str, why: str) -> None:
    problems = Problems()
    assert not len(wider_detections.parse_detections(f"a\n{count}\n1 2 3 4 0.5\n", "a.txt", problems))
    assert [problem.why for problem in problems] == [why]


def test_a_bar_is_shown_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    truth = _truth({"e/a": [(1, 2, 3, 4)]}, {"easy": {"e/a": [True]}})
    found = {"e/a": np.array([[1, 2, 3, 4, 0.5], [9, 9, 3, 4, 0.4]])}
    wider.evaluate(truth, found)
    assert capsys.readouterr().err == ""
    wider.evaluate(truth, found, progress=True)
    assert "matching" in capsys.readouterr().err


def test_official_files_of_two_photos(tmp_path: Path) -> None:
    """Faces are numbered from 1; files of different releases, which name other photos or faces, do not mix."""
    boxes = {"0--A/a": [(1, 2, 3, 4)], "0--A/b": [(5, 6, 7, 8), (9, 8, 7, 6)], "1--B/c": []}
    lists = {"0--A/a": [1], "0--A/b": [2], "1--B/c": []}
    keep = {"easy": {**lists, "0--A/a": []}, "medium": lists, "hard": lists}
    truth = GroundTruth.load(write_mats(tmp_path / "good", boxes, keep))
    assert {name: rows.tolist() for name, rows in truth.boxes.items()} == {
        n: [list(r) for r in b] for n, b in boxes.items()
    }
    assert truth.boxes["1--B/c"].shape == (0, 4) and truth.source == "mat"
    assert {name: mask.tolist() for name, mask in truth.counted["hard"].items()} == {
        "0--A/a": [True], "0--A/b": [False, True], "1--B/c": [],
    }  # fmt: skip
    assert truth.counted["easy"]["0--A/a"].tolist() == [False]
    for wrong in ({"0--A/a": [2]}, {"0--A/b": [0]}, {"1--B/c": [1]}):
        write_mats(tmp_path / "wrong", boxes, {**keep, "hard": {**lists, **wrong}})
        with pytest.raises(DataError, match=f"wider_hard_val.mat: {next(iter(wrong))} does not agree with"):
            GroundTruth.load(tmp_path / "wrong")
    for name in ("wider_hard_val.mat", "wider_face_val.mat"):
        write_mats(tmp_path / "wrong", boxes, keep)
        other = write_mats(tmp_path / "other", {"0--A/x": [(1, 2, 3, 4)]}, {"hard": {"0--A/x": [1]}})
        (other / name).replace(tmp_path / "wrong" / name)
        with pytest.raises(DataError, match="does not agree with"):
            GroundTruth.load(tmp_path / "wrong")
    write_mats(tmp_path / "wrong", {**boxes, "0--A/a": [(1, 2, np.nan, 4)]}, keep)
    with pytest.raises(DataError, match="expected rows of four finite numbers"):
        GroundTruth.load(tmp_path / "wrong")


def test_text_rows_without_width_or_height_never_count(tmp_path: Path) -> None:
    sizes = ["0 50", "50 0", "9 50", "9 10", "9 49.5", "9 299.5", "9 300", "9 9.9"]
    rows = "".join(f"0 0 {size}\n" for size in sizes)
    truth = GroundTruth.load_text(_write(tmp_path, "gt.txt", f"e/a.jpg\n8\n{rows}"), Problems(strict=True))
    assert {band: truth.counted[band]["e/a"].nonzero()[0].tolist() for band in truth.settings} == {
        "10+": [2, 3, 4, 5, 6], "10-50": [3, 4], "50-300": [2, 5], "300+": [6],
    }  # fmt: skip
