"""Sampled crops: positions of windows, labels, caps, and no endless search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference import plain_iou

from mtcnn.boxes import decode_offsets
from mtcnn.crops import cut
from mtcnn.errors import SettingsError
from prepare import sample as module
from prepare import synthetic
from prepare.labels import IouBands, Kind, Labels
from prepare.records import CropBatch, ImageRecord
from prepare.sample import CropSettings, draw_windows, pick, sample

BANDS = IouBands()
SETTINGS = CropSettings(negatives=60, near=6, tries=6)
Array = NDArray[Any]


def scene(index: int) -> tuple[NDArray[np.uint8], ImageRecord]:
    image, boxes, landmarks = synthetic.draw_scene(3, index)
    return image, ImageRecord(Path(f"{index}.jpg"), boxes, landmarks)


def sampled(
    monkeypatch: pytest.MonkeyPatch, image: NDArray[np.uint8], record: ImageRecord, size: int,
    chosen: CropSettings = SETTINGS, seed: int = 0,
) -> tuple[CropBatch, Array]:  # fmt: skip
    """The crops of an image, and the windows that they were cut from."""
    windows: list[Array] = []

    def spy(image: NDArray[np.uint8], boxes: Array, size: int) -> NDArray[np.uint8]:
        windows.append(boxes)
        return cut(image, boxes, size)

    with monkeypatch.context() as patch:
        patch.setattr(module, "cut", spy)
        batch = sample(image, record, size, chosen, BANDS, np.random.default_rng(seed))
    assert len(windows) == 1
    return batch, windows[0]


def squared(box: Array) -> list[float]:
    x1, y1, x2, y2 = (float(v) for v in box)
    x, y, half = (x1 + x2) / 2, (y1 + y2) / 2, max(x2 - x1, y2 - y1) / 2
    return [x - half, y - half, x + half, y + half]


@pytest.mark.parametrize("size", [12, 24, 48])
def test_kinds_and_offsets_recomputed(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    seen = np.zeros(len(Kind), int)
    for index in range(8):
        image, record = scene(index)
        batch, windows = sampled(monkeypatch, image, record, size)
        assert batch.crops.shape == (len(windows), size, size, 3)
        assert np.isnan(batch.landmarks).all()
        for window, kind, offsets in zip(windows, batch.kinds, batch.offsets, strict=True):
            by_square = [plain_iou(window, squared(box)) for box in record.boxes]
            by_box = [plain_iou(window, [float(v) for v in box]) for box in record.boxes]
            best, most = max(by_square, default=0.0), max(by_square + by_box, default=0.0)
            seen[kind] += 1
            if kind == Kind.NEG:
                assert most < 0.30 + 1e-6
                assert (offsets == 0).all()
                continue
            low, high = (0.65, 1.0) if kind == Kind.POS else (0.40, 0.65)
            assert low - 1e-6 <= best <= high + 1e-6
            side = window[2] - window[0]
            decoded = window + offsets * side  # (truth - crop) / side, undone
            np.testing.assert_allclose(decoded, record.boxes[int(np.argmax(by_square))], atol=1e-4 * side)
    assert (seen[[Kind.NEG, Kind.PART, Kind.POS]] > 30).all()


@pytest.mark.parametrize(("size", "margin"), [(12, 0.0), (24, 0.5), (48, 0.5)])
def test_windows_are_square_and_inside(monkeypatch: pytest.MonkeyPatch, size: int, margin: float) -> None:
    over = 0
    for index in range(8):
        image, record = scene(index)
        batch, windows = sampled(monkeypatch, np.full_like(image, 255), record, size)
        side = windows[:, 2] - windows[:, 0]
        np.testing.assert_allclose(side, windows[:, 3] - windows[:, 1], rtol=1e-9)
        assert (side >= SETTINGS.min_size).all()
        reach = np.maximum(-windows[:, :2], windows[:, 2:] - (image.shape[1], image.shape[0])).max(axis=1)
        assert (reach <= margin * side + 1e-9).all()
        dark = (batch.crops < 255).any(axis=(1, 2, 3))  # what lies outside is black
        over += int(dark.sum())
        assert not (dark & (reach < 0)).any()
    assert (over == 0) == (size == 12)


def test_crops_show_their_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, columns = np.mgrid[0:200, 0:200].astype(np.uint8)
    image = np.stack([columns, rows, np.full_like(rows, 255)], axis=2)  # red tells x, green y
    face = ImageRecord(Path("x.jpg"), np.array([[60, 70, 120, 140]]))
    batch, windows = sampled(monkeypatch, image, face, 24)
    whole = (batch.crops[..., 2] == 255).all(axis=(1, 2))
    centre = batch.crops[whole][..., :2].mean(axis=(1, 2)) + 0.5  # pixel i has its centre at i + 0.5
    np.testing.assert_allclose(centre, (windows[whole][:, :2] + windows[whole][:, 2:]) / 2, atol=0.6)


@pytest.mark.parametrize("kind", [Kind.NEG, Kind.PART, Kind.POS])
def test_caps(monkeypatch: pytest.MonkeyPatch, kind: Kind) -> None:
    image, record = next(found for found in map(scene, range(20)) if len(found[1].boxes) > 1)
    free, _ = sampled(monkeypatch, image, record, 12)
    found = np.bincount(free.kinds, minlength=len(Kind))
    assert found[kind] > 7
    capped = CropSettings(negatives=60, near=6, tries=6, **{f"max_{kind.name.lower()}": 7})
    batch, _ = sampled(monkeypatch, image, record, 12, capped)
    found[kind] = 7
    assert np.bincount(batch.kinds, minlength=len(Kind)).tolist() == found.tolist()


@pytest.mark.parametrize("size", [12, 48])
def test_image_covered_by_faces_ends(size: int) -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    for boxes in ([[0, 0, 100, 100]], [[x, y, x + 20, y + 20] for x in range(0, 100, 20) for y in range(0, 100, 20)]):
        crowd = ImageRecord(Path("x.jpg"), np.array(boxes), ignore=np.ones(len(boxes), bool))
        assert len(sample(image, crowd, size, CropSettings(), BANDS, np.random.default_rng(0))) == 0


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (9, 9), (10, 10)])
@pytest.mark.parametrize("size", [12, 24])
def test_tiny_images(shape: tuple[int, int], size: int) -> None:
    image, record = np.zeros((*shape, 3), np.uint8), ImageRecord(Path("x.jpg"), np.array([[0, 0, 1, 1]]))
    batch = sample(image, record, size, CropSettings(min_size=10), BANDS, np.random.default_rng(0))
    assert batch.crops.shape[1:] == (size, size, 3)
    if size == 12 and min(shape) < 10:
        assert len(batch) == 0


def test_same_seed_same_crops() -> None:
    image, record = scene(1)
    first, again, other = (sample(image, record, 24, SETTINGS, BANDS, np.random.default_rng(s)) for s in (5, 5, 6))
    for name in ("crops", "kinds", "offsets"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.crops.shape != other.crops.shape or (first.crops != other.crops).any()


def test_incomplete_labels_give_no_background() -> None:
    image, record = scene(2)
    part = ImageRecord(record.path, record.boxes, complete=False)
    batch = sample(image, part, 12, SETTINGS, BANDS, np.random.default_rng(0))
    assert len(batch) > 0
    assert not (batch.kinds == Kind.NEG).any()


def test_windows_by_size_of_face() -> None:
    """`tries` for a face of 16 px, (side / 16) ^ balance times as many for larger ones, at most 12 times."""
    few = CropSettings(negatives=0, near=0, tries=10, balance=1.0, min_face=8)
    for side, times in ((7.9, 0), (8, 1), (16, 1), (32, 2), (64, 4), (2000, 12)):
        record = ImageRecord(Path("x.jpg"), np.array([[0, 0, side, side / 2]]))
        windows = draw_windows(record, 3000, 3000, few, np.random.default_rng(0))
        assert len(windows) == 2 * 10 * times, "tight and loose ones"


def test_ignored_and_unknown_faces_draw_no_windows() -> None:
    boxes = np.array([[0, 0, 50, 50], [np.nan] * 4])
    record = ImageRecord(Path("x.jpg"), boxes, ignore=np.array([True, False]))
    assert len(draw_windows(record, 100, 100, SETTINGS, np.random.default_rng(0))) == SETTINGS.negatives


@settings(max_examples=100)
@given(
    kinds=st.lists(st.sampled_from([0, 1, 2, 3, 255]), max_size=40),
    most=st.dictionaries(st.sampled_from(list(Kind)), st.integers(0, 12)),
)
def test_pick(kinds: list[int], most: dict[Kind, int]) -> None:
    chosen = pick(np.array(kinds, np.uint8), most, np.random.default_rng(0))
    assert sorted(set(chosen.tolist())) == chosen.tolist(), "in rising order, none twice"
    for kind in {*kinds, *Kind}:
        wanted = min(kinds.count(kind), most.get(Kind(kind), 0)) if kind in list(Kind) else 0
        assert sum(kinds[i] == kind for i in chosen) == wanted


def test_offsets_of_other_kinds_are_zero() -> None:
    record = ImageRecord(Path("x.jpg"), np.array([[10, 10, 40, 50]]))
    labels = Labels(np.array([Kind.NEG, Kind.POS, Kind.PART], np.uint8), np.array([0, 0, 0]))
    windows = np.array([[10.0, 10, 50, 50]] * 3)
    batch = module.crops_of(np.zeros((60, 60, 3), np.uint8), windows, labels, record, 12)
    assert batch.offsets.tolist() == [[0, 0, 0, 0], [0, 0, -0.25, 0], [0, 0, -0.25, 0]]


def test_context_widens_crops_and_not_what_they_are() -> None:
    """The kinds are those of the windows; each crop is the window's, enlarged; offsets lead to the face."""
    image = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    record = ImageRecord(Path("x.jpg"), np.array([[10.0, 10, 40, 50]]))
    plain, wide = (
        sample(image, record, 24, CropSettings(context=context), IouBands(), np.random.default_rng(0))
        for context in (1.0, 1.5)
    )
    assert plain.kinds.tolist() == wide.kinds.tolist() and len(plain) > 99
    windows = np.array([[10.0, 10, 50, 50], [0, 0, 20, 20]])
    labels = Labels(np.array([Kind.POS, Kind.NEG], np.uint8), np.array([0, -1]))
    batch = module.crops_of(image, windows, labels, record, 24, 1.5)
    enlarged = np.array([[0.0, 0, 60, 60], [-5, -5, 25, 25]])
    np.testing.assert_array_equal(batch.crops, cut(image, enlarged, 24))
    np.testing.assert_allclose(decode_offsets(enlarged, batch.offsets)[0], record.boxes[0])


