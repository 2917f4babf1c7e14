"""The benchmark: its counts, the unchanged detector, its command. Times themselves are not tested."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from run_command import run
from sample_data import lay_out

from mtcnn import machine, timing
from mtcnn.cascade import Detector
from mtcnn.errors import DataError, MtcnnError
from mtcnn.pictures.draw import save_image
from mtcnn.timing import Photos, Timing, benchmark, clocked, load_photos, to_side
from mtcnn.types import Faces
from prepare.synthetic import draw_scene

THRESHOLDS = (0.6, 0.5, 0.3)  # at which nets of random weights let something through
STAGES = ["pyramid + PNet", "RNet", "ONet"]


@pytest.fixture(scope="module")
def detector(random_models: Path) -> Detector:
    return Detector(random_models, thresholds=THRESHOLDS)


@pytest.fixture(scope="module")
def images() -> list[NDArray[np.uint8]]:
    return [draw_scene(0, index, 120, 160)[0] for index in range(4)]


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The thread counts requested of torch, which are not set: two threads on a busy core take minutes."""
    told: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    return told


def test_clocks_count_faces(detector: Detector, images: list[NDArray[np.uint8]]) -> None:
    proposer, refiners = detector.proposer, detector.refiners
    plain = detector.detect(images[0])
    with clocked(detector) as clocks:
        timed = detector.detect(images[0])
    np.testing.assert_array_equal(timed.boxes, plain.boxes)
    assert [clock.name for clock in clocks] == STAGES
    proposals = proposer(images[0])
    after = refiners[0](images[0], proposals)
    last = refiners[1](images[0], after)
    assert min(len(proposals), len(after), len(last)) > 0
    counts = [(given, kept) for clock in clocks for _, given, kept in clock.calls]
    assert counts == [(0, len(proposals)), (len(proposals), len(after)), (len(after), len(last))]
    assert detector.proposer is proposer
    assert detector.refiners is refiners


def test_clocks_are_removed_after_an_error(detector: Detector) -> None:
    proposer = detector.proposer
    with pytest.raises(RuntimeError), clocked(detector):
        raise RuntimeError
    assert detector.proposer is proposer


