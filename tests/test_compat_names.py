"""Names and arguments that programs for ipazc's mtcnn and facenet-pytorch use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import published_weights as foreign
import pytest
import torch
from PIL import Image

import mtcnn as package
from mtcnn import MTCNN
from mtcnn.compat import fixed_image_standardization, prewhiten
from mtcnn.errors import CheckpointError, ImageError, SettingsError
from mtcnn.exceptions import InvalidImage
from mtcnn.stages import StageONet, StagePNet, StageRNet
from mtcnn.utils.images import load_image, load_images_batch
from mtcnn.utils.plotting import parse_color, plot, plot_all, plot_bbox, plot_landmarks

ROOT = Path(__file__).resolve().parent.parent
ALL: dict[str, Any] = {"min_face_size": 30, "factor": 0.5, "thresholds": [0.0, 0.0, 0.0]}


def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8))


def run(program: str, *path: Path) -> subprocess.CompletedProcess[str]:
    """A program in a process of its own, with folders in front of its path."""
    setting = ":".join(map(str, [*path, ROOT]))
    return subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": setting, "PATH": ""}, capture_output=True, text=True
    )


# ---- modules of ipazc's mtcnn


def test_imports() -> None:
    lines = [
        "from mtcnn.mtcnn import MTCNN",
        "import mtcnn; mtcnn.MTCNN",
        "mtcnn.mtcnn.MTCNN; mtcnn.exceptions.InvalidImage; mtcnn.utils.plotting.plot; mtcnn.utils.images; mtcnn.stages",
        "import mtcnn.mtcnn; mtcnn.mtcnn.MTCNN; mtcnn.MTCNN",
        "from mtcnn.exceptions import InvalidImage",
        "from mtcnn.exceptions.invalid_image import InvalidImage",
        "from mtcnn.stages import StagePNet, StageRNet, StageONet",
        "from mtcnn.utils.images import load_image",
        "from mtcnn.utils.plotting import plot",
        "from mtcnn.compat import fixed_image_standardization",
    ]
    done = run("\n".join(lines))
    assert (done.returncode, done.stderr) == (0, "")


def test_one_class() -> None:
    from mtcnn.mtcnn import MTCNN as Same

    assert Same is MTCNN is package.MTCNN
    assert InvalidImage is ImageError


# ---- settings of ipazc's mtcnn


def weights_file(folder: Path) -> str:
    return str(foreign.write(folder / "mtcnn_weights.npy", foreign.npy()))


def test_settings_of_version_0_1(tmp_path: Path) -> None:
    file = weights_file(tmp_path)
    wanted = MTCNN(weights=file, min_face_size=30, thresholds=[0.1, 0.2, 0.3], factor=0.5)
    for mtcnn in (
        MTCNN(weights_file=file, min_face_size=30, steps_threshold=[0.1, 0.2, 0.3], scale_factor=0.5),
        MTCNN(file, 30, [0.1, 0.2, 0.3], 0.5),
        MTCNN(file, 30, thresholds=[0.1, 0.2, 0.3], factor=0.5),
        MTCNN(Path(file), min_face_size=30, steps_threshold=[0.1, 0.2, 0.3], factor=0.5),
    ):
        assert (mtcnn.min_face_size, mtcnn.thresholds, mtcnn.factor) == (30, [0.1, 0.2, 0.3], 0.5)
        assert mtcnn.own_thresholds and (mtcnn.image_size, mtcnn.margin) == (160, 0)
        states = mtcnn.state_dict(), wanted.state_dict()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    plain = MTCNN(None)
    assert (plain.min_face_size, plain.thresholds, plain.factor) == (20, [0.6, 0.7, 0.7], 0.709)
    assert not plain.own_thresholds


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"thresholds": [0, 0, 0], "steps_threshold": [0, 0, 0]}, "thresholds"),
        ({"factor": 0.5, "scale_factor": 0.5}, "factor"),
        ({"weights": "a.npy", "weights_file": "a.npy"}, "weights"),
    ],
)
def test_two_names_of_one_setting(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} is given twice"):
        MTCNN(**settings)


def test_a_first_argument_of_no_kind() -> None:
    with pytest.raises(TypeError, match="image_size is b'160'; expected a number"):
        MTCNN(b"160")  # type: ignore[arg-type]


def test_settings_of_version_1(random_models: Path) -> None:
    name: Any = "face_detection_only"
    for mtcnn in (
        MTCNN(name, "CPU:0", models=random_models, **ALL),
        MTCNN(stages=name, device="CPU:0", models=random_models, **ALL),
        MTCNN([StagePNet, StageRNet], models=random_models, **ALL),
        MTCNN(stages=[StagePNet(), StageRNet(stage_name="second", stage_id=7)], models=random_models, **ALL),
        MTCNN(name, margin=20, models=random_models, **ALL),
    ):
        assert [stage.net for stage in mtcnn.stages] == ["pnet", "rnet"] and mtcnn.device == torch.device("cpu")
        faces = mtcnn.detect_faces(image())
        assert faces and all(list(face) == ["box", "confidence"] for face in faces)
    assert mtcnn.margin == 20


def test_stages(random_models: Path) -> None:
    mtcnn = MTCNN(models=random_models, **ALL)
    assert [(stage.id, stage.name) for stage in mtcnn.stages] == [
        (1, "Stage PNET"), (2, "Stage RNET"), (3, "Stage ONET"),
    ]  # fmt: skip
    assert (
        mtcnn.get_stage(stage_id=2) is mtcnn.stages[1] and mtcnn.get_stage(stage_name="Stage ONET") is mtcnn.stages[2]
    )
    assert mtcnn.get_stage(stage_id=9) is None
    proposed = mtcnn.detect_faces(image(), postprocess=False)
    mtcnn.stages = [StagePNet]
    first = mtcnn.detect_faces(image(), postprocess=False)
    assert len(first) > 3 and list(first[0]) == ["box", "confidence"]
    mtcnn.stages = "face_and_landmarks_detection"
    assert mtcnn.detect_faces(image(), postprocess=False) == proposed
    for wrong in ([], [StageRNet], [StagePNet, StageONet], [StagePNet, object()], [StagePNet] * 2):
        with pytest.raises(SettingsError, match="expected StagePNet, then StageRNet, then StageONet"):
            MTCNN(stages=wrong)  # type: ignore[arg-type]


def test_weights_of_a_stage(tmp_path: Path, random_models: Path) -> None:
    file = weights_file(tmp_path)
    mtcnn = MTCNN(stages=[StagePNet, StageRNet(weights=file), StageONet], models=random_models, **ALL)
    given, kept = MTCNN(weights=file), MTCNN(models=random_models)
    assert torch.equal(mtcnn.rnet.conv1.weight, given.rnet.conv1.weight)
    assert torch.equal(mtcnn.onet.conv1.weight, kept.onet.conv1.weight)
    assert (mtcnn.pnet.arithmetic, mtcnn.rnet.arithmetic, mtcnn.onet.arithmetic) == ("", "matlab", "")
    torch.save(foreign.facenet_state("rnet"), tmp_path / "rnet.pt")
    with pytest.raises(CheckpointError, match=r"rnet.pt holds no pnet"):
        MTCNN(stages=[StagePNet(weights=tmp_path / "rnet.pt")])


# ---- mtcnn.utils


def test_load_image(tmp_path: Path) -> None:
    image().save(tmp_path / "a.png")
    wanted = np.asarray(image())
    found = load_image(str(tmp_path / "a.png"))
    assert found.dtype == np.float32 and np.array_equal(found, wanted)
    assert load_image((tmp_path / "a.png").read_bytes(), dtype="uint8").dtype == np.uint8
    assert load_image(wanted) is wanted
    assert [len(one) for one in load_images_batch([tmp_path / "a.png", wanted])] == [50, 50]
    with pytest.raises(InvalidImage):
        load_image(b"no image")


FACE = {"box": [10, 5, 20, 30], "confidence": 0.9, "keypoints": {"nose": (20, 15), "left_eye": (14, 10)}}
ROW = np.array([0, 10, 5, 20, 30, 0.9, *[14, 26, 20, 15, 25], *[10, 10, 15, 25, 25]])


def test_plot_draws_a_copy() -> None:
    blank = np.zeros((50, 70, 3), np.float32)
    drawn = plot(blank, FACE)
    assert drawn is not None and drawn.dtype == np.uint8 and not blank.any()
    edges = np.zeros((50, 70), bool)
    edges[5:36, [10, 30]] = edges[[5, 35], 10:31] = True
    edges[13:18, 18:23] = edges[8:13, 12:17] = True
    assert np.array_equal(drawn, np.where(edges[..., None], [255, 255, 0], 0))
    assert np.array_equal(drawn, plot_all(blank, [FACE])) and plot(blank, []) is None and not plot_all(blank, []).any()


def test_plot_of_rows_and_formats() -> None:
    blank = np.zeros((50, 70, 3), np.uint8)
    boxed = plot_bbox(blank, FACE)
    assert np.array_equal(plot_bbox(blank, ROW), boxed) and np.array_equal(plot_bbox(blank, [10, 5, 20, 30]), boxed)
    assert np.array_equal(plot_bbox(blank, [10, 5, 30, 35], input_as_width_height=False), boxed)
    points = plot_landmarks(blank, ROW)
    assert (points.any(axis=2)).sum() == 5 * 25  # five squares
    assert np.array_equal(plot_landmarks(blank, ROW[6:]), points)
    for rows in (ROW, ROW[None]):
        drawn = plot(blank, rows)
        assert drawn is not None and np.array_equal(drawn, np.maximum(boxed, points))
    assert plot_landmarks(blank, {"box": [1, 2, 3, 4]}) is blank and plot_landmarks(blank, ROW[:6]) is blank
    assert plot_landmarks(blank, FACE, keypoints="nose", brush_size=0).any(axis=2).sum() == 1


def test_plot_beyond_the_image() -> None:
    assert plot_bbox(np.zeros((50, 70, 3), np.uint8), [-5, -5, 200, 200]) is not None


@pytest.mark.parametrize("color", ["#FF8000", "0xFF8000", "FF8000", "#f80"])
def test_colours(color: str) -> None:
    expected = [1, 136 / 255 if color == "#f80" else 128 / 255, 0]
    assert np.allclose(parse_color(color), expected)
    drawn = plot_bbox(np.zeros((9, 9, 3), np.float32), [1, 1, 3, 3], color, normalize_color=True)
    assert drawn.dtype == np.float32 and np.allclose(drawn[1, 1], expected)
    with pytest.raises(SettingsError, match="'red'; expected #RRGGBB"):
        parse_color("red")


# ---- facenet_pytorch


def test_standardisation() -> None:
    x = torch.arange(256, dtype=torch.float32)
    assert torch.equal(fixed_image_standardization(x), (x - 127.5) / 128)
    white = prewhiten(x)
    assert abs(float(white.mean())) < 1e-6 and float(white.std()) == pytest.approx(1)
    assert torch.equal(prewhiten(torch.ones(4)), torch.zeros(4))


STAND_IN = "from mtcnn.compat import as_facenet_pytorch\nas_facenet_pytorch()\n"


def test_facenet_pytorch_by_its_name() -> None:
    lines = [
        "from facenet_pytorch import MTCNN, extract_face, fixed_image_standardization, prewhiten, PNet, RNet, ONet",
        "import facenet_pytorch as f; f.MTCNN",
        "from facenet_pytorch.models.mtcnn import MTCNN, PNet, RNet, ONet, fixed_image_standardization, prewhiten",
        "from facenet_pytorch.models.utils.detect_face import extract_face",
        "import facenet_pytorch; facenet_pytorch.models.mtcnn.MTCNN",
        "import mtcnn; assert MTCNN is mtcnn.MTCNN is f.MTCNN",
        "from importlib.util import find_spec; assert find_spec('facenet_pytorch') is not None",
    ]
    done = run(STAND_IN + STAND_IN + "\n".join(lines))
    assert (done.returncode, done.stderr) == (0, "")


NOT_HERE = """
for line in (
    "from facenet_pytorch import InceptionResnetV1",
    "import facenet_pytorch; facenet_pytorch.training.Logger",
    "from facenet_pytorch.models.inception_resnet_v1 import InceptionResnetV1",
    "from facenet_pytorch.models.utils import training; training.collate_pil",
    "from facenet_pytorch.models.utils.detect_face import detect_face",
):
    try:
        exec(line)
    except ImportError as error:
        print(error)
