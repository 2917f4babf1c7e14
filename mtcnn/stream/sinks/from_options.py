"""What `mtcnn detect` writes beside its listing, made from its options: face crops, hidden faces, traces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import SettingsError
from ...metrics.problems import Problems
from ...metrics.wider_truth import GroundTruth
from ...pictures.align import check_margin
from ...pictures.anonymise import Shape, Style
from ..places import Places
from ..run import MakeSink
from ..sources import kind_of
from .anonymous import AnonymousCopies
from .face_files import FaceFiles
from .preview import Preview
from .trace_files import TraceFiles

if TYPE_CHECKING:
    from ...cascade import Detector
    from ...pictures.spare import Spared

__all__ = ["extra_sinks"]


def extra_sinks(
    crop: Path | None = None,
    crop_margin: float | None = None,
    crop_align: bool = False,
    blur: Path | None = None,
    blur_style: Style | None = None,
    blur_shape: Shape | None = None,
    blur_gap: int | None = None,
    spare: Sequence[Path] = (),
    spare_similarity: float | None = None,
    embedding: Path | None = None,
    show: bool = False,
    trace: Path | None = None,
    trace_box: Sequence[Sequence[float]] = (),
    trace_labels: Path | None = None,
) -> list[MakeSink]:
    """Makers of the sinks that the options ask for; see FaceFiles, AnonymousCopies and TraceFiles.

    Raises SettingsError for options that say nothing without another one or contradict each other, DataError for labels
    that cannot be read or do not follow their format.
    """
    _check_needed("crop", crop, {"crop_margin": crop_margin is not None, "crop_align": crop_align})
    more = {"blur_style": blur_style, "blur_shape": blur_shape, "blur_gap": blur_gap, "spare": spare or None}
    _check_needed("blur", blur, {name: value is not None for name, value in more.items()})
    _check_spare(bool(spare), {"embedding": embedding, "spare_similarity": spare_similarity})
    _check_needed("trace", trace, {"trace_box": bool(trace_box), "trace_labels": trace_labels is not None})
    if crop_align and crop_margin is not None:
        raise SettingsError("`crop_align` has no margin, its template decides; expected it or `crop_margin`, not both")
    makers: list[MakeSink] = []
    if crop is not None:
        margin = 0.2 if crop_margin is None else crop_margin
        check_margin(margin, "crop_margin")
        makers.append(lambda places, _: FaceFiles(crop, places, margin, crop_align))
    if blur is not None:
        style, shape = blur_style or "pixelate", blur_shape or "box"

        def copies(places: Places, detector: Detector) -> AnonymousCopies:
            if blur_gap is not None and all(kind_of(source) == "image" for source in places.sources):
                raise SettingsError("`blur_gap` counts frames; expected a video or camera:N")
            spared = None if embedding is None else _spared(spare, embedding, detector, spare_similarity)
            return AnonymousCopies(blur, places, style, gap=blur_gap, shape=shape, spared=spared)

        makers.append(copies)
    if show:
        window = Preview()
        makers.append(lambda places, _: window)
    if trace is not None:
        truth = None if trace_labels is None else GroundTruth.load(trace_labels, Problems(strict=True))
        makers.append(lambda places, detector: TraceFiles(trace, places, detector, trace_box, truth))
    return makers


def _spared(photos: Sequence[Path], embedding: Path, detector: Detector, similarity: float | None) -> Spared:
    from ...pictures.spare import SIMILARITY, Spared
    from ...runtimes.embedding import OnnxEmbedding

    return Spared(photos, OnnxEmbedding(embedding), detector, SIMILARITY if similarity is None else similarity)


def _check_spare(spares: bool, more: dict[str, object]) -> None:
    for name, value in more.items():
        if value is not None and not spares:
            raise SettingsError(f"`{name}` is given without `spare`; expected `spare` PHOTO as well")
    if spares and more["embedding"] is None:
        raise SettingsError(
            "`spare` compares faces by a recognition model, and this project has none; expected `embedding` FILE.onnx, "
            "such as one of ArcFace, or a function in Python"
        )


def _check_needed(setting: str, folder: Path | None, given: dict[str, bool]) -> None:
    for name, is_given in given.items():
        if is_given and folder is None:
            raise SettingsError(f"`{name}` is given without `{setting}`; expected `{setting}` DIR as well")
    if folder is not None and setting != "blur" and folder.exists() and not folder.is_dir():
        raise SettingsError(f"`{setting}` {folder} is a file; expected a folder")
