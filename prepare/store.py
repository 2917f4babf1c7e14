"""The crop store: one LMDB per net, rows of fixed size for random access without decoding.

Items (images) are written in order, each with all its crops in one transaction, so an interrupted build resumes after
the last item written, and ends with the same rows as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import lmdb
import numpy as np
from numpy.typing import NDArray

from mtcnn.errors import DataError
from mtcnn.files.atomic_write import naming

from .records import CropBatch

__all__ = ["CropStore", "CropWriter", "row_type"]

FORMAT = 1
FARTHEST = 1e4  # offset of any box from its crop, in sides of the crop: one wrong bit makes 1e38 of it
DAMAGED = (lmdb.InvalidError, lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.VersionMismatchError)
LOCK_SIZE = 1 << 13  # bytes, for LMDB's 126 readers
MAP_SIZE = 1 << 40  # address space, not disk: LMDB files grow as they are written


def row_type(size: int, scored: bool = False) -> np.dtype[Any]:
    """One row: crop, kind, offsets, landmarks, and the score if teachers labelled any photo; see records.CropBatch."""
    return np.dtype(
        [("crops", "u1", (size, size, 3)), ("kinds", "u1"), ("offsets", "<f4", (4,)), ("landmarks", "<f4", (5, 2))]
        + [("scores", "<f4")] * scored
    )


def _row_key(index: int) -> bytes:
    return index.to_bytes(8, "big")


def _item_key(index: int) -> bytes:
    return b"item" + index.to_bytes(6, "big")


def _header(txn: lmdb.Transaction) -> dict[str, Any] | None:
    """The header of a store, None without one. Raises TypeError, ValueError or KeyError for a damaged one."""
    raw = txn.get(b"head")
    if raw is None:
        return None
    head = dict(json.loads(bytes(raw)))
    for name, kind in (("format", int), ("size", int), ("key", str), ("items", int), ("rows", int), ("complete", bool)):
        if type(head[name]) is not kind:
            raise TypeError(name)
    return head


def _check_length(env: lmdb.Environment, path: Path) -> None:
    """Raises ValueError for a file that was cut off: to read behind its end, where it is mapped, ends the process."""
    if (path / "data.mdb").stat().st_size < (env.info()["last_pgno"] + 1) * env.stat()["psize"]:
        raise ValueError("it was cut off")


def _damaged(path: Path, error: Exception) -> DataError:
    why = str(error).rpartition(": ")[2] or type(error).__name__
    return DataError(f"the crops at {path} are damaged ({why}); delete that folder and run the same command again")


class CropWriter:
    """Writes a store item by item. `done` is the number of items that an earlier run wrote for the same `key`.

    A store with another key is deleted: its recipe or its inputs have changed. `scored`: rows have scores.
    """

    def __init__(self, path: Path, size: int, key: str, scored: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.type = path, row_type(size, scored)
        begun = self._begun()
        wanted = (key, size, FORMAT, scored)
        if begun is None or (begun["key"], begun["size"], begun["format"], begun.get("scored", False)) != wanted:
            for name in ("data.mdb", "lock.mdb"):
                (path / name).unlink(missing_ok=True)
            begun = None
        self.env = self._open()
        new: dict[str, Any] = {"format": FORMAT, "size": size, "key": key, "items": 0, "rows": 0, "complete": False}
        self.head = begun or (new | {"scored": True} if scored else new)  # others keep the bytes that they always had

    def _open(self) -> lmdb.Environment:
        # No fsync per commit: SIGKILL does not affect data handed to the kernel. Only a power cut can lose commits;
        # LMDB then opens at an older one or the build starts again.
        self._make_lock()
        try:
            return lmdb.open(str(self.path), map_size=MAP_SIZE, sync=False, metasync=False, readahead=False)
        except DAMAGED:
            raise
        except lmdb.Error as error:
            raise self._refused(error) from error

    def _make_lock(self) -> None:
        """LMDB maps a lock file that has no blocks yet, and on a full disk a signal would end the process."""
        lock = self.path / "lock.mdb"
        if not lock.is_file() or lock.stat().st_size < LOCK_SIZE:
            self.path.mkdir(exist_ok=True)
            with naming(lock):
                lock.write_bytes(bytes(LOCK_SIZE))

    def _begun(self) -> dict[str, Any] | None:
        """The header of the store, or None if it is missing or damaged."""
        try:
            with self._open() as env:
                _check_length(env, self.path)
                with env.begin() as txn:
                    return _header(txn)
        except (*DAMAGED, ValueError, TypeError, KeyError):
            return None

    @property
    def done(self) -> int:
        return int(self.head["items"])

    @property
    def complete(self) -> bool:
        return bool(self.head["complete"])

    def append(self, batch: CropBatch, val: bool = False) -> None:
        """Write the crops of the next item, in one transaction."""
        rows = np.zeros(len(batch), self.type)
        for name in self.type.names or ():
            rows[name] = getattr(batch, name)
        first = self.head["rows"]
        head = {**self.head, "items": self.done + 1, "rows": first + len(rows)}
        with self._writing() as txn:
            for i, row in enumerate(rows):
                txn.put(_row_key(first + i), row.tobytes())
            txn.put(_item_key(self.done), bytes([val]) + batch.kinds.tobytes())
            txn.put(b"head", json.dumps(head).encode())
        self.head = head

    def finish(self) -> None:
        """Mark the store as complete and sync it to disk, what it holds before the mark."""
        with self._refusing():
            self.env.sync(True)
        self.head = {**self.head, "complete": True}
        with self._writing() as txn:
            txn.put(b"head", json.dumps(self.head).encode())
        with self._refusing():
            self.env.sync(True)

    @contextmanager
    def _writing(self) -> Iterator[lmdb.Transaction]:
        """A transaction. Raises DataError if the disk is full; earlier items stay."""
        with self._refusing(), self.env.begin(write=True) as txn:
            yield txn

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except DAMAGED as error:
            raise _damaged(self.path, error) from error
        except lmdb.Error as error:
            raise self._refused(error) from error

    def _refused(self, error: lmdb.Error) -> DataError:
        why = str(error).rpartition(": ")[2]
        return DataError(
            f"{self.path} cannot be written ({why}); expected a folder with room on its disk; "
            "the same command then resumes"
        )

    def __enter__(self) -> CropWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.env.close()


class CropStore:
    """A finished store. `kinds` uint8 (N,), `items` int32 (N,) and `val` bool (N,) describe its rows.

    Raises DataError when there is no complete store at `path`.
    """

    def __init__(self, path: Path) -> None:
        if not (path / "data.mdb").is_file():
            raise DataError(f"no crops at {path}; make them with `mtcnn prepare`")
        self.path = path
        try:
            self.env = lmdb.open(str(path), readonly=True, lock=False, readahead=False, map_size=MAP_SIZE)
        except lmdb.Error as error:
            raise DataError(f"{path} holds no crops ({error}); delete it and run `mtcnn prepare` again") from error
        try:
            _check_length(self.env, path)
            head, notes = self._notes()
        except (lmdb.Error, ValueError, TypeError, KeyError) as error:
            self.env.close()
            raise _damaged(path, error) from error
        except BaseException:
            self.env.close()
            raise
        counts = [len(note) - 1 for note in notes]
        self.size, self.key = int(head["size"]), str(head["key"])
        self.type = row_type(self.size, bool(head.get("scored", False)))
        self.kinds = np.frombuffer(b"".join(note[1:] for note in notes), np.uint8)
        self.items = np.repeat(np.arange(len(notes), dtype=np.int32), counts)
        self.val = np.repeat(np.array([note[0] != 0 for note in notes], bool), counts)

    def _notes(self) -> tuple[dict[str, Any], list[bytes]]:
        """The header, and for each item whether it is in the validation part, and the kinds of its crops."""
        with self.env.begin() as txn:
            head = _header(txn)
            if head is None or not head["complete"]:
                raise DataError(
                    f"the crops at {self.path} are not complete; run the same `mtcnn prepare` again to resume"
                )
            notes = [txn.get(_item_key(i)) for i in range(head["items"])]
            return head, [bytes(note) for note in notes]  # type: ignore[arg-type]  # TypeError for one that is missing

    def __len__(self) -> int:
        return len(self.kinds)

    def read(self, indices: NDArray[np.integer[Any]]) -> CropBatch:
        """Rows at `indices` (any order, repeats allowed), copied.

        Raises IndexError for one that is not in the store, DataError where the store is damaged.
        """
        if len(indices) and not 0 <= np.min(indices) <= np.max(indices) < len(self):
            raise IndexError(f"rows {np.min(indices)} to {np.max(indices)} of {len(self)}")
        try:
            with self.env.begin(buffers=True) as txn:
                raw = b"".join([txn.get(_row_key(int(i))) for i in indices])  # type: ignore[misc]  # None: no such row
            rows = np.frombuffer(raw, self.type)
            if len(rows) != len(indices):
                raise ValueError("rows of another size")
            if (np.abs(rows["offsets"]) > FARTHEST).any():
                raise ValueError("offsets that no crop has")
        except (lmdb.Error, ValueError, TypeError) as error:
            raise _damaged(self.path, error) from error
        return CropBatch(*(np.array(rows[name]) for name in self.type.names or ()))

    def digest(self) -> str:
        """A hash of every row: equal stores, equal digest."""
        total = hashlib.sha256()
        with self.env.begin(buffers=True) as txn:
            for _, value in txn.cursor():
                total.update(value)
        return total.hexdigest()

    def close(self) -> None:
        self.env.close()
