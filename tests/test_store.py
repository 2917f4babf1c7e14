"""The crop store: round trips, resuming, and damage."""

from __future__ import annotations

import re
from pathlib import Path

import lmdb
import numpy as np
import pytest
from factories import random_crops, write_crops
from processes import succeeds_forked

from mtcnn.errors import DataError
from prepare.labels import Kind
from prepare.records import CropBatch
from prepare.store import LOCK_SIZE, CropStore, CropWriter

FIELDS = ("crops", "kinds", "offsets", "landmarks")
MIXED = [[Kind.NEG, Kind.POS], [], [Kind.LANDMARK], [Kind.PART, Kind.NEG, Kind.POS, Kind.PART], [Kind.NEG]]


@pytest.fixture
def batches() -> list[CropBatch]:
    rng = np.random.default_rng(0)
    return [random_crops(rng, 12, kinds) for kinds in MIXED]


def assert_equal(found: CropBatch, expected: CropBatch) -> None:
    for name in FIELDS:
        value = getattr(found, name)
        assert value.dtype == getattr(expected, name).dtype
        np.testing.assert_array_equal(value, getattr(expected, name), err_msg=name)


def digest(path: Path) -> str:
    store = CropStore(path)
    try:
        return store.digest()
    finally:
        store.close()


def test_round_trip(tmp_path: Path, batches: list[CropBatch]) -> None:
    store = CropStore(write_crops(tmp_path / "a" / "crops.lmdb", batches, val=(2, 3), key="made so"))
    whole = CropBatch.concat(batches)
    assert (len(store), store.size, store.key) == (8, 12, "made so")
    assert_equal(store.read(np.arange(8)), whole)
    assert store.kinds.tolist() == whole.kinds.tolist()
    assert store.items.tolist() == [0, 0, 2, 3, 3, 3, 3, 4]
    assert store.val.tolist() == [False, False, True, True, True, True, True, False]


