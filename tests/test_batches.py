"""Batches: the mix, the same draws for any number of processes, and augmentation that transforms targets too."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from factories import random_crops, write_crops
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mtcnn.boxes import FLIP_ORDER
from mtcnn.errors import DataError
from mtcnn.nets import to_input
from prepare.labels import Kind
from prepare.records import CropBatch
from prepare.store import CropStore
from stages.crops.batches import CropPool, _colours, augment, flip, move, tensors, training_batches
from stages.crops.recipe import Mix, TrainSettings

ONE_EACH = [Kind.NEG, Kind.PART, Kind.POS, Kind.LANDMARK]
PLAIN = TrainSettings(colour=0.0, blur=0.0)


def batch(count: int = 24, size: int = 12, seed: int = 0) -> CropBatch:
    rng = np.random.default_rng(seed)
    return random_crops(rng, size, [ONE_EACH[i % 4] for i in range(count)])


@pytest.fixture
def pool(tmp_path: Path) -> CropPool:
    """Two stores: 40 items with 4 crops each, and 10 with one hard NEG each; every fifth item is for validation."""
    rng = np.random.default_rng(0)
    held = tuple(range(0, 40, 5))
    first = write_crops(tmp_path / "a", [random_crops(rng, 12, ONE_EACH) for _ in range(40)], held)
    second = write_crops(tmp_path / "b", [random_crops(rng, 12, [Kind.NEG]) for _ in range(10)], held)
    return CropPool([CropStore(first), CropStore(second)])


# ---- mirrored


@settings(max_examples=50)
@given(seed=st.integers(0, 10**6), size=st.sampled_from([12, 24, 48]), chosen=st.lists(st.booleans(), max_size=9))
def test_boxes_and_landmarks_of_the_mirrored_crop(seed: int, size: int, chosen: list[bool]) -> None:
    before = batch(len(chosen), size, seed)
    mirrored = np.array(chosen, bool)
    after = flip(before, mirrored)
    for row, turned in enumerate(chosen):
        has_box, has_points = before.kinds[row] in (Kind.PART, Kind.POS), before.kinds[row] == Kind.LANDMARK
        crop, offsets, points = before.crops[row], before.offsets[row], before.landmarks[row]
        if not turned:
            assert (after.crops[row] == crop).all()
            assert (after.offsets[row] == offsets).all()
            np.testing.assert_array_equal(after.landmarks[row], points)
            continue
        assert (after.crops[row] == crop[:, ::-1]).all()
        if has_box:  # in pixels of the crop: (0, 0, size, size) moved by the offsets
            x1, y1, x2, y2 = np.array([0, 0, size, size]) + offsets * size
            found = np.array([0, 0, size, size]) + after.offsets[row] * size
            np.testing.assert_allclose(found, [size - x2, y1, size - x1, y2], atol=1e-4)
        else:
            assert (after.offsets[row] == 0).all()
        if has_points:
            expected = [(size - points[i, 0] * size, points[i, 1] * size) for i in FLIP_ORDER]
            np.testing.assert_allclose(after.landmarks[row] * size, expected, atol=1e-4)
        else:
            assert np.isnan(after.landmarks[row]).all()
    assert (after.kinds == before.kinds).all()


def test_a_dot_stays_under_its_landmark() -> None:
    size, places = 48, [(10, 12), (35, 14), (21, 25), (14, 38), (30, 37)]
    for number, (x, y) in enumerate(places):
        crops = np.zeros((1, size, size, 3), np.uint8)
        crops[0, y, x] = 255
        points = ((np.array(places)[None] + 0.5) / size).astype(np.float32)
        before = CropBatch(crops, np.array([Kind.LANDMARK], np.uint8), np.zeros((1, 4), np.float32), points)
        after = flip(before, np.array([True]))
        row, column = np.argwhere(after.crops[0, :, :, 0])[0]
        named = FLIP_ORDER[number]  # the left eye of the picture is now the right one
        np.testing.assert_allclose(after.landmarks[0, named] * size, (column + 0.5, row + 0.5), atol=1e-3)


def test_flip_twice_is_the_identity_and_keeps_its_input() -> None:
    before = batch()
    copy = CropBatch(*(getattr(before, name).copy() for name in CropBatch.__dataclass_fields__))
    every = np.ones(len(before), bool)
    twice = flip(flip(before, every), every)
    for name in CropBatch.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(before, name), getattr(copy, name))
        np.testing.assert_allclose(getattr(twice, name), getattr(copy, name), atol=1e-6)


# ---- colours


def flips_of(found: torch.Tensor, crops: NDArray[np.uint8]) -> list[bool]:
    """Whether each crop was mirrored. Fails if it is neither the crop nor its mirror image."""
    straight, turned = to_input(crops), to_input(np.ascontiguousarray(crops[:, :, ::-1]))
    mirrored = [bool((x == b).all()) for x, b in zip(found, turned, strict=True)]
    assert all(m or bool((x == a).all()) for m, x, a in zip(mirrored, found, straight, strict=True))
    return mirrored


@pytest.mark.parametrize("seed", range(5))
def test_a_square_stays_in_its_box_through_a_moved_window(seed: int) -> None:
    """A bright square whose corners are the box and two of the landmarks; the window is drawn anew for each crop."""
    rng, count, size = np.random.default_rng(seed), 40, 48
    crops = np.zeros((count, size, size, 3), np.uint8)
    low, high = rng.integers(12, 20, (count, 2)), rng.integers(28, 36, (count, 2))
    for crop, (x1, y1), (x2, y2) in zip(crops, low, high, strict=True):
        crop[y1:y2, x1:x2] = 255
    boxes = np.concatenate([low, high], axis=1) / size
    points = np.full((count, 5, 2), np.nan)
    points[:, 0], points[:, 1] = boxes[:, :2], boxes[:, 2:]
    offsets = boxes - [0, 0, 1, 1]
    kinds = np.full(count, Kind.POS, np.uint8)
    before = CropBatch(crops, kinds, offsets.astype(np.float32), points.astype(np.float32))
    chosen = dataclasses.replace(PLAIN, shift=0.15, scale=0.3)
    x, targets = move(*tensors(before), chosen, rng)
    inside = (x[:, 0] > 0).numpy()
    found = (targets.offsets + torch.tensor([0.0, 0, 1, 1])).numpy() * size
    for seen, box in zip(inside, found, strict=True):
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        edges = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose(edges, box.clip(0, size), atol=0.75)
    np.testing.assert_allclose(targets.landmarks[:, :2].numpy().reshape(count, 4) * size, found, atol=1e-4)
    assert bool(targets.landmarks[:, 2:].isnan().all())
    sides = (found[:, 2] - found[:, 0]) / (high - low)[:, 0]
    assert sides.min() < 0.85 and sides.max() > 1.15 and (abs(sides - 1) <= 0.3 + 1e-6).all()
    same, also = move(*tensors(before), PLAIN, rng)
    torch.testing.assert_close(same, tensors(before)[0])
    torch.testing.assert_close(also.offsets, torch.from_numpy(before.offsets))


def test_half_is_mirrored() -> None:
    before = batch(400)
    x, _ = augment(before, PLAIN, np.random.default_rng(0))
    assert 160 < sum(flips_of(x, before.crops)) < 240


def test_colour_and_blur_leave_the_targets() -> None:
    before = batch(40)
    plain, kept = augment(before, PLAIN, np.random.default_rng(5))
    changed = TrainSettings(colour=0.5, blur=0.5)
    x, targets = augment(before, changed, np.random.default_rng(5))
    for one, other in zip(targets, kept, strict=True):
        assert torch.equal(one.nan_to_num(-9), other.nan_to_num(-9))
    assert x.shape == plain.shape
    assert x.dtype == torch.float32
    assert x.abs().max() <= 1
    assert ((x - plain).abs().amax(dim=(1, 2, 3)) > 0.01).all(), "every crop has its own colours"
    corner = torch.corrcoef(torch.stack([x.flatten(), plain.flatten()]))[0, 1]
    assert corner > 0.5, "the picture stays: no crop got the pixels of another"


def test_colour_changes_keep_the_order_of_brightness() -> None:
    """A gray image keeps its order of brightness, whatever contrast, brightness and saturation do."""
    ramp = np.tile(np.arange(12, dtype=np.uint8)[None, :, None] * 20, (30, 12, 1, 3))  # (30, 12, 12, 3)
    x, _ = augment(dataclasses.replace(batch(30), crops=ramp), TrainSettings(colour=0.3), np.random.default_rng(0))
    slope = x[..., 1:] - x[..., :-1]
    rising = (slope >= -1e-6).all(dim=(1, 2, 3))
    falling = (slope <= 1e-6).all(dim=(1, 2, 3))
    assert (rising ^ falling).all()
    assert (x[:, 0] - x[:, 1]).abs().max() < 1e-6, "gray stays gray"


def test_blur_halves_the_detail_of_some() -> None:
    before = batch(200, 24)
    x, _ = augment(before, TrainSettings(colour=0.0, blur=0.3), np.random.default_rng(0))
    detail = (x[..., 1:] - x[..., :-1]).abs().mean(dim=(1, 2, 3))  # noise has much, half-sized noise little
    blurred = detail < detail.max() / 2
    assert 35 < int(blurred.sum()) < 85
    flips_of(x[~blurred], before.crops[~blurred.numpy()])


def test_tensors() -> None:
    before = batch(8)
    x, targets = tensors(before)
    assert torch.equal(x, to_input(before.crops))
    for name, value in zip(("kinds", "offsets", "landmarks", "scores"), targets, strict=True):
        np.testing.assert_array_equal(value.numpy(), getattr(before, name))


# ---- the pool and the draws


def test_pool_reads_over_its_stores_in_order(pool: CropPool) -> None:
    rows = np.random.default_rng(1).integers(0, 170, 60)
    found = pool.read(rows)
    stores = [store.read(np.arange(len(store))) for store in pool.stores]
    expected = CropBatch.concat(stores)
    for name in CropBatch.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name)[rows])
    assert (found.kinds == pool.kinds[rows]).all()
    np.testing.assert_array_equal(pool.read(np.array([165, 161])).crops, stores[1].crops[[5, 1]])


def test_pool_splits_by_image(pool: CropPool) -> None:
    for kind in Kind:
        training, held = pool.of(kind), pool.of(kind, val=True)
        assert len(training) == (32 + 8 if kind == Kind.NEG else 32)
        assert len(held) == (8 + 2 if kind == Kind.NEG else 8)
        assert not set(training) & set(held)
        assert (pool.kinds[training] == kind).all()


def drawn(
    pool: CropPool,
    monkeypatch: pytest.MonkeyPatch,
    chosen: TrainSettings,
    epoch: int = 0,
    rank: int = 0,
    world: int = 1,
) -> tuple[list[NDArray[Any]], list[Any]]:
    """The rows of each step, and the batches made of them."""
    rows: list[NDArray[Any]] = []
    with monkeypatch.context() as patch:
        patch.setattr(pool, "read", lambda found: (rows.append(found), CropPool.read(pool, found))[1])  # type: ignore[func-returns-value]
        batches = list(training_batches(pool, chosen, epoch, rank, world))
    return rows, batches


MIX = TrainSettings(steps=6, batch=70, mix=Mix(3, 1, 1, 2), seed=4)


def test_the_mix(pool: CropPool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, batches = drawn(pool, monkeypatch, MIX)
    assert len(batches) == 6
    training = np.flatnonzero(~pool.val)
    for step, (x, targets) in zip(rows, batches, strict=True):
        assert x.shape == (70, 3, 12, 12)
        assert torch.bincount(targets.kinds, minlength=4).tolist() == [30, 10, 10, 20]
        assert np.isin(step, training).all(), "never a crop of a held image"
    assert len(set(np.concatenate(rows))) > 100, "from all over both stores"
    _, none = drawn(pool, monkeypatch, TrainSettings(steps=1, batch=50))
    assert torch.bincount(none[0][1].kinds, minlength=4).tolist() == [30, 10, 10, 0]


def test_randomness_depends_only_on_seed_and_epoch(pool: CropPool, monkeypatch: pytest.MonkeyPatch) -> None:
    first, again = (drawn(pool, monkeypatch, MIX, epoch=2) for _ in range(2))
    for one, other in zip(first[1], again[1], strict=True):
        assert torch.equal(one[0], other[0])
    for changed in (
        drawn(pool, monkeypatch, MIX, epoch=3),
        drawn(pool, monkeypatch, TrainSettings(**{**vars(MIX), "seed": 5}), epoch=2),
    ):
        assert (np.concatenate(first[0]) != np.concatenate(changed[0])).any()
    assert not np.array_equal(first[0][0], first[0][1]), "no two steps alike"


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_draws_of_one(pool: CropPool, monkeypatch: pytest.MonkeyPatch, world: int) -> None:
    alone, _ = drawn(pool, monkeypatch, MIX)
    shares = [drawn(pool, monkeypatch, MIX, rank=rank, world=world) for rank in range(world)]
    for step, whole in enumerate(alone):
        parts = [rows[step] for rows, _ in shares]
        assert sorted(np.concatenate(parts)) == sorted(whole)
        kinds = np.array([np.bincount(pool.kinds[part], minlength=4) for part in parts])
        assert (kinds.max(axis=0) - kinds.min(axis=0) <= 1).all(), "each has its share of every kind"


def test_a_missing_kind_is_reported(tmp_path: Path) -> None:
    only = write_crops(tmp_path / "crops.lmdb", [random_crops(np.random.default_rng(0), 12, [Kind.NEG, Kind.POS])])
    with pytest.raises(DataError, match=r"no PART crops in .*crops\.lmdb"):
        next(training_batches(CropPool([CropStore(only)]), MIX, 0))


def test_saturation_mixes_the_colours_of_a_pixel() -> None:
    """Without any, each pixel has the mean of its own red, green and blue, and no other's."""
    x = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8
    gray = _colours(x, 1.0, np.array([[-1.0, 0, 0], [0, 0, 0]]))
    for row in range(4):
        for column in range(5):
            mean = sum(x[0, :, row, column].tolist()) / 3
            assert gray[0, :, row, column].tolist() == pytest.approx([mean] * 3, abs=1e-6)
    torch.testing.assert_close(gray[1], x[1])
    double = _colours(x, 0.5, np.array([[1.0, 0, 0], [0, 0, 0]]))[0]
    wanted = [[sum(p) / 3 + 1.5 * (v - sum(p) / 3) for v in p] for p in x[0].permute(1, 2, 0).reshape(-1, 3).tolist()]
    torch.testing.assert_close(double.permute(1, 2, 0).reshape(-1, 3), torch.tensor(wanted).clamp(-1, 1))