def test_benchmark(detector: Detector, images: list[NDArray[np.uint8]], threads: list[int]) -> None:
    result = benchmark(detector, Photos(images, "drawn"), threads=(1, 2), rounds=3, settings={"min_face": 20.0})
    # The rounds take turns, each way; at the end all is as it was.
    assert threads == [1, 2, 2, 1, 1, 2, torch.get_num_threads()]
    assert list(result.timings) == [1, 2]
    for part in result.timings.values():
        assert (part.total.shape, part.stages.shape, part.counts.shape) == ((3, 4), (3, 4, 3), (4, 3, 2))
        assert (part.stages > 0).all()
        # The stages are parts of the whole; the rest is the clipping and sorting at the end.
        assert (part.stages.sum(axis=2) < part.total).all()
    kept = result.timings[1].counts[:, :, 1]
    assert (kept[:, 2] >= [len(detector.detect(image)) for image in images]).all()
    values = json.loads(json.dumps(result.to_dict()))
    assert values["photos"] == "drawn"
    assert (values["images"], values["rounds"], values["longest_sides"]) == (4, 3, [160, 160])
    assert list(values["threads"]) == ["1", "2"]
    assert list(values["threads"]["1"]["stages"]) == STAGES
    assert values["faces_an_image"]["ONet"]["kept"] == pytest.approx(kept[:, 2].mean(), abs=0.01)
    assert {"processor", "cores", "system", "versions", "commit"} <= values["machine"].keys()
    assert values["machine"]["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    lines = result.table().splitlines()
    assert lines[0] == "drawn; 3 rounds; min_face 20.0"
    once = benchmark(detector, Photos(images, "drawn"), threads=(1,), rounds=1, settings={})
    assert once.table().startswith("drawn; 1 round; ")
    assert [line.split("|")[1].strip() for line in lines[5:7]] == ["1", "2"]


def test_figures_by_hand() -> None:
    """Two rounds over three images: medians over the rounds are 2, 3 and 10 ms, so the median image takes 3."""
    stages = np.zeros((2, 3, 1))
    stages[:, :, 0] = [[1, 1, 4], [1, 3, 8]]
    part = Timing(np.array([[1.0, 3, 8], [3, 3, 12]]), stages, np.zeros((3, 1, 2), int))
    values = part.to_dict(["PNet"])
    assert (values["ms_median"], values["ms_mean"], values["images_per_second"]) == (3, 5, 200)
    assert values["ms_p95"] == pytest.approx(3 + 0.9 * 7)  # at 1.9 of the sorted images 0, 1, 2
    assert values["ms_median_by_round"] == [3, 3]
    assert values["stages"]["PNet"]["ms_median"] == 2


def test_a_nondeterministic_detector_is_rejected(detector: Detector, images: list[NDArray[np.uint8]]) -> None:
    wavering: Any = Detector.__new__(Detector)
    found = iter([0] * 4 + [1] * 100)
    face = Faces(np.array([[0, 0, 9, 9]]), np.array([0.9]))
    wavering.proposer, wavering.refiners = lambda image: face[: next(found)], []
    with pytest.raises(MtcnnError, match="1 threads: a round found other faces than the first"):
        benchmark(wavering, Photos(images[:2], "drawn"), rounds=2)


def test_images_are_scaled_to_the_side_of_fddb() -> None:
    assert to_side(np.zeros((600, 900, 3), np.uint8)).shape == (300, 450, 3)
    assert to_side(np.zeros((90, 30, 3), np.uint8)).shape == (450, 150, 3)
    assert to_side(np.zeros((9000, 2, 3), np.uint8)).shape == (450, 1, 3)
    same = np.zeros((450, 20, 3), np.uint8)
    assert to_side(same) is same


def test_photos_of_a_folder(tmp_path: Path) -> None:
    for number in range(7):
        save_image(tmp_path / f"{number}.png", np.full((30, 60, 3), number, np.uint8))
    (tmp_path / "8.png").write_text("no image")
    photos = load_photos(tmp_path, limit=3)
    # 8 files, at most 3: every third.
    assert [int(image[0, 0, 0]) for image in photos.images] == [0, 3, 6]
    assert photos.label == "3 images, not FDDB's photos, scaled to their longest side, 450 pixels"
    assert not photos.fddb
    everything = load_photos(tmp_path)
    assert len(everything.images) == 7
    assert "8.png" in everything.skipped[0]
    with pytest.raises(DataError, match="is no folder; expected FDDB's originalPics"):
        load_photos(tmp_path / "nowhere")


def test_photos_of_fddb_are_not_scaled(tmp_path: Path) -> None:
    photos = load_photos(lay_out(tmp_path) / "originalPics")
    assert photos.fddb
    assert photos.label == "3 of FDDB's photos"
    assert photos.images[0].shape == (120, 160, 3)


def _bench(models: Path, *words: str) -> Any:
    options = ["--models", str(models), "--repeats", "2", "--thresholds", *map(str, THRESHOLDS)]
    return run("bench", "fddb", *options, *words)


def test_command_on_a_folder(random_models: Path, tmp_path: Path, threads: list[int]) -> None:
    save_image(tmp_path / "a.png", draw_scene(0, 0, 120, 160)[0])
    (tmp_path / "b.jpg").touch()
    done = _bench(random_models, "--photos", str(tmp_path), "--threads", "1", "--threads", "2", "--json")
    assert done.exit_code == 0, done.output
    values = json.loads(done.stdout)
    assert values["longest_sides"] == [450, 450]
    assert not values["fddb_photos"]
    assert "not FDDB's photos, scaled" in values["photos"]
    assert values["settings"] == {
        "models": str(random_models), "min_face": 20.0, "scale_factor": 0.709, "thresholds": list(THRESHOLDS),
        "device": "cpu", "stage1": "pnet", "refine": "rnet,onet", "engine": None,
        "max_side": None, "coarse": None,
    }  # fmt: skip
    assert list(values["threads"]) == ["1", "2"]
    assert threads[:4] == [1, 2, 2, 1]
    assert done.stderr.startswith(f"mtcnn: skipped {tmp_path}/b.jpg: is empty")


def test_command_without_images_uses_drawn_scenes(random_models: Path) -> None:
    done = _bench(random_models, "--limit", "2")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("2 drawn scenes of 450 x 337 pixels, no photos")
    assert machine.describe() in done.stdout
    assert "| stage, faces an image | given |" in done.stdout


def test_command_reports_missing_inputs(random_models: Path, tmp_path: Path) -> None:
    done = _bench(random_models, "--photos", str(tmp_path))
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        f"mtcnn: {tmp_path}: no image that can be read; expected FDDB's originalPics, or any photos\n"
    )


def test_machine_without_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert machine.cores() >= 1
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "none")
    assert machine.processor()
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "mtcnn" / "machine.py"))
    assert machine.commit() is None
    (tmp_path / ".git").touch()
    assert machine.commit() is None
    assert "commit unknown" in machine.describe()
    assert timing.FDDB_SIDE == 450
