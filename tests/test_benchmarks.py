"""The scripts of benchmarks/: scenes, matches, ratios, and the process that runs a detector.

Peers are not installed here; this project's detector takes their place.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from reference import plain_nms

from mtcnn import Detector, Faces
from mtcnn.engine.kernel_cache import kernel

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "benchmarks"))

import bench_peers  # noqa: E402
import compare_peers  # noqa: E402
import peer_options  # noqa: E402
import peer_speed  # noqa: E402
import pixels  # noqa: E402
import plan_steps  # noqa: E402
from peer_packages import Settings  # noqa: E402
from peer_process import PeerProcess  # noqa: E402
from peers import OURS, PEERS  # noqa: E402
from scenes import Sources, grid  # noqa: E402


def faces(*rows: tuple[float, float, float], score: float = 0.95) -> Faces:
    """Squares x, y, side with landmarks on their diagonal."""
    boxes = np.array([(x, y, x + side, y + side) for x, y, side in rows], np.float32).reshape(-1, 4)
    shares = np.array([0.2, 0.4, 0.5, 0.6, 0.8])
    points = boxes[:, None, :2] + shares[None, :, None] * (boxes[:, None, 2:] - boxes[:, None, :2])
    return Faces(boxes, np.full(len(boxes), score, np.float32), points)


@pytest.fixture(scope="module")
def sources() -> Sources:
    pytest.importorskip("skimage.data")
    return Sources(None)


@pytest.mark.parametrize(("width", "height", "count"), [(320, 240, 1), (320, 240, 9), (641, 479, 90)])
def test_scenes_have_their_size_and_faces(sources: Sources, width: int, height: int, count: int) -> None:
    scene, empty = sources.compose(width, height, count), sources.compose(width, height, 0)
    assert scene.shape == (height, width, 3)
    assert np.array_equal(scene, sources.compose(width, height, count))
    changed = (scene != empty).any(axis=2)
    squares = list(grid(width, height, count))
    assert len(squares) == count
    for x, y, side in squares:
        assert 0 <= x <= width - side and 0 <= y <= height - side
        assert changed[y : y + side, x : x + side].mean() > 0.9
        changed[y : y + side, x : x + side] = False
    assert not changed.any()


def test_agreement_counts_boxes_and_landmarks() -> None:
    wanted = faces((0, 0, 100), (200, 0, 100), (400, 0, 100))
    found = faces((0, 0, 100), (201, 0, 100), (450, 0, 100))
    assert found.landmarks is not None
    found.landmarks[1, 3] += (3, 0)  # more than 2 % of the box, with the pixel that the box is away
    assert compare_peers.agreement(wanted, found).tolist() == [3, 2, 1]
    assert compare_peers.agreement(faces((0, 0, 9), score=0.8), found).tolist() == [0, 0, 0]
    assert compare_peers.agreement(wanted, Faces.empty(with_landmarks=True)).tolist() == [3, 0, 0]


def test_agrees_needs_both_directions_and_faces() -> None:
    assert compare_peers.agrees(np.array([100, 99, 98, 100, 98, 98]))
    assert not compare_peers.agrees(np.array([100, 100, 97, 100, 100, 100]))
    assert not compare_peers.agrees(np.array([100, 100, 100, 100, 100, 97]))
    assert not compare_peers.agrees(np.zeros(6, np.int64))


def test_ratio_compares_round_by_round() -> None:
    """A machine that slows down by ten in the second round changes no ratio."""
    times = {OURS: [10.0, 100.0, 10.0], "facenet-pytorch": [50.0, 500.0, 50.0], "yunet": [1.0, 1.0, 1.0]}
    row: dict[str, Any] = {"detectors": {name: {"ms": ms} for name, ms in times.items()}}
    assert peer_speed.ratio(row, "facenet-pytorch") == 5
    assert peer_speed.fastest(row) == "facenet-pytorch"  # YuNet is no cascade


def test_exponent_of_the_growth() -> None:
    rows = [pixels.Row(1000 * side, 1000, [7.0 * side**1.5] * 3, 0.0, 0) for side in (1, 2, 4, 8)]
    assert pixels.exponent([pixels.Row(100, 100, [1e6], 0.0, 0), *rows]) == pytest.approx(1.5)


def test_evenly_takes_from_all() -> None:
    files = [Path(str(number)) for number in range(10)]
    assert peer_options.evenly(files, 4) == [Path("0"), Path("2"), Path("5"), Path("7")]
    assert peer_options.evenly(files, 20) == files


def test_versions_of_peers_are_pinned() -> None:
    wanted = [requirement for peer in PEERS.values() for requirement in (*peer.requires, *peer.alone)]
    assert wanted
    assert all(requirement.count("==") == 1 for requirement in wanted)


def test_nms_in_place_of_torchvisions() -> None:
    import torch
    from peer_nms import batched_nms

    chance = np.random.default_rng(5)
    corner = chance.integers(0, 60, (200, 2))
    boxes = np.concatenate([corner, corner + chance.integers(1, 40, (200, 2))], axis=1).astype(np.float32)
    scores = chance.permutation(200).astype(np.float32)
    groups = np.repeat([0, 1], 100)
    given = [torch.from_numpy(values) for values in (boxes, scores, groups)]
    found = batched_nms(given[0], given[1], given[2], 0.5).tolist()
    apart = [[index + start for index in plain_nms(boxes[part].tolist(), scores[part].tolist(), 0.5)]
             for start, part in ((0, slice(100)), (100, slice(100, 200)))]  # fmt: skip
    assert found == sorted(apart[0] + apart[1], key=lambda index: -scores[index])
    assert batched_nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), 0.5).tolist() == []


@pytest.fixture
def scene(sources: Sources, tmp_path: Path) -> tuple[NDArray[np.uint8], Path]:
    image, file = sources.compose(160, 120, 1), tmp_path / "scene.npy"
    np.save(file, image)
    return image, file


def test_a_peer_process_equals_the_detector(scene: tuple[NDArray[np.uint8], Path]) -> None:
    image, file = scene
    with PeerProcess(OURS, Settings(min_face=40)) as process:
        seconds, found = process.detect(file, 2)
        assert process.peak_mb() > 50 or sys.platform != "linux"
    wanted = Detector(min_face=40).detect(image)
    assert len(wanted) >= 1
    assert len(seconds) == 2 and min(seconds) > 0
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-3)
    assert found.landmarks is not None and wanted.landmarks is not None
    np.testing.assert_allclose(found.landmarks, wanted.landmarks, atol=1e-3)


def test_a_peer_process_that_ends_is_reported() -> None:
    with pytest.raises(SystemExit, match=r"mtcnn ended with status 1; .*mtcnn.log tells why"):
        PeerProcess(OURS, Settings(models="no such folder"))


def test_steps_of_a_plan_and_their_times(sources: Sources) -> None:
    """Of the packaged YuNet-n: the code of `run_steps` is still where the benchmark reads the clock."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        timed, clock, peak = (kernel(name) for name in plan_steps.add_kernels().values())
        rate = plan_steps.ticks_per_second(clock)
        given = argparse.Namespace(size="128x64", models=None, data=None, rounds=3)
        steps, whole = plan_steps.measure("yunet-n", given, timed, rate)
    finally:
        torch.set_num_threads(before)
    kinds = {"image", "3 x 3", "pointwise", "depthwise", "depthwise and pool", "pool", "add"}
    assert {step.kind for step in steps} == kinds
    assert steps[1].shape == "3 → 16, 32 x 64, stride 2" and steps[1].operations == 2 * 27 * 16 * 32 * 64
    assert all(step.seconds > 0 for step in steps) and whole > 0
    assert plan_steps.peak_operations(clock, peak, rate) > 1e9


@pytest.mark.parametrize(
    ("main", "words", "told"),
    [
        (compare_peers.main, ["--peer", "dlib"], "invalid choice: 'dlib'"),
        (compare_peers.main, ["--data", "nowhere"], "nowhere: no .jpg below wider/dev/images"),
        (bench_peers.main, ["--threads", "0"], "--threads 0: expected 1 or more"),
    ],
)
def test_invalid_options(
    main: Callable[[], None],
    words: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["script", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
