"""Landmark errors: a case by hand, matching of faces, missed faces, bad files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mtcnn.errors import DataError
from mtcnn.metrics import landmarks, plots
from mtcnn.metrics.landmarks import COLUMNS, LandmarkTruth
from mtcnn.metrics.problems import Problems
from mtcnn.types import Faces

# Eyes 10 apart, nose between, mouth 10 below: a hull of 10 x 10, so the box around is 22 x 22 at the same centre.
_POINTS = np.array([[10, 10], [20, 10], [15, 15], [11, 20], [19, 20]], float)
_BOX = np.array([4, 4, 26, 26], float)


def _truth(*shifts: float, boxes: bool = False) -> LandmarkTruth:
    points = np.stack([_POINTS + shift for shift in shifts])
    known = np.stack([_BOX + shift for shift in shifts])
    return LandmarkTruth(points, known if boxes else np.full((len(shifts), 4), np.nan))


def _found(points: list[NDArray[np.float64]], boxes: list[NDArray[np.float64]]) -> Faces:
    scores = np.linspace(0.9, 0.5, len(boxes), dtype=np.float32)
    return Faces(np.array(boxes, np.float32), scores, np.array(points, np.float32))


# By hand. Image a: every point 0.3 right and 0.4 below, a distance of 0.5 each: 5 % of the eye distance 10.
# Image b: only the nose is off, by 10: errors 0, 0, 100 %, 0, 0, mean 20 %, a failure.
# Image c: nothing found, a failure without an error. Image d: as a, but the first point is 2.5 off: 9 % on average.
# Mean over the three found (5 + 20 + 9) / 3 %; two of four fail at 10 %.
def _hand() -> landmarks.LandmarkResult:
    a = _POINTS + np.array([0.3, 0.4])
    b = _POINTS.copy()
    b[2] += [6, 8]
    d = a.copy()
    d[0] = _POINTS[0] + [1.5, 2]
    return landmarks.evaluate(
        {name: _truth(0) for name in "abcd"},
        {"a": _found([a], [_BOX]), "b": _found([b], [_BOX]), "c": Faces.empty(), "d": _found([d], [_BOX])},
        Problems(strict=True),
    )


def test_worked_out_by_hand() -> None:
    result = _hand()
    np.testing.assert_allclose(result.errors, [0.05, 0.20, np.nan, 0.09], rtol=1e-5)
    assert (result.faces, result.found, result.images) == (4, 3, 4)
    assert result.mean_error == pytest.approx(0.34 / 3, rel=1e-5)
    assert result.failure_rate() == 0.5
    np.testing.assert_array_equal(result.curve(np.array([0.0, 0.06, 0.1, 0.5])), [0, 0.25, 0.5, 0.75])
    # Left eye (5 + 0 + 25) / 3, nose (5 + 100 + 5) / 3, the others (5 + 0 + 5) / 3 percent.
    np.testing.assert_allclose(result.by_point, np.array([30, 10, 110, 10, 10]) / 300, rtol=1e-5)
    assert landmarks.table({"mine": result}).splitlines()[2] == "| mine     |    11.33 % |          50.00 % | 3 of 4 |"
    assert result.to_dict()["failure_rate_at_10_percent"] == 0.5


def test_box_around_points() -> None:
    np.testing.assert_allclose(landmarks.box_around(_POINTS[None]), [_BOX])


@pytest.mark.parametrize("boxes", [False, True])
def test_faces_are_matched_by_their_boxes(boxes: bool) -> None:
    """Two labelled faces, found in the other order, with a third face that nobody labelled before them."""
    truth = _truth(0, 100, boxes=boxes)
    found = _found([_POINTS + 50, _POINTS + 101, _POINTS + 1], [_BOX + 50, _BOX + 101, _BOX + 1])
    assert landmarks.match_faces(truth, found).tolist() == [[0, 2], [1, 1]]
    result = landmarks.evaluate({"a": truth}, {"a": found})
    np.testing.assert_allclose(result.errors, np.sqrt(2) / 10, rtol=1e-5)


def test_far_boxes_and_missing_landmarks_are_misses() -> None:
    truths = {"a": _truth(0), "b": _truth(0)}
    without_points = Faces(_BOX[None].astype(np.float32), np.ones(1, np.float32))
    found = {"a": _found([_POINTS], [_BOX + 20]), "b": without_points}
    result = landmarks.evaluate(truths, found, Problems(strict=True))
    assert (result.found, result.failure_rate()) == (0, 1)
    assert np.isnan(result.mean_error)
    assert result.to_dict()["mean_error"] is None


@given(st.floats(0.1, 50), st.floats(-3, 3), st.floats(-100, 100))
def test_errors_do_not_depend_on_scale_turn_or_place(scale: float, angle: float, shift: float) -> None:
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) * scale
    off = _POINTS + np.arange(10).reshape(5, 2)
    before = landmarks.normalised_errors(off[None], _POINTS[None])
    after = landmarks.normalised_errors((off @ turn + shift)[None], (_POINTS @ turn + shift)[None])
    np.testing.assert_allclose(after, before, rtol=1e-6)


def test_unknown_missing_and_degenerate_faces() -> None:
    flat = _truth(0, 100)
    flat.landmarks[1, 1] = flat.landmarks[1, 0]
    problems = Problems()
    result = landmarks.evaluate({"a": flat, "b": _truth(0)}, {"a": Faces.empty(True), "x": Faces.empty()}, problems)
    assert [str(problem) for problem in problems] == [
        "x: found faces, but no labels; left out",
        "b: no found faces; counted as missed",
        "a: both eyes of a labelled face lie on one point; face left out",
    ]
    assert result.faces == 2
    with pytest.raises(DataError, match="no labels"):
        landmarks.evaluate({"a": flat}, {"x": Faces.empty()}, Problems(strict=True))


_ROW = "p.jpg,,,,," + ",".join(str(v) for v in _POINTS.ravel())
_ROW_WITH_BOX = "p.jpg,4,4,26,26," + ",".join(str(v) for v in _POINTS.ravel())


def _csv(folder: Path, *rows: str, header: str = ",".join(COLUMNS)) -> Path:
    path = folder / "faces.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_labels_are_read(tmp_path: Path) -> None:
    truths = landmarks.load_landmarks(_csv(tmp_path, _ROW, _ROW_WITH_BOX), Problems(strict=True))
    np.testing.assert_array_equal(truths["p.jpg"].landmarks, [_POINTS, _POINTS])
    np.testing.assert_array_equal(truths["p.jpg"].boxes, [[np.nan] * 4, _BOX])


@pytest.mark.parametrize("bad", [_ROW.replace("15.0", "nan", 1), _ROW.replace("15.0", "x", 1), "p.jpg,1,2"])
def test_bad_rows_are_left_out(tmp_path: Path, bad: str) -> None:
    path = _csv(tmp_path, _ROW, bad)
    problems = Problems()
    assert len(landmarks.load_landmarks(path, problems)["p.jpg"].boxes) == 1
    assert [problem.where for problem in problems] == [f"{path}:3"]
    with pytest.raises(DataError, match=r"faces\.csv:3: expected a path"):
        landmarks.load_landmarks(path, Problems(strict=True))


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column y_right_mouth"):
        landmarks.load_landmarks(_csv(tmp_path, header=",".join(COLUMNS[:-1])))
    with pytest.raises(DataError, match="no labelled face"):
        landmarks.load_landmarks(_csv(tmp_path))
    with pytest.raises(DataError, match="cannot be read"):
        landmarks.load_landmarks(tmp_path / "nowhere.csv")


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert plots.plot_landmarks({"mine": _hand()}, tmp_path / "ced.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.data
@pytest.mark.parametrize(("name", "faces"), [("faces_test", 330), ("thumbs_test", 1000)])
def test_labels_as_detections_have_zero_error(data_folder: Path, name: str, faces: int) -> None:
    """Each labelled face, used as a detection, matches itself."""
    truths = landmarks.load_landmarks(data_folder / f"landmarks/{name}.csv", Problems(strict=True))
    found = {
        path: _found(list(truth.landmarks), list(landmarks.box_around(truth.landmarks)))
        for path, truth in truths.items()
    }
    result = landmarks.evaluate(truths, found, Problems(strict=True))
    assert (result.faces, result.found) == (faces, faces)
    assert result.mean_error < 1e-6
