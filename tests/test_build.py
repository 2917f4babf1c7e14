"""Building a crop store: the same for any number of workers and interruptions; bad images are reported and skipped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import ROOT, environment, mtcnn, write_recipes
from processes import MTCNN, descendants, is_alive, signalled, wait_until

from mtcnn.checkpoint import Checkpoint, packaged_weights, read, weights_path, write
from mtcnn.detectors.load import load_detector
from mtcnn.nets import NETS
from mtcnn.scoring import Scoring
from mtcnn.terminal import printable
from mtcnn.types import Faces
from mtcnn.workers import Here, local_workers
from prepare import synthetic
from prepare.build import CropMaker, build, image_of
from prepare.labels import IouBands, Kind
from prepare.mine import MineSettings, copies, load_cascades, mine
from prepare.preview import contact_sheet, summary
from prepare.records import CropBatch, ImageRecord
from prepare.sample import CropSettings
from prepare.store import CropStore, CropWriter
from stages.crops.recipe import Recipe
from stages.photos.store import build_photos
from stages.recipes import load_recipe

FEW = CropSettings(negatives=20, near=3, tries=3, landmarks=2, val=30)


def digest(path: Path) -> str:
    store = CropStore(path)
    try:
        return store.digest()
    finally:
        store.close()


def test_same_store_for_any_number_of_workers(tmp_path: Path) -> None:
    records, make = synthetic.records(10, 4), CropMaker(24, 1, IouBands(), FEW)
    for workers in (1, 2):
        assert build(records, make, tmp_path / str(workers), "k", local_workers(workers), quiet=True) == []
    assert digest(tmp_path / "1") == digest(tmp_path / "2")
    build(records, CropMaker(24, 2, IouBands(), FEW), tmp_path / "seed", "k", Here(), quiet=True)
    assert digest(tmp_path / "seed") != digest(tmp_path / "1")


def test_crops_do_not_depend_on_bad_images_before(tmp_path: Path) -> None:
    """The seed depends on an image's number, so an unreadable file does not change others."""
    records, make = synthetic.records(4, 0), CropMaker(12, 0, IouBands(), FEW)
    build(records, make, tmp_path / "good", "k", Here(), quiet=True)
    records[1] = ImageRecord(tmp_path / "gone.jpg")
    build(records, make, tmp_path / "bad", "k", Here(), quiet=True)
    good, bad = CropStore(tmp_path / "good"), CropStore(tmp_path / "bad")
    assert (good.items == 1).any()
    assert not (bad.items == 1).any()
    for item in (0, 2, 3):
        first, second = (store.read(np.flatnonzero(store.items == item)).crops for store in (good, bad))
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_images_are_reported_and_skipped(tmp_path: Path, workers: int, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    bad = [ImageRecord(tmp_path / "text.jpg"), ImageRecord(tmp_path / "gone.png")]
    points = np.full((1, 5, 2), 1e6, np.float32)
    wild = synthetic.records(3, 0)[2]
    wild = ImageRecord(wild.path, np.full((1, 4), np.nan), points, complete=False)
    records = [bad[0], *synthetic.records(2, 0), wild, bad[1]]
    problems = build(
        records, CropMaker(12, 0, IouBands(), FEW), tmp_path / "crops.lmdb", "k", local_workers(workers), quiet=True
    )
    assert [problem.where for problem in problems] == [str(record.path) for record in (bad[0], wild, bad[1])]
    assert "landmarks of face 1 left out" in problems[1].why
    told = capsys.readouterr().err
    listed = (tmp_path / "skipped-crops.txt").read_text().splitlines()
    assert listed == [str(problem) for problem in problems]
    assert all(f"skipped {line}" in told and "\n" not in line for line in listed)
    assert set(CropStore(tmp_path / "crops.lmdb").items) == {1, 2}


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"\x1b[2J.jpg"])  # not UTF-8, and what would clear a terminal
def test_skipped_photos_of_any_name(tmp_path: Path, name: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / os.fsdecode(name)
    bad.write_bytes(b"no picture")
    records = [ImageRecord(bad), *synthetic.records(1, 0)]
    build(records, CropMaker(12, 0, IouBands(), FEW), tmp_path / "crops.lmdb", "k", Here(), quiet=True)
    build_photos(records, tmp_path / "photos.raw", "k", quiet=True)
    for listed in ("skipped-crops.txt", "skipped-photos.txt"):
        content = (tmp_path / listed).read_bytes()
        assert os.fsencode(printable(str(bad))) in content and content.count(b"\n") == 1
    assert "\x1b" not in capfd.readouterr().err


def test_skipped_list_survives_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, make = tmp_path / "crops.lmdb", CropMaker(12, 0, IouBands(), FEW)
    records = [ImageRecord(tmp_path / f"{number}.jpg") for number in range(3)]
    append = CropWriter.append

    def killed(writer: CropWriter, batch: CropBatch, val: bool = False) -> None:
        if writer.done == 1:
            raise KeyboardInterrupt
        append(writer, batch, val)

    with monkeypatch.context() as patch:
        patch.setattr(CropWriter, "append", killed)
        with pytest.raises(KeyboardInterrupt):
            build(records, make, path, "k", Here(), quiet=True)
    assert len(build(records, make, path, "k", Here(), quiet=True)) == 2, "what this run skipped"
    listed = (tmp_path / "skipped-crops.txt").read_text().splitlines()
    assert [line.split(": ")[0] for line in listed] == [str(record.path) for record in records]
    build(synthetic.records(1, 0), make, path, "other", Here(), quiet=True)
    assert not (tmp_path / "skipped-crops.txt").exists(), "the list of another build"


def test_previews_close_their_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[CropStore] = []
    close = CropStore.close

    def note(store: CropStore) -> None:
        closed.append(store)
        close(store)

    build(synthetic.records(2, 0), CropMaker(12, 0, IouBands(), FEW), tmp_path / "crops", "k", Here(), quiet=True)
    monkeypatch.setattr(CropStore, "close", note)
    assert " crops (" in summary(tmp_path / "crops")
    contact_sheet(tmp_path / "crops", tmp_path / "sheet.png")
    assert len(closed) == 2 and (tmp_path / "sheet.png").is_file()


def test_validation_part_depends_on_the_file_name(tmp_path: Path) -> None:
    records = synthetic.records(12, 0)
    build(records, CropMaker(12, 0, IouBands(), FEW), tmp_path / "crops", "k", Here(), quiet=True)
    store = CropStore(tmp_path / "crops")
    val = {item for item, record in enumerate(records) if record.is_val(FEW.val)}
    assert set(store.items[store.val]) == val
    assert 0 < len(val) < len(records)
    assert not any(record.is_val(0) for record in records)
    name = os.fsdecode(b"caf\xe9.jpg")  # not UTF-8
    assert ImageRecord(Path(name)).is_val(100) and not ImageRecord(Path(name)).is_val(0)


def test_incomplete_labels_give_only_landmark_crops(tmp_path: Path) -> None:
    record = next(record for record in synthetic.records(9, 0) if len(record.boxes))
    part = ImageRecord(record.path, record.boxes, record.landmarks, complete=False)
    build([part], CropMaker(12, 0, IouBands(), FEW), tmp_path / "crops", "k", Here(), quiet=True)
    assert set(CropStore(tmp_path / "crops").kinds) == {Kind.LANDMARK}
    unread = ImageRecord(tmp_path / "gone.jpg", complete=False)
    assert (
        build([unread], CropMaker(12, 0, IouBands(), CropSettings()), tmp_path / "none", "k", Here(), quiet=True) == []
    )


# ---- mining


@pytest.fixture(scope="module")
def eager_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PNet that classifies half of all windows as faces."""
    import torch

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    write(weights_path(folder, "pnet"), Checkpoint("pnet", NETS["pnet"]().state_dict()))
    return folder


def mined(models: Path, mining: MineSettings, sampled: bool = False) -> CropMaker:
    return CropMaker(24, 0, IouBands(), FEW, sampled, mining, ("pnet",), models)


def test_mining_is_the_same_for_any_number_of_workers(tmp_path: Path, eager_models: Path) -> None:
    mining = MineSettings((0.5,), max_neg=30)
    for workers in (1, 2):
        build(
            synthetic.records(5, 1),
            mined(eager_models, mining),
            tmp_path / str(workers),
            "k",
            local_workers(workers),
            quiet=True,
        )
    assert len(CropStore(tmp_path / "1")) > 50
    assert digest(tmp_path / "1") == digest(tmp_path / "2")


def test_mining_caps_each_kind_of_an_image(tmp_path: Path, eager_models: Path) -> None:
    counts = []
    for number, mining in enumerate((MineSettings((0.3,)), MineSettings((0.3,), max_neg=9, max_part=4, max_pos=2))):
        path = tmp_path / str(number)
        build(synthetic.records(6, 1), mined(eager_models, mining), path, "k", Here(), quiet=True)
        store = CropStore(path)
        counts.append([np.bincount(store.kinds[store.items == item], minlength=4).tolist() for item in range(6)])
    assert max(row[Kind.NEG] for row in counts[0]) > 9
    assert max(row[Kind.PART] for row in counts[0]) > 4
    assert counts[1] == [[min(n, most) for n, most in zip(row, (9, 4, 2, 0), strict=True)] for row in counts[0]]


def test_moved_copies_of_mined_faces(tmp_path: Path, eager_models: Path) -> None:
    """After all that are mined without, two of each PART and POS crop: near it, and of its kind."""
    stores = []
    for jitter in (0, 2):
        path, mining = tmp_path / str(jitter), MineSettings((0.3,), max_neg=5, jitter=jitter)
        build(synthetic.records(4, 1), mined(eager_models, mining), path, "k", Here(), quiet=True)
        stores.append(CropStore(path))
    seen = 0
    for item in range(4):
        plain, more = (store.read(np.flatnonzero(store.items == item)) for store in stores)
        np.testing.assert_array_equal(more.crops[: len(plain)], plain.crops)
        faces = np.repeat(np.flatnonzero(plain.kinds != Kind.NEG), 2)
        np.testing.assert_array_equal(more.kinds[len(plain) :], plain.kinds[faces])
        first, copy = plain.offsets[faces], more.offsets[len(plain) :]
        resized = (1 + first[:, 2] - first[:, 0]) / (1 + copy[:, 2] - copy[:, 0])  # side over that of the first
        shifted = (first[:, :2] + first[:, 2:]) / 2 - resized[:, None] * (copy[:, :2] + copy[:, 2:]) / 2
        assert ((resized > 1 / 1.0901) & (resized < 1.0901)).all() and (np.abs(shifted) < 0.0501).all()
        assert len(np.unique(resized)) == len(faces), "each is moved in its own way"
        seen += len(faces)
    assert seen > 10


class Fitted:
    """A cascade whose last net is ONet, or not, and its boxes."""

    def __init__(self, boxes: list[list[float]], fits: bool) -> None:
        self.boxes, self.fits = np.array(boxes, np.float32), fits

    def __call__(self, image: Any, min_face: float) -> Faces:
        return Faces(self.boxes, np.linspace(1, 0.5, len(self.boxes), dtype=np.float32))


def test_boxes_of_onet_are_labelled_as_they_are() -> None:
    """By their own IoU with the face, and not by that of squares; crops are squares around them all the same."""
    face, beside, off = [60.0, 20, 80, 100], [40.0, 20, 60, 100], [30.0, 20, 110, 100]
    record = ImageRecord(Path("x.jpg"), np.array([face], np.float32))
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    crops = CropSettings(context=1.25)
    for fits, expected in ((True, {0: 1, 1: 1, 2: 1}), (False, {2: 3})):
        found: Any = Fitted([face, beside, off], fits)
        bands = IouBands(0.2, 0.2, 0.5)
        batch = mine(image, record, 64, found, MineSettings(), crops, bands, np.random.default_rng(0))
        assert dict(zip(*np.unique(batch.kinds, return_counts=True), strict=True)) == expected
        first = batch.offsets[batch.kinds == Kind.POS][0]  # from the square of 100 pixels around (70, 60)
        np.testing.assert_allclose(first, [0.4, 0.1, -0.4, -0.1], atol=1e-6)


def test_nothing_but_landmarks_is_sampled_for_cnet(tmp_path: Path) -> None:
    """By its packaged recipe: the other kinds are mined alone."""
    recipe = load_recipe(Recipe, ROOT, "cnet")
    make = CropMaker(64, 0, recipe.bands, recipe.crops)
    build(synthetic.records(3, 1), make, tmp_path / "crops", "k", Here(), quiet=True)
    store = CropStore(tmp_path / "crops")
    assert store.size == 64 and set(store.kinds) == {Kind.LANDMARK}


def test_onet_mines_with_its_first_pass(tmp_path: Path, random_models: Path) -> None:
    """Of the second pass cnet is the net, which is to learn from the faces that it will be given."""
    for net in NETS:
        found = read(weights_path(random_models, net))
        write(weights_path(tmp_path, net), replace(found, scoring=Scoring(second=1.0 if net == "onet" else 0.0)))
    cascade = load_cascades(tmp_path, tuple(NETS), MineSettings((0.5, 0.3, 0.0)))[0]
    image, *_ = synthetic.draw_scene(0, 3, 120, 160)
    faces, (rnet, onet) = cascade(image, 20.0), cascade.refiners
    given = rnet(image, cascade.proposer(image))
    first = onet.candidates(image, given).faces()
    assert len(faces) > 3 and cascade.fits and not load_cascades(tmp_path, ("pnet", "rnet"), MineSettings())[0].fits
    assert np.isin(faces.scores, first.scores).all()
    assert not np.isin(faces.scores, onet(image, given).scores).any(), "or the test would show nothing"
    assert ((faces.boxes[:, 2:] > 0) & (faces.boxes[:, :2] < (160, 120))).all(), "none outside of the photo"


def test_more_copies_of_large_and_of_rare_faces() -> None:
    """In proportion to (side / 20) ^ balance, and to one over the root of the number of a face's crops."""
    boxes = [[0, 0, 20, 16], [50, 0, 210, 120], [300, 0, 300, 0]]
    record = ImageRecord(Path("photo.jpg"), np.array(boxes, np.float32))
    faces = np.repeat([0, 1, 0, 1], [2, 1, 2, 3])  # four crops of either face
    rng, settings = np.random.default_rng(0), MineSettings(jitter=3, balance=0.5)
    mean = np.mean([copies(faces, record, settings, rng) for _ in range(400)], axis=0)
    np.testing.assert_allclose(mean, np.where(faces == 0, 1.5, 1.5 * 8**0.5), atol=0.1)
    assert copies(faces, record, replace(settings, balance=0.0), rng).tolist() == [3] * 8
    assert copies(faces[:0], record, settings, rng).tolist() == []


def test_a_detector_mines_beside_pnet(tmp_path: Path, random_models: Path) -> None:
    """Its faces go through RNet and ONet; their crops follow those of PNet's, which stay as they were."""
    records, bands = synthetic.records(3, 1), IouBands(0.25, 0.25, 0.5)
    alone = MineSettings((0.5, 0.0, 0.0), min_face_low=40.0, min_face_high=40.0, max_neg=4)
    both = replace(alone, detector="retinaface", detector_thresholds=(0.1, 0.0, 0.0))
    for name, mining in (("alone", alone), ("both", both)):
        make = CropMaker(64, 0, bands, FEW, False, mining, tuple(NETS), random_models)
        build(records, make, tmp_path / name, "k", Here(), quiet=True)
    first, whole = CropStore(tmp_path / "alone"), CropStore(tmp_path / "both")
    found = load_detector("retinaface", packaged_weights(), 0.1)
    for item, record in enumerate(records):
        counts = [int((store.items == item).sum()) for store in (first, whole)]
        before, begun = (store.read(np.flatnonzero(store.items == item)[: counts[0]]).crops for store in (first, whole))
        np.testing.assert_array_equal(before, begun)
        assert (counts[1] > counts[0]) == bool(len(found(image_of(record))))
    assert len(whole) > len(first)


def test_mined_crops_follow_the_sampled_ones(tmp_path: Path, eager_models: Path) -> None:
    records = synthetic.records(3, 1)
    build(records, CropMaker(24, 0, IouBands(), FEW), tmp_path / "sampled", "k", Here(), quiet=True)
    build(records, mined(eager_models, MineSettings((0.5,)), True), tmp_path / "both", "k", Here(), quiet=True)
    sampled, both = CropStore(tmp_path / "sampled"), CropStore(tmp_path / "both")
    for item in range(3):
        first = sampled.read(np.flatnonzero(sampled.items == item)).crops
        rows = both.read(np.flatnonzero(both.items == item)).crops
        assert len(rows) > len(first)
        np.testing.assert_array_equal(rows[: len(first)], first)


@pytest.mark.parametrize(
    "values",
    [
        {"thresholds": ()},
        {"thresholds": (1.5,)},
        {"min_face_low": 20.0},
        {"scale_factor": 1.0},
        {"max_neg": -1},
        {"detector": "retina"},
        {"detector_thresholds": (2.0,)},
    ],
)
def test_invalid_mining_settings(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(values))} is .*; expected"):
        MineSettings(**values)  # type: ignore[arg-type]