@pytest.mark.parametrize(
    "values",
    [{"negatives": -1}, {"max_pos": -1}, {"min_size": 0.5}, {"val": 100.0}, {"rotation": -5.0}, {"context": 0.9}],
)
def test_invalid_settings(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(values))} is .*; expected"):
        CropSettings(**values)


@pytest.mark.parametrize("complete", [True, False])
def test_windows_anywhere_only_where_all_faces_are_labelled(complete: bool) -> None:
    """Otherwise one may show an unlabelled face."""
    chosen = CropSettings(negatives=17, near=3, tries=2)
    alone = ImageRecord(Path("x"), complete=complete)
    assert len(draw_windows(alone, 100, 100, chosen, np.random.default_rng(0))) == 17 * complete
    one = ImageRecord(Path("x"), np.array([[10, 10, 26, 26]], np.float32), complete=complete)
    windows = draw_windows(one, 100, 100, chosen, np.random.default_rng(0))
    assert len(windows) == 2 + 2 + 3 + 17 * complete


def test_defaults_are_those_of_the_cards() -> None:
    """Another default would be another set of crops for every recipe that leaves it out."""
    assert CropSettings() == CropSettings(
        negatives=200, near=6, tries=8, balance=0.8, max_neg=250, max_part=300, max_pos=300, min_face=8.0,
        min_size=10.0, landmarks=0, rotation=20.0, val=5.0,
    )  # fmt: skip