def test_reads_at_random(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    batches = [
        random_crops(rng, 24, [Kind(int(k)) for k in rng.integers(0, 4, rng.integers(0, 30))]) for _ in range(40)
    ]
    store = CropStore(write_crops(tmp_path / "crops.lmdb", batches))
    whole = CropBatch.concat(batches)
    for count in (0, 1, 7, 900):
        rows = rng.integers(0, len(whole), count)  # any order, repeats
        assert_equal(store.read(rows), CropBatch(*(getattr(whole, name)[rows] for name in FIELDS)))
    copy = store.read(np.array([3]))
    copy.crops[:] = 0  # the caller's own, not a page of the store
    assert_equal(store.read(np.array([3])), CropBatch(*(getattr(whole, name)[3:4] for name in FIELDS)))
    for row in (-1, len(whole)):
        with pytest.raises(IndexError, match=f"rows 0 to {row} of|rows -1 to 0 of"):
            store.read(np.array([0, row]))


@pytest.mark.parametrize("done", range(len(MIXED) + 1))
def test_resumed_equals_uninterrupted(tmp_path: Path, batches: list[CropBatch], done: int) -> None:
    unbroken = write_crops(tmp_path / "unbroken", batches, val=(1, 3))
    with CropWriter(tmp_path / "broken", 12, "k") as writer:
        for number, batch in enumerate(batches[:done]):
            writer.append(batch, val=number in (1, 3))
    with CropWriter(tmp_path / "broken", 12, "k") as writer:
        assert (writer.done, writer.complete) == (done, False)
        for number, batch in list(enumerate(batches))[writer.done :]:
            writer.append(batch, val=number in (1, 3))
        writer.finish()
    assert digest(tmp_path / "broken") == digest(unbroken)
    assert_equal(CropStore(tmp_path / "broken").read(np.arange(8)), CropBatch.concat(batches))


def test_digest_sees_every_change(tmp_path: Path, batches: list[CropBatch]) -> None:
    digests = {digest(write_crops(tmp_path / "a", batches))}
    for number, name in enumerate(FIELDS):
        changed = [CropBatch(*(getattr(batch, each).copy() for each in FIELDS)) for batch in batches]
        value = getattr(changed[3], name)
        value.reshape(-1)[0] = 1 if name == "landmarks" else 255 - value.reshape(-1)[0]
        digests.add(digest(write_crops(tmp_path / f"b{number}", changed)))
    digests.add(digest(write_crops(tmp_path / "c", batches, val=(0,))))
    digests.add(digest(write_crops(tmp_path / "d", batches[::-1])))
    assert len(digests) == 7


def test_complete_store_stays(tmp_path: Path, batches: list[CropBatch]) -> None:
    path = write_crops(tmp_path / "crops.lmdb", batches)
    with CropWriter(path, 12, "k") as writer:
        assert (writer.done, writer.complete) == (len(batches), True)


@pytest.mark.parametrize(("size", "key"), [(12, "other"), (24, "k")])
def test_another_key_or_size_restarts(tmp_path: Path, batches: list[CropBatch], size: int, key: str) -> None:
    path = write_crops(tmp_path / "crops.lmdb", batches)
    crops = random_crops(np.random.default_rng(5), size, [Kind.POS])
    with CropWriter(path, size, key) as writer:
        assert (writer.done, writer.complete) == (0, False)
        writer.append(crops)
        writer.finish()
    store = CropStore(path)
    assert (len(store), store.size, store.key) == (1, size, key)
    assert_equal(store.read(np.array([0])), crops)


def test_an_incomplete_store_is_rejected(tmp_path: Path, batches: list[CropBatch]) -> None:
    with CropWriter(tmp_path / "crops", 12, "k") as writer:
        for batch in batches:
            writer.append(batch)
    with pytest.raises(DataError, match="not complete; run the same `mtcnn prepare` again"):
        CropStore(tmp_path / "crops")
    with CropWriter(tmp_path / "crops", 12, "k") as writer:  # the refused one is closed, so LMDB allows this
        writer.finish()
    assert len(CropStore(tmp_path / "crops")) == 8


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"no crops at {tmp_path}")):
        CropStore(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no database" * 1000])
def test_damaged_store(tmp_path: Path, batches: list[CropBatch], content: bytes) -> None:
    path = write_crops(tmp_path / "crops.lmdb", batches)
    (path / "data.mdb").write_bytes(content)
    with pytest.raises(DataError, match="delete it and run `mtcnn prepare` again"):
        CropStore(path)
    assert len(CropStore(write_crops(path, batches))) == 8, "made anew over it"


def test_the_lock_file_has_its_blocks(tmp_path: Path, batches: list[CropBatch]) -> None:
    """LMDB writes to it by way of a map: on a full disk a hole in it ends the process, by a signal."""
    path = write_crops(tmp_path / "crops.lmdb", batches)
    status = (path / "lock.mdb").stat()
    assert status.st_size == LOCK_SIZE, "what LMDB asks for"
    assert status.st_blocks * 512 >= LOCK_SIZE
    (path / "lock.mdb").unlink()
    with lmdb.open(str(path)):
        assert (path / "lock.mdb").stat().st_size == LOCK_SIZE


def many() -> list[CropBatch]:
    return [random_crops(np.random.default_rng(2), 24, [Kind.NEG] * 20) for _ in range(30)]


@pytest.mark.parametrize("share", [0.02, 0.25, 0.5, 0.99])
@pytest.mark.parametrize("complete", [True, False])
def test_a_store_that_was_cut_off(tmp_path: Path, share: float, complete: bool) -> None:
    """To read behind the end of a mapped file ends the process, by a signal: so in a process of its own."""
    path, batches = tmp_path / "crops.lmdb", many()
    with CropWriter(path, 24, "k") as writer:
        for batch in batches:
            writer.append(batch)
        if complete:
            writer.finish()
    data = (path / "data.mdb").read_bytes()
    (path / "data.mdb").write_bytes(data[: int(share * len(data))])

    def refused() -> bool:
        with pytest.raises(DataError, match=r"are damaged \(it was cut off\); delete that folder and run the same"):
            CropStore(path)
        return len(CropStore(write_crops(path, batches))) == 600

    assert succeeds_forked(refused)


@pytest.mark.parametrize("page", [0.1, 0.4, 0.7, 0.95])
def test_pages_that_are_gone(tmp_path: Path, page: float) -> None:
    """As after a power cut: pages of zeros."""
    path = write_crops(tmp_path / "crops.lmdb", many())
    data = bytearray((path / "data.mdb").read_bytes())
    for first in range(int(page * len(data)) // 4096 * 4096, int((page + 0.05) * len(data)), 4096):
        data[first : first + 4096] = bytes(4096)
    (path / "data.mdb").write_bytes(data)

    def refused() -> bool:
        with pytest.raises(DataError, match=r"are damaged \(.*\); delete that folder and run the same command again$"):
            CropStore(path).read(np.arange(600))
        return True

    assert succeeds_forked(refused)


@pytest.mark.parametrize("head", ["{}", "[]", "5", "{", '{"key": 1}', None])
def test_a_damaged_header(tmp_path: Path, batches: list[CropBatch], head: str | None) -> None:
    path = write_crops(tmp_path / "crops.lmdb", batches)
    with lmdb.open(str(path)) as env, env.begin(write=True) as txn:
        if head is None:
            txn.delete(b"item" + bytes(6))
        else:
            txn.put(b"head", head.encode())
    with pytest.raises(DataError, match="are damaged"):
        CropStore(path)
    if head is not None:
        assert len(CropStore(write_crops(path, batches))) == 8, "made anew over it"


def test_no_crops_at_all(tmp_path: Path) -> None:
    store = CropStore(write_crops(tmp_path / "crops", [CropBatch.empty(48)] * 2))
    assert len(store) == len(store.val) == 0
    assert store.read(np.zeros(0, int)).crops.shape == (0, 48, 48, 3)


def test_an_offset_with_a_wrong_bit(tmp_path: Path, batches: list[CropBatch]) -> None:
    """It would make the loss of a training infinite, whose error speaks of the learning rate."""
    path = write_crops(tmp_path / "x", batches)
    row = next(offsets for batch in batches for offsets in batch.offsets if offsets.any())
    data = (path / "data.mdb").read_bytes()
    flipped = bytearray(row.tobytes())
    flipped[int(np.abs(row).argmax()) * 4 + 3] ^= 0x40  # the highest bit of the exponent
    (path / "data.mdb").write_bytes(data.replace(row.tobytes(), bytes(flipped)))
    store = CropStore(path)
    with pytest.raises(DataError, match=r"are damaged \(offsets that no crop has\); delete that folder"):
        store.read(np.arange(len(store)))