# ---- killed


def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    """Killed between two images, within a transaction, and just before the store is marked complete."""
    for name in ("broken", "unbroken"):
        write_recipes(tmp_path / name)
    words = ("prepare", "--net", 12, "--data", "synthetic:30", "--workers", 1, "--quiet", "--work")
    for place, call in (("CropWriter.append", 8), ("_row_key", 200), ("CropWriter.finish", 1)):
        killed = signalled(f"prepare.store:{place}", call, signal.SIGKILL, MTCNN, *words, tmp_path / "broken")
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    for name in ("broken", "unbroken"):
        done = mtcnn(*words, name, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    assert digest(tmp_path / "broken" / "crops-12.lmdb") == digest(tmp_path / "unbroken" / "crops-12.lmdb")


@pytest.mark.skipif(not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists(), reason="reads /proc")
def test_a_kill_leaves_no_worker_processes(tmp_path: Path) -> None:
    """Of a run that would take minutes."""
    words = [sys.executable, "-m", "mtcnn", "prepare", "--net", "12", "--data", "synthetic:4000", "--workers", "2"]
    words += ["--work", str(write_recipes(tmp_path)), "--quiet"]
    process = subprocess.Popen(words, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        # Two workers, and Python's resource tracker.
        wait_until(lambda: len(set(descendants(process.pid))) >= 3, process)
        time.sleep(1)
        workers = set(descendants(process.pid))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_until(lambda: not any(map(is_alive, workers)))
    finally:
        process.kill()
