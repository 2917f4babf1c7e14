"""Targets of `fuzz`: valid examples of each file format, and their readers."""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

import published_weights

from mtcnn.checkpoint import packaged_weights, read, weights_path
from mtcnn.detectors import DETECTORS
from mtcnn.files.archives import text_files
from mtcnn.images import image_size, read_image
from mtcnn.importers import read_weights
from mtcnn.metrics import fddb, landmarks, wider
from mtcnn.metrics.problems import Problems
from mtcnn.metrics.wider_detections import load_detections, parse_detections
from mtcnn.metrics.wider_truth import GroundTruth
from mtcnn.stream.resume import read_listing
from prepare.label_check import fit
from prepare.readers import READERS
from prepare.sources import remembered_sources
from stages.crops.recipe import Recipe
from stages.photos.recipe import DetectorRecipe
from stages.recipes import read_recipe

__all__ = ["TARGETS", "Target"]

ROOT = Path(__file__).resolve().parent.parent


class Target(NamedTuple):
    """A kind of file.

    seeds  gives good files.   run  reads a file, given its bytes and an empty folder; all it may raise is MtcnnError.
    wrap   makes the file of what was changed: a change inside an archive would else only spoil a checksum.
    """

    seeds: Callable[[], Sequence[bytes]]
    run: Callable[[bytes, Path], object]
    wrap: Callable[[bytes], bytes] = lambda data: data


def _written(folder: Path, data: bytes, name: str = "x") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _images() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    found = []
    modes: list[tuple[str, str, dict[str, Any]]] = [
        ("JPEG", "RGB", {}), ("JPEG", "CMYK", {}), ("JPEG", "L", {"progressive": True}), ("PNG", "RGBA", {}),
        ("PNG", "P", {"transparency": 3}), ("PNG", "1", {}), ("GIF", "P", {}), ("WEBP", "RGB", {}), ("BMP", "RGB", {}),
        ("TIFF", "RGB", {}), ("TIFF", "RGB", {"compression": "tiff_lzw"}), ("TIFF", "CMYK", {}), ("PPM", "RGB", {}),
        ("JPEG2000", "RGB", {}),
    ]  # fmt: skip
    pictures = [(kind, Image.fromarray(pixels).convert(mode), options) for kind, mode, options in modes]
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    for kind, picture, options in [*pictures, ("PNG", deep, {}), ("TIFF", deep, {})]:
        picture.save(stream := io.BytesIO(), kind, **options)
        found.append(stream.getvalue())
    return found


def _read_image(data: bytes, folder: Path) -> None:
    image = read_image(data)
    if image_size(data) != image.shape[:2]:
        raise AssertionError(f"{image_size(data)} by its header, {image.shape} in memory")


def _pickled() -> list[bytes]:
    """The program in a file of torch, without its numbers."""
    with zipfile.ZipFile(io.BytesIO(published_weights.facenet("pnet", zipped=True))) as archive:
        return [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]


def _zipped(pickled: bytes) -> bytes:
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(published_weights.facenet("pnet", zipped=True))) as old,
        zipfile.ZipFile(stream, "w") as new,
    ):
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name), pickled if name.endswith("data.pkl") else old.read(name))
    return stream.getvalue()


def _weights() -> list[bytes]:
    make: list[Callable[[str], bytes]] = [published_weights.facenet, published_weights.ipazc, published_weights.caffe]
    return [each("pnet") for each in make] + [published_weights.npy(2), published_weights.npy(4)]


def _own_weights() -> list[bytes]:
    return [weights_path(packaged_weights(), net).read_bytes() for net in ("pnet", "rnet")]