"""


def test_missing_names_are_one_line() -> None:
    done = run(STAND_IN + NOT_HERE)
    lines = done.stdout.splitlines()
    assert len(lines) == 5 and not done.stderr, done.stderr
    assert all(line.startswith("mtcnn has no ") for line in lines)
    assert all("pip install --no-deps facenet-pytorch" in line for line in lines)


def test_missing_names_come_from_facenet_pytorch(tmp_path: Path) -> None:
    """If it is installed, even without the dependencies of its own MTCNN."""
    folder = tmp_path / "facenet_pytorch"
    (folder / "models" / "utils").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('its own MTCNN wants another torch')")
    (folder / "models" / "inception_resnet_v1.py").write_text(
        "from .utils.download import get\nclass InceptionResnetV1:\n    got = get()\n"
    )
    (folder / "models" / "utils" / "download.py").write_text("def get():\n    return 'got'\n")
    (folder / "models" / "utils" / "training.py").write_text("class Logger: pass\n")
    (folder / "models" / "utils" / "detect_face.py").write_text("def detect_face(): return 'theirs'\n")
    done = run(
        STAND_IN + "from facenet_pytorch import MTCNN, InceptionResnetV1, training\n"
        "from facenet_pytorch.models.inception_resnet_v1 import InceptionResnetV1 as same\n"
        "assert InceptionResnetV1 is same and same.got == 'got' and training.Logger\n"
        "from facenet_pytorch.models.utils.detect_face import detect_face, extract_face\n"
        "assert detect_face() == 'theirs' and extract_face.__module__ == 'mtcnn.compat.selection'\n"
        "assert MTCNN.__module__ == 'mtcnn.compat' and not hasattr(detect_face, 'x')\n"
        "import facenet_pytorch\nassert not hasattr(facenet_pytorch, 'nothing')\n",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_too_late_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "facenet_pytorch.py").touch()
    done = run("import facenet_pytorch\n" + STAND_IN, tmp_path)
    assert done.stderr.strip().splitlines()[-1].startswith("ImportError: facenet_pytorch is loaded already")
