"""Faces that --blur spares, by a reference photo and a recognition model; the model here compares colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from clips import write_clip
from numpy.typing import NDArray
from run_command import run

from mtcnn.cascade import Detector
from mtcnn.errors import SettingsError
from mtcnn.images import read_image
from mtcnn.pictures.anonymise import anonymise
from mtcnn.pictures.draw import save_image
from mtcnn.pictures.spare import Spared
from mtcnn.stream.items import Item
from mtcnn.stream.sinks.anonymous import AnonymousCopies
from mtcnn.stream.video import Video
from mtcnn.types import Faces

RGB = NDArray[np.uint8]


def colours(crops: RGB) -> Any:
    """Mean colour of the face, less gray: (N, 3)."""
    means = crops[:, 30:90, 30:80].reshape(len(crops), -1, 3).mean(axis=1)
    return means - means.mean(axis=1, keepdims=True)


def write_model(path: Path, shape: tuple[Any, ...] = ("n", 3, 112, 112), scales: bool = False) -> Path:
    """The same as a file, of what ArcFace's files take."""
    onnx = pytest.importorskip("onnx")
    make, kinds = onnx.helper.make_node, onnx.TensorProto
    last = shape[-1] == 3
    nodes = [make("Sub", ["x", "zero"], ["y"]), make("Mul", ["y", "one"], ["z"])] if scales else []
    pixels = "z" if scales else "x"
    nodes += [
        make("Slice", [pixels, "from", "to", "axes"], ["inner"]),
        make("ReduceMean", ["inner"], ["means"], axes=[1, 2] if last else [2, 3], keepdims=0),
        make("ReduceMean", ["means"], ["gray"], axes=[1], keepdims=1),
        make("Sub", ["means", "gray"], ["vector"]),
    ]
    numbers = {"from": [30, 30], "to": [90, 80], "axes": [1, 2] if last else [2, 3]}
    constants = [onnx.numpy_helper.from_array(np.array(value), name) for name, value in numbers.items()]
    constants += [onnx.numpy_helper.from_array(np.array(v, np.float32), n) for n, v in (("zero", 0), ("one", 1))]
    graph = onnx.helper.make_graph(
        nodes, "colours", [onnx.helper.make_tensor_value_info("x", kinds.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("vector", kinds.FLOAT, (shape[0], 3))], constants,
    )  # fmt: skip
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.fixture
def two(photos: dict[str, RGB]) -> RGB:
    """One face twice, side by side, the right one bluish."""
    face = np.ascontiguousarray(photos["astronaut"][:230, 110:340])
    return np.concatenate([face, face[..., ::-1]], axis=1)


@pytest.fixture
def folder(tmp_path: Path, two: RGB, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_image(tmp_path / "two.png", two)
    save_image(tmp_path / "me.png", two[:, :230])
    write_model(tmp_path / "colours.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_person_stays_visible(folder: Path, two: RGB) -> None:
    done = run("detect", "two.png", "--blur", "out.png", "--spare", "me.png", "--embedding", "colours.onnx")
    assert done.exit_code == 0, done.stderr
    faces = Detector().detect(two)
    assert len(faces) == 2
    other = faces.boxes[faces.boxes[:, 0] > 230]
    assert np.array_equal(read_image("out.png"), anonymise(two, other))


def test_in_a_video(folder: Path, two: RGB) -> None:
    """Also in Python, with a function as the model; the listing has both faces."""
    write_clip(folder / "clip.mp4", [two] * 6, 10)
    done = run("detect", "clip.mp4", "--csv", "--blur", "out.mp4", "--blur-style", "solid", "--spare", "me.png",
               "--embedding", "colours.onnx")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert len(done.stdout.splitlines()) == 13
    with Video("out.mp4") as video:
        copies = [frame.image.astype(int) for frame in video]
    assert len(copies) == 6
    for copy in copies:
        assert np.abs(copy[:, :230] - two[:, :230]).mean() < 12
        assert copy[60:120, 330:350].mean() < 40


def test_a_turn_of_the_head_hides_nobody_who_was_there(two: RGB) -> None:
    """Half of the similarity suffices for a face that overlaps one of the frame before, and only for that."""
    face = Detector().detect(two[:, :230])
    answers = iter([[1.0, 0.0], [1.0, 0.0], [0.3, 0.954], [0.2, 0.98], [0.3, 0.954]])
    spared = Spared([two[:, :230]], lambda crops: np.array([next(answers)]), Detector(), 0.5)
    assert [spared.followed(two, face).tolist() for _ in range(4)] == [[True], [True], [False], [False]]
    answers = iter([[1.0, 0.0], [0.3, 0.954], [0.3, 0.954]])
    spared.followed(two, face)
    moved = Faces(face.boxes + 90, face.scores, face.landmarks)
    assert not spared.followed(two, moved).any()
    answers = iter([[1.0, 0.0], [0.3, 0.954]])
    spared.followed(two, face)
    spared.restart()
    assert not spared.followed(two, face).any()
    assert spared.followed(two, Faces.empty()).shape == (0,)


@pytest.mark.parametrize("gap", [0, 2])
def test_a_video_begins_without_those_of_the_one_before(tmp_path: Path, two: RGB, gap: int) -> None:
    detector = Detector()
    face = detector.detect(two[:, :230])
    sources = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    answers = iter([[1.0, 0.0], [1.0, 0.0], [0.3, 0.954]])
    spared = Spared([two[:, :230]], lambda crops: np.array([next(answers)]), detector, 0.5)
    sink = AnonymousCopies(tmp_path / "copies", sources, "solid", gap=gap, spared=spared)
    for source in sources:
        sink.write(Item(source, two, face, frame=0, time=0.0, fps=10.0))
    sink.close()
    for name, hidden in (("a", False), ("b", True)):
        with Video(str(tmp_path / "copies" / f"{name}.mp4")) as video:
            frame = next(iter(video)).image.astype(int)
        x1, y1, x2, y2 = face.boxes[0].astype(int)
        assert (frame[y1 + 5 : y2 - 5, x1 + 5 : x2 - 5].mean() < 40) == hidden


def test_a_sink_in_python(tmp_path: Path, two: RGB) -> None:
    detector = Detector()
    spared = Spared([two[:, :230]], colours, detector)
    source = tmp_path / "two.png"
    save_image(source, two)
    sink = AnonymousCopies(tmp_path / "copies", [source], spared=spared)
    faces = detector.detect(two)
    sink.write(Item(source, two, faces))
    sink.close()
    expected = anonymise(two, faces.boxes[~spared.known(two, faces)])
    assert np.array_equal(read_image(tmp_path / "copies" / "two.png"), expected)


@pytest.mark.parametrize(("shape", "scales"), [(("n", 112, 112, 3), False), ((1, 3, 112, 112), True),
                                               (("n", 3, "h", "w"), True)])  # fmt: skip
def test_layouts(tmp_path: Path, two: RGB, shape: tuple[Any, ...], scales: bool) -> None:
    """Of some files colours are last, some take one face at a time, some scale by themselves."""
    pytest.importorskip("onnxruntime")
    from mtcnn.runtimes.embedding import OnnxEmbedding

    crops = Detector().detect(two).align(two)
    found = OnnxEmbedding(write_model(tmp_path / "a.onnx", shape, scales))(crops)
    assert np.allclose(found * (1 if scales else 127.5), colours(crops), atol=1e-2)


BAD = [
    (["--spare", "me.png"], 2, "--spare compares faces by a recognition model, and this project has none; expected "
     "--embedding FILE.onnx"),
    (["--embedding", "colours.onnx"], 2, "--embedding is given without --spare; expected --spare PHOTO as well"),
    (["--spare-similarity", ".4"], 2, "--spare-similarity is given without --spare"),
    (["--spare", "two.png", "--embedding", "colours.onnx"], 2, "--spare two.png shows 2 faces; expected one"),
    (["--spare", "no.png", "--embedding", "colours.onnx"], 1, "no.png: no such file"),
    (["--spare", "me.png", "--embedding", "me.png"], 1, "me.png is no model in ONNX; expected a recognition model"),
    (["--spare", "me.png", "--embedding", "no.onnx"], 1, "no.onnx cannot be read (No such file or directory)"),
    (["--spare", "me.png", "--embedding", "small.onnx"], 1, "expected one float32 input (N, 3, 112, 112)"),
    (["--spare", "me.png", "--embedding", "colours.onnx", "--spare-similarity", "2"], 2,
     "--spare-similarity is 2.0; expected a cosine above 0, at most 1"),
    (["--spare", "me.png", "--embedding", "colours.onnx", "--blur", "me.png"], 2, "--blur me.png is read by this"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "code", "message"), BAD, ids=[" ".join(row[0]) for row in BAD])
def test_bad_input(folder: Path, words: list[str], code: int, message: str) -> None:
    write_model(folder / "small.onnx", ("n", 3, 64, 64))
    more = [] if "--blur" in words else ["--blur", "out.png"]
    done = run("detect", "two.png", *more, *words)
    assert done.exit_code == code, done.stderr
    assert message in " ".join(done.stderr.split())
    assert not Path("out.png").exists()


def test_spare_without_blur(folder: Path) -> None:
    done = run("detect", "two.png", "--spare", "me.png", "--embedding", "colours.onnx")
    assert done.exit_code == 2
    assert "--spare is given without --blur" in done.stderr


def test_bad_models(two: RGB) -> None:
    with pytest.raises(SettingsError, match=r"the recognition model returned NaN"):
        Spared([two[:, :230]], lambda crops: np.full((len(crops), 4), np.nan), Detector())
    with pytest.raises(SettingsError, match=r"an image shows 0 faces; expected one"):
        Spared([np.zeros((60, 60, 3), np.uint8)], colours, Detector())


def test_the_fixture_is_what_it_says(two: RGB) -> None:
    crops = Detector().detect(two).align(two)
    a, b = colours(crops)
    assert (a @ b) / np.linalg.norm(a) / np.linalg.norm(b) < 0.3
    assert cv2.PSNR(crops[0], crops[1][..., ::-1]) > 20


@pytest.mark.parametrize("photos", [[], (), "me.jpg", Path("me.jpg"), b"me"])
def test_photos_are_a_list(photos: Any) -> None:
    with pytest.raises(SettingsError, match="expected a list of one photo or more"):
        Spared(photos, colours, None)  # type: ignore[arg-type]  # of which nothing is asked


@pytest.mark.parametrize("at_once", [True, False])
def test_a_model_without_faces(at_once: bool, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from mtcnn.runtimes.embedding import OnnxEmbedding

    model = OnnxEmbedding(write_model(tmp_path / "a.onnx", ("n" if at_once else 1, 3, 112, 112)))
    assert model(np.zeros((0, 112, 112, 3), np.uint8)).shape == (0, 0)
