"""Ray's workers: the same results and bytes as without, whatever dies."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_command import run
from test_workers import Adder, fail_at_three, own_threads, slow_square

from mtcnn.errors import ImageError, MtcnnError
from mtcnn.workers import Workers, cluster_workers, local_workers
from prepare import synthetic
from prepare.build import CropMaker, Made, build
from prepare.labels import IouBands
from prepare.sample import CropSettings


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    """Two workers of a Ray that ends with this module."""
    ray = pytest.importorskip("ray", reason="ray is not installed: the extra `cluster`")
    yield cluster_workers("local", 2)
    ray.shutdown()


# The work lies in this module, not in the tests, for a worker must be able to import it.


def change(numbers: Any) -> Any:
    numbers += 1  # of a read-only array it would raise
    return numbers


def where(_: int) -> tuple[str, str | None]:
    return os.getcwd(), os.environ.get("OMP_NUM_THREADS")


def die_always(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


@dataclass
class KilledMaker(CropMaker):
    """Kills its worker at one photo, once."""

    marker: Path = field(default_factory=Path)

    def __call__(self, task: Any) -> Made:
        if task[0] == 5 and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(task)


def test_results_in_order(workers: Workers) -> None:
    assert list(workers.map(slow_square, range(20))) == [(n, n**2) for n in range(20)]
    assert list(workers.map(slow_square, [])) == []
    assert list(workers.map(fail_at_three, range(4, 500))) == list(range(4, 500)), "quick ones: several in a task"
    found = list(workers.map(Adder(3), range(40)))
    assert [value for value, _ in found] == list(range(3, 43)) and os.getpid() not in {pid for _, pid in found}
    assert set(workers.map(own_threads, range(3))) == {(1, 1)}
    assert set(workers.map(where, range(4))) == {(os.getcwd(), "1")}


def test_arrays_may_be_changed(workers: Workers) -> None:
    big = [np.full((300, 1000), n, np.uint8) for n in range(3)]  # beyond what Ray sends along
    found = list(workers.map(change, big))
    assert [each[0, 0] for each in found] == [1, 2, 3] and big[0][0, 0] == 0
    found[0] += 1


def test_errors_are_those_of_the_work(workers: Workers) -> None:
    results = workers.map(fail_at_three, range(9))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ImageError, match="picture 3 is upside down"):
        next(results)
    results = workers.map(fail_at_three, [*range(10, 200), 3, 4])
    assert [next(results) for _ in range(190)] == list(range(10, 200)), "those before it in its task too"
    with pytest.raises(ImageError, match="picture 3 is upside down"):
        next(results)
    with pytest.raises(ValueError, match="invalid literal"):
        list(workers.map(int, ["x"]))


def test_few_items_are_in_flight(workers: Workers) -> None:
    drawn = []

    def items() -> Iterator[int]:
        for number in range(100):
            drawn.append(number)
            yield number

    results = workers.map(slow_square, items())
    next(results)
    assert len(drawn) <= 8
    results.close()  # type: ignore[attr-defined]
    assert list(workers.map(fail_at_three, [1, 2])) == [1, 2]


def test_an_item_that_kills_every_worker(workers: Workers) -> None:
    with pytest.raises(MtcnnError, match=r"died 6 times over one item .* run the same command again to resume"):
        list(workers.map(die_always, range(2)))


def test_crops_are_the_same_though_a_worker_dies(workers: Workers, tmp_path: Path) -> None:
    records, settings = synthetic.records(12, 0), CropSettings(negatives=20, near=3, tries=4)
    plain, marker = CropMaker(12, 0, IouBands(), settings), tmp_path / "died"
    build(records, plain, tmp_path / "plain.lmdb", "k", local_workers(1), True)
    build(records, plain, tmp_path / "ray.lmdb", "k", workers, True)
    build(
        records, KilledMaker(12, 0, IouBands(), settings, marker=marker), tmp_path / "killed.lmdb", "k", workers, True
    )
    assert marker.exists()
    first = (tmp_path / "plain.lmdb/data.mdb").read_bytes()
    for name in ("ray", "killed"):
        assert (tmp_path / f"{name}.lmdb/data.mdb").read_bytes() == first


def test_the_command_gives_the_same_bytes(workers: Workers, tmp_path: Path) -> None:
    for name, words in (("plain", ["--workers", 1]), ("ray", ["--cluster", "local"])):
        work = tmp_path / name
        done = run("prepare", "--net", "12", "--data", "synthetic:6", "--work", work, "--quiet", *words)
        assert done.exit_code == 0, done.stderr
    plain, ray = ((tmp_path / name / "crops-12.lmdb/data.mdb").read_bytes() for name in ("plain", "ray"))
    assert plain == ray


def test_a_cluster_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="ray is not installed: the extra `cluster`")

    def refuse(*given: Any, **more: Any) -> None:
        raise ConnectionError("could not find a running Ray instance\nat 10.0.0.1:1")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(
        MtcnnError, match=r"`cluster` is 10\.0\.0\.1:1, which does not answer \(could not find .*; expected"
    ):
        list(cluster_workers("10.0.0.1:1", 2).map(len, ["a"]))


def test_without_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = run("prepare", "--net", "12", "--data", "synthetic:2", "--work", tmp_path, "--cluster", "local")
    assert done.exit_code == 1 and "pip install 'mtcnn-cascade[cluster]'" in done.stderr, done.stderr


def test_an_unused_cluster_is_refused(tmp_path: Path) -> None:
    done = run("eval", "wider", tmp_path, "--ground-truth", tmp_path, "--cluster", "local")
    assert done.exit_code == 2 and "--cluster" in done.stderr, done.stderr