def _labels(form: str) -> Target:
    five = "5 5 0 9 5 0 7 7 0 5 9 0 9 9 0"
    header = ",".join(("path", *landmarks.COLUMNS[1:]))
    seeds = {
        "wider": f"e/1.png\n2\n{'3 4 9 9 0 0 0 0 0 0'}\n1 2 3 4\ne/2.png\n0\n0 0 0 0 0 0 0 0 0 0\n",
        "retinaface": f"# e/1.png\n3 4 9 9 {five} 0.5\n1 2 3 4\n# e/2.png\n",
        "labelv2": f"# e/1.png 40 30\n3 4 19 19 {five}\n1 2 9 9 1\n# e/2.png 40 30\n",
        "points": f"{header}\ne/1.png,3,4,19,19,{','.join('5' * 10)}\ne/1.png,,,,,{','.join('7' * 10)}\n",
        "fddb": "e/1\n1\n9 7 0.5 20 20 1\ne/2\n2\n9 7 1.5 20 20 1\n3 7 1e-2 20 20 1\n",
        "voc": "<annotation><filename>1.png</filename><size><width>40</width><height>30</height></size><object>"
        "<name>face</name><difficult>1</difficult><bndbox><xmin>3</xmin><ymin>4</ymin><xmax>9</xmax><ymax>9</ymax>"
        "</bndbox></object></annotation>",
        "celeba": "2\nimage_id x_1 y_1 width height\n1.png 3 4 9 9\n1.png 5 6 7 8\n",
        "coco": '{"images": [{"id": 1, "file_name": "1.png", "width": 40, "height": 30}], "categories": [{"id": 1, '
        '"name": "face", "keypoints": ["nose"]}], "annotations": [{"image_id": 1, "category_id": 1, "bbox": [3, 4, 9, '
        '9], "iscrowd": 0, "score": 0.5, "keypoints": [5, 5, 2]}, {"image_id": 1, "category_id": 1, "bbox": [1, 2, 9, '
        "9]}]}",
        "csv": "path,x1,y1,x2,y2,score,ignore,class\n1.png,3,4,9,9,0.5,0,face\n1.png,3,4,9,9,,1,face\n1.png,,,,,,,\n",
        "labelme": '{"version": "5", "imagePath": "1.png", "imageHeight": 30, "imageWidth": 40, "shapes": [{"label": '
        '"face", "shape_type": "rectangle", "group_id": 1, "points": [[3, 4], [9, 9]], "flags": {}}, {"label": "nose", '
        '"shape_type": "point", "group_id": 1, "points": [[5, 5]]}]}',
        "yolo": "0 0.5 0.5 0.25 0.25\n0 0.5 0.5 0.25 0.25 0.9\n1 0.1 0.1 0.2 0.1 0.2 0.3\n",
    }
    names = {
        "fddb": "folds/FDDB-fold-01-ellipseList.txt", "voc": "e/1.xml", "labelme": "e/1.json", "yolo": "labels/1.txt",
        "celeba": "Anno/list_bbox_celeba.txt",
    }  # fmt: skip

    def run(data: bytes, folder: Path) -> None:
        Image.new("RGB", (40, 30)).save(_written(folder, b"", "e/1.png"))
        path = _written(folder, data, names.get(form, "labels"))
        images = folder if form in ("fddb", "labelv2", "points", "retinaface", "wider") else folder / "e"
        place = {"voc": path.parent, "labelme": path.parent, "yolo": folder}.get(form, path)
        records, _ = READERS[form](place, images)
        fit(records, f"{form}:labels")

    return Target(lambda: [seeds[form].encode()], run)


DETECTIONS = b"a\n3\n1 2 3 4 0.9\n5 6 7.5 8 0.8\n1 2 3 4 1e-3\n"


