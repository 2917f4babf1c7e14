"""Which photos a training draws: unlabelled ones, and folders, by their shares."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mtcnn.errors import DataError, SettingsError
from prepare.records import ImageRecord
from stages.photos.crops import PictureSettings
from stages.photos.drawing import Drawing

FOLDERS = ["a/street", "a/street", "a/crowds/night", "a/crowds/day", "a/crowds/day", "b", "b", "b"]
RECORDS = [ImageRecord(Path(folder, f"{i}.jpg")) for i, folder in enumerate(FOLDERS)]
ALL, NONE = np.arange(8), np.zeros(0, np.int64)
DRAWS = 4000


def drawn(drawing: Drawing, count: int = DRAWS) -> NDArray[np.int64]:
    return np.array(list(islice(drawing.images(np.random.default_rng(3)), count)))


def share(found: NDArray[np.int64], images: list[int]) -> float:
    return float(np.isin(found, images).mean())


def test_without_shares_each_image_comes_once_a_round() -> None:
    found = drawn(Drawing(RECORDS, ALL, NONE, 0.0, {}), 24)
    assert all(sorted(part) == list(range(8)) for part in found.reshape(3, 8))


def test_without_shares_the_stream_is_that_of_older_versions() -> None:
    """So that a training that was begun goes on with the same pictures."""
    expected: list[int] = []
    rng, queues = np.random.default_rng(3), {False: [], True: []}  # type: ignore[var-annotated]
    for _ in range(40):
        which = bool(rng.random() < 0.4)
        if not queues[which]:
            queues[which] = rng.permutation(ALL[5:] if which else ALL[:5]).tolist()
        expected.append(queues[which].pop(0))
    assert drawn(Drawing(RECORDS, ALL[:5], ALL[5:], 0.4, {}), 40).tolist() == expected


def test_folders_get_their_shares_and_the_others_the_rest() -> None:
    found = drawn(Drawing(RECORDS, ALL[:3], ALL[3:], 0.1, {"street": 0.5, "crowds": 0.3}))
    assert share(found, [0, 1]) == pytest.approx(0.5, abs=0.03)
    assert share(found, [2, 3, 4]) == pytest.approx(0.3, abs=0.03), "labelled and unlabelled alike"
    assert share(found, [5, 6, 7]) == pytest.approx(0.2, abs=0.03)


def test_unlabelled_images_outside_are_not_drawn_without_a_share_of_theirs() -> None:
    """Though no other image is there: objectives without a teacher would take their faces for background."""
    found = drawn(Drawing(RECORDS, ALL[:5], ALL[5:], 0.0, {"street": 0.2, "crowds": 0.3}))
    assert share(found, [0, 1]) == pytest.approx(0.4, abs=0.03)
    assert share(found, [5, 6, 7]) == 0


def test_the_first_name_that_fits_has_an_image_and_a_name_may_be_a_path() -> None:
    found = drawn(Drawing(RECORDS, ALL, NONE, 0.0, {"crowds/day": 0.6, "crowds": 0.1, "a": 0.0}))
    assert share(found, [3, 4]) == pytest.approx(0.6, abs=0.03)
    assert share(found, [2]) == pytest.approx(0.1, abs=0.03)
    assert share(found, [0, 1]) == 0, "a share of 0 leaves a folder out"


def test_a_name_is_a_whole_folder_not_a_part_of_one() -> None:
    with pytest.raises(DataError, match=r"pictures.shares.stree is 0.1; expected photos in a folder of that name"):
        Drawing(RECORDS, ALL, NONE, 0.0, {"stree": 0.1})


def test_without_other_photos_shares_are_relative() -> None:
    found = drawn(Drawing(RECORDS, ALL[:5], NONE, 0.0, {"street": 0.1, "crowds": 0.3}))
    assert share(found, [0, 1]) == pytest.approx(0.25, abs=0.03)
    with pytest.raises(DataError, match="expected a share above 0"):
        Drawing(RECORDS, ALL[:5], NONE, 0.0, {"street": 0.0, "crowds": 0.0})


def test_shares_that_make_no_sense() -> None:
    for shares, line in (
        ({"a": 1.5}, "shares.a is 1.5; expected a number from 0 to 1"),
        ({"a": "much"}, "shares.a is 'much'; expected a number from 0 to 1"),
        ({"a": 0.7, "b": 0.6}, "shares is 1.3; expected at most 1 in all"),
    ):
        with pytest.raises(SettingsError, match=line):
            PictureSettings(shares=shares)  # type: ignore[arg-type]