def test_windows_anywhere_fill_the_image_and_stay_inside() -> None:
    windows = module._anywhere(2000, 10.0, 60, 90, np.random.default_rng(0))
    sides = windows[:, 2:] - windows[:, :2]
    assert windows.min() >= 0 and (windows[:, 2:] <= np.array([90, 60]) + 1e-9).all()
    assert windows.min(axis=0)[:2].max() < 0.5 and (windows.max(axis=0)[2:] > np.array([89, 59])).all()
    np.testing.assert_allclose(sides[:, 0], sides[:, 1])
    assert 10 <= sides.min() < 10.1 and 59 < sides.max() <= 60
    assert abs(np.median(sides) - np.sqrt(600)) < 1.5  # half of them below the geometric mean
    small = module._anywhere(5, 10.0, 4, 4, np.random.default_rng(0))
    np.testing.assert_allclose(small, [[0, 0, 10, 10]] * 5)


@pytest.mark.parametrize(("size", "margin"), [(12, 0.0), (24, 0.5), (48, 0.5)])
def test_how_far_windows_may_reach_out(monkeypatch: pytest.MonkeyPatch, size: int, margin: float) -> None:
    """By half a side where squares of detection reach out too; a side of the smallest size is still one."""
    height, width = 100, 140
    inside, beyond = [], []
    for side in (10.0, 40.0):
        out = margin * side
        for dx, dy in ((-out, 20), (20, -out), (width + out - side, 20), (20, height + out - side)):
            inside.append([dx, dy, dx + side, dy + side])
        for dx, dy in ((-out - 1, 20), (20, -out - 1), (width + out - side + 1, 20), (20, height + out - side + 1)):
            beyond.append([dx, dy, dx + side, dy + side])
    small = [[5, 5, 14.9, 14.9]]
    monkeypatch.setattr(module, "draw_windows", lambda *_: np.array([*inside, *beyond, *small], np.float64))
    image = np.zeros((height, width, 3), np.uint8)
    _, windows = sampled(monkeypatch, image, ImageRecord(Path("a.jpg")), size)
    assert windows.tolist() == inside


COUNTS = (
    "negatives",
    "near",
    "tries",
    "max_neg",
    "max_part",
    "max_pos",
    "landmarks",
    "balance",
    "min_face",
    "rotation",
)


@pytest.mark.parametrize(("name", "low"), [*((name, 0) for name in (*COUNTS, "val")), ("min_size", 1)])
def test_settings_from_their_lowest_values_on(name: str, low: int) -> None:
    assert getattr(CropSettings(**{name: low}), name) == low
    with pytest.raises(SettingsError, match=f"{name} is {low - 1}; expected"):
        CropSettings(**{name: low - 1})
