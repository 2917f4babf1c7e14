"""Where the weights of teachers come from: what a model card must name when labels are theirs."""

from __future__ import annotations

from typing import Any

from mtcnn.checkpoint import SUFFIX, packaged_weights, read, weights_path
from mtcnn.detector_settings import CASCADE
from mtcnn.weights import SIDES

from .teacher import Teacher

__all__ = ["origins_of"]

_WIDER = "trained on WIDER FACE, whose photos are for research"
_UNKNOWN = "unknown: ask who made the weights"

# SHA-256 of a published file -> project and licence, as the model cards of the nets have them.
_PUBLISHED = {
    "2979b33ffafda5d74b6948cd7a5b9a7a62f62b949cef24e95fd15d2883a65220": ("biubug6/Pytorch_Retinaface", "MIT"),
    "9c7c9e14a4d60e57491d77e4d8b0d451bd834f300e05c0dea7fd1f6533817b06": (
        "ShiqiYu/libfacedetection.train",
        "Apache-2.0",
    ),
    "f2688fecd5aef7d204d04ca12ff377b724978abbe5955740bc67280d99ffe4d6": (
        "ShiqiYu/libfacedetection.train",
        "Apache-2.0",
    ),
    "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc": ("Star-Clouds/CenterFace", "MIT"),
    **dict.fromkeys(
        (
            "02ca778098127c46d2b2680f1c398c7b993c12a424e94c34e6d608beb73481e4",
            "cd24abce45da5dbc7cfd8167cd3d5f955382dfc9d9ae9459f0026abd3c2e38a4",
            "bf34512b1a93dc234178e8a701ecf25c6afddf335a3226accf62982536e160b5",
            "c722b4427cc71642768baef6e15c659931b56f07425e5d2b0ec033ad41b145b3",
        ),
        ("Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB", "MIT"),
    ),
    **dict.fromkeys(
        (
            "b22c45855bff5c4eb84e9973e2ee8a980639aa194ec66f33a87ce712f9d44c28",
            "76cdb587b2cf5f91b3836b66a652a0f7a91891758cd4fb0b07e4b7527af1c651",
            "ed6fa7d45a5179f03cb5ce82c73b0c6711372968e53782e88395acee88d319e1",
        ),
        ("biubug6/Face-Detector-1MB-with-landmark", "MIT"),
    ),
    **dict.fromkeys(
        (
            "04c07b47c5e030e78f5ee0d2f36c8fb7020e6cc79be5860c82b76213ff358a10",
            "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a",
            "fc6c7b47b84fec1713a8654d83f482fdfe8c2ef05c37a438a16e1dfe1a83f5e6",
            "6cd57dc102af4be5b846ccf8b7db20269124fe6ebb9490e3c13f6511e9904187",
        ),
        ("InsightFace", "for non-commercial research"),
    ),
}


def origins_of(teacher: Teacher) -> list[dict[str, Any]]:
    """Of each file of weights of a teacher: its SHA-256 as used, where it comes from, its licence, its data's terms.

    Imported weights name the file that they were made from, and its SHA-256, by which published ones are recognised.
    """
    nets = list(SIDES) if teacher.name == CASCADE else [teacher.name]
    return [
        {"net": net, "sha256": digest, **_origin(teacher, net, digest)}
        for net, digest in zip(nets, teacher.sha256, strict=False)
    ]


def _origin(teacher: Teacher, net: str, digest: str) -> dict[str, str]:
    path = weights_path(teacher.models or packaged_weights(), net)
    path = path if path.is_file() else path.with_suffix(".pt")
    if teacher.models is None:
        card = path.parent.relative_to(packaged_weights()) / "MODEL_CARD.md"
        terms = f"see Terms of the data in {card.as_posix()}"
        return {"from": "packaged with mtcnn", "licence": "MIT", "terms": terms}
    imported = read(path).recipe.get("imported")
    if not isinstance(imported, dict):
        made = "trained by mtcnn" if path.suffix == SUFFIX else "a file of mtcnn 0.1"
        return {"from": made, "licence": _UNKNOWN, "terms": "those of its photos: see the card beside it"}
    source = str(imported.get("sha256", ""))
    project, licence = _PUBLISHED.get(source, ("", ""))
    file = f"{imported.get('file', '')}, SHA-256 {source}"
    if not project:
        return {"from": file, "licence": _UNKNOWN, "terms": _UNKNOWN}
    return {"from": f"{project}: {file}", "licence": licence, "terms": _WIDER}