def _archives() -> list[bytes]:
    found = []
    for mode in ("w", "w:gz", "w:xz", "w:bz2"):
        with tarfile.open(fileobj=(stream := io.BytesIO()), mode=mode) as archive:
            for name in ("e/a.txt", "e/" + "b" * 120 + ".txt"):
                info = tarfile.TarInfo(name)
                info.size = len(DETECTIONS)
                archive.addfile(info, io.BytesIO(DETECTIONS))
        found.append(stream.getvalue())
    with zipfile.ZipFile(stream := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(zipfile.ZipInfo("e/a.txt"), DETECTIONS, zipfile.ZIP_DEFLATED)
    return [*found, stream.getvalue()]


def _evaluated(data: bytes, folder: Path) -> None:
    truth = GroundTruth({"e/a": np.array([[1.0, 2, 3, 4]])}, {"hard": {"e/a": np.ones(1, bool)}}, "mat")
    rows = parse_detections(data.decode("utf-8", "replace"), "f", Problems())
    wider.evaluate(truth, {"e/a": rows}, problems=Problems())


def _mats() -> list[bytes]:
    from scipy.io import savemat

    def cells(values: list[Any]) -> Any:
        made = np.empty((len(values), 1), object)
        made[:, 0] = values
        return made

    boxes = [cells([np.ones((2, 4)), np.ones((1, 4))]), cells([np.ones((1, 4))])]
    found = []
    for packed in (False, True):
        names = {"event_list": cells(["0--A", "1--B"]), "file_list": cells([cells(["a", "b"]), cells(["c"])])}
        lists = [cells([np.ones((1, 1), np.uint8)] * 2), cells([np.ones((1, 1), np.uint8)])]
        names |= {"face_bbx_list": cells(boxes), "gt_list": cells(lists)}
        savemat(stream := io.BytesIO(), names, do_compression=packed)
        found.append(stream.getvalue())
    return found


def _mat(data: bytes, folder: Path) -> None:
    """One file in the place of all four, whose lists are those of its boxes."""
    for name in ("face", "easy", "medium", "hard"):
        _written(folder, data, f"wider_{name}_val.mat")
    GroundTruth.load_mat(folder)


def _fddb(data: bytes, folder: Path) -> None:
    problems = Problems()
    _written(folder, data, "FDDB-fold-01-ellipseList.txt")
    sizes = fddb.load_sizes(_written(folder, b"path,width,height\ne/1,100,100\ne/2,100,90\n", "sizes"), problems)
    faces = fddb.load_folds(folder, problems)
    fddb.evaluate(faces, fddb.load_results(_written(folder, data, "found"), problems), sizes, problems)


def _detector_recipes() -> list[bytes]:
    """Those of detectors that can be built here."""
    paths = sorted((ROOT / "models-full").rglob("recipe*.toml"))
    return [path.read_bytes() for path in paths if not DETECTORS[path.parent.name].missing_package]


def _recipes(*nets: str) -> Callable[[], list[bytes]]:
    return lambda: [next(ROOT.glob(f"models-*/**/recipe{end}.toml")).read_bytes() for end in nets]


TARGETS: dict[str, Target] = {
    "images": Target(_images, _read_image),
    "weights": Target(_weights, lambda data, folder: read_weights(_written(folder, data))),
    "torch": Target(_pickled, lambda data, folder: read_weights(_written(folder, data)), _zipped),
    "checkpoints": Target(_own_weights, lambda data, folder: read(_written(folder, data, "w.safetensors"))),
    **{f"labels-{form}": _labels(form) for form in READERS if form not in ("negatives", "unlabelled")},
    "archives": Target(_archives, lambda data, folder: load_detections(_written(folder, data), Problems())),
    "texts": Target(_archives, lambda data, folder: list(text_files(_written(folder, data)))),
    "detections": Target(lambda: [DETECTIONS], _evaluated),
    "mat": Target(_mats, _mat),
    "truth": Target(
        lambda: [b"e/a.jpg\n1\n1 2 3 4 0 0 0 1 0 0\ne/b.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n"],
        lambda data, folder: GroundTruth.load_text(_written(folder, data), Problems()),
    ),
    "fddb": Target(lambda: [b"e/1\n1\n9 7 0.5 20 20 0.5\ne/2\n2\n9 7 1.5 20 20 1\n3 7 1e-2 20 20 1\n"], _fddb),
    "landmarks": Target(
        lambda: [",".join(landmarks.COLUMNS).encode() + b"\na.jpg,1,2,3,4" + b",5" * 10 + b"\na.jpg,,,," + b",6" * 10],
        lambda data, folder: landmarks.load_landmarks(_written(folder, data), Problems()),
    ),
    "recipes": Target(_recipes("-pnet", "-onet"), lambda data, folder: read_recipe(Recipe, _written(folder, data))),
    "detector-recipes": Target(
        _detector_recipes,
        lambda data, folder: read_recipe(DetectorRecipe, _written(folder, data)),
    ),
    "listings": Target(
        lambda: [b'{"image": "a", "frame": 3, "faces": []}\n{"image": "b", "faces": [{"box": [1, 2, 3, 4]}]}\n'],
        lambda data, folder: read_listing(_written(folder, data), "json", (), [Path("a"), Path("b")]),
    ),
    "tables": Target(
        lambda: [b'image,frame\na,1\n"b\nc",2\na,3\n'],
        lambda data, folder: read_listing(_written(folder, data), "csv", ("image", "frame"), [Path("a")]),
    ),
    "sources": Target(
        lambda: [b'["/data", "wider:/x/y:/z", "voc:/x::face"]'],
        lambda data, folder: remembered_sources(_written(folder, data, "sources.json").parent),
    ),
}  # fmt: skip
