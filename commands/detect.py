"""`mtcnn detect`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from .group import command, debugging, say
from .options import COUNT, DIR, FILE, PATH, SOURCE, STDOUT, detector_options, options
from .wording import as_options

if TYPE_CHECKING:
    from mtcnn.stream.run import Run

FACE_OPTIONS = (
    "crop",
    "crop_margin",
    "crop_align",
    "blur",
    "blur_style",
    "blur_shape",
    "blur_gap",
    "spare",
    "spare_similarity",
    "embedding",
    "show",
    "trace",
    "trace_box",
    "trace_labels",
)

label_options = options(
    click.option("--coco", type=FILE, help="Write labels for correction by hand to this COCO file."),
    click.option("--yolo", type=DIR, help="The same in YOLO's format, to this folder."),
    click.option("--voc", type=DIR, help="The same as Pascal VOC's XML files, to this folder."),
    click.option("--sure", type=float, metavar="S",
                 help="Lower scores are labelled doubtful instead of face.  [default: 0.7]"),
)  # fmt: skip

face_options = options(
    click.option("--crop", type=DIR, help="Write every face as a picture to this folder."),
    click.option("--crop-margin", type=float, metavar="SHARE",
                 help="Margin around a crop, as a share of its side.  [default: 0.2]"),
    click.option("--crop-align", is_flag=True, help="Crops of 112 x 112 with ArcFace's eye and mouth positions."),
    click.option("--blur", type=PATH, help="Write copies with hidden faces and without metadata."),
    click.option("--blur-style", type=click.Choice(["pixelate", "blur", "solid"]),
                 help="How faces are hidden.  [default: pixelate]"),
    click.option("--blur-shape", type=click.Choice(["box", "ellipse"]), help="Area that is hidden.  [default: box]"),
    click.option("--blur-gap", type=click.IntRange(min=0), metavar="FRAMES",
                 help="In videos, hide a face for this many frames before and after too.  [default: half a second]"),
    click.option("--spare", type=PATH, multiple=True, metavar="PHOTO",
                 help="Do not hide the person in this photo; needs --embedding. Repeat for more."),
    click.option("--embedding", type=FILE, metavar="ONNX",
                 help="Your recognition model for aligned faces of 112 x 112, such as one of ArcFace."),
    click.option("--spare-similarity", type=float, metavar="S",
                 help="Minimum cosine at which a face is that person's.  [default: 0.5]"),
    click.option("--show", is_flag=True, help="Show images and videos with their faces in a window; q ends."),
    click.option("--trace", type=DIR, help="Write pictures and counts of each stage's candidates."),
    click.option("--trace-box", type=float, nargs=4, multiple=True, metavar="X1 Y1 X2 Y2",
                 help="Report which stage lost the face in this box; repeat for more."),
    click.option("--trace-labels", type=PATH, metavar="LABELS", help="The same for all faces in WIDER FACE labels."),
)  # fmt: skip


@command("detect", renamed={"--trace-truth": "--trace-labels"})
@click.argument("images", nargs=-1, required=True, type=SOURCE, metavar="IMAGES...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per image or video frame.")
@click.option("--csv", "as_csv", is_flag=True, help="One row per face, with a header.")
@click.option("--wider", type=DIR, help="WIDER FACE's text files instead: DIR/<event>/<image>.txt.")
@click.option("--out", type=STDOUT, help="Write the results to this file instead of stdout.")
@click.option("--resume", is_flag=True, help="Resume an earlier run: skip what its --out or --wider has.")
@click.option(
    "--draw", type=PATH, help="Write copies of images and videos with faces drawn in, to this folder or file."
)
@click.option("--every", type=COUNT, default=1, show_default=True, help="Process every n-th frame of videos.")
@click.option(
    "--detect-every",
    type=COUNT,
    default=1,
    show_default=True,
    metavar="N",
    help="Detect in every n-th of these frames, and interpolate the faces between: faster.",
)
@click.option("--track", is_flag=True, help="Give each face of a video an id that stays the same from frame to frame.")
@click.option("--batch", type=COUNT, default=8, show_default=True, help="Images detected together.")
@click.option("--max-pixels", type=COUNT, help="Largest image to decode.  [default: 268 million]")
@click.option("--network", is_flag=True, help="Also open addresses named in lists.")
@click.option("--quiet", is_flag=True, help="No progress bar, notices or summary; problems are still reported.")
@click.option("--verbose", is_flag=True, help="Report which engine computes each net.")
@face_options
@label_options
@detector_options
def detect(images: tuple[Any, ...], as_json: bool, as_csv: bool, wider: Path | None, out: Path | None, resume: bool,
           draw: Path | None, every: int, detect_every: int, track: bool, batch: int, max_pixels: int | None,
           network: bool, quiet: bool, verbose: bool, coco: Path | None, yolo: Path | None, voc: Path | None,
           sure: float | None, **settings: Any) -> None:  # fmt: skip
    """Find faces in images, videos, folders and cameras.

    IMAGES are files, folders, patterns, camera:N, http(s) and rtsp addresses of videos, @FILE (a list with one name per
    line) or - (an image or such a list on stdin).

    \b
    mtcnn detect photo.jpg                        one line per face: box and score
    mtcnn detect photos --json > faces.jsonl      one JSON object per image
    mtcnn detect photo.jpg --draw photo-faces.jpg
    mtcnn detect photos --json --out faces.jsonl --resume
    mtcnn detect clip.mp4 --track --every 2 --draw faces.mp4
    mtcnn detect photos --crop faces --crop-align         crops for face recognition
    mtcnn detect photos --blur copies                     copies with hidden faces, without metadata
    mtcnn detect photo.jpg --trace why --trace-box 80 60 140 130
    mtcnn detect photos --coco found.json                 labels to correct by hand (docs/retrain.md)
    """
    from mtcnn.stream.run import Run
    from mtcnn.stream.sinks.from_options import extra_sinks

    faces = {name: settings.pop(name) for name in FACE_OPTIONS}
    outputs = {name: faces[name] for name in ("crop", "blur", "trace") if faces[name] is not None}
    labels = {name: path for name, path in (("coco", coco), ("yolo", yolo), ("voc", voc)) if path is not None}
    outputs |= labels
    sinks = [*_label_sinks(labels, sure, resume, settings), *extra_sinks(**faces)]
    reads = [*filter(None, (faces["trace_labels"], faces["embedding"])), *faces["spare"]]
    run = Run(
        images, _style(as_json, as_csv), out, wider, draw, batch, every, track, resume, settings, sinks, outputs,
        reads, network, max_pixels, quiet, verbose, debugging(), as_options, detect_every,
    )  # fmt: skip
    _exit_after(run)


def _label_sinks(labels: dict[str, Path], sure: float | None, resume: bool, settings: dict[str, Any]) -> list[Any]:
    """Makers of the sinks that write labels. Unless the user chose a threshold, doubtful faces are found too."""
    if not labels:
        if sure is not None:
            raise click.UsageError("--sure is given without labels; expected --coco, --yolo or --voc as well")
        return []
    if resume:
        raise click.UsageError("labels are written at the end of a run; expected no --resume with them")
    from prepare.label_sink import DOUBTFUL, SURE, label_sink

    if settings["score"] is None and settings["thresholds"] is None:
        settings["score"] = DOUBTFUL
    return [label_sink(form, path, SURE if sure is None else sure) for form, path in labels.items()]


def _style(as_json: bool, as_csv: bool) -> Literal["text", "json", "csv"]:
    if as_json and as_csv:
        raise click.UsageError("--json and --csv are both given; expected one of them")
    return "json" if as_json else "csv" if as_csv else "text"


def _exit_after(run: Run) -> None:
    """Detect. The exit status is 1 after problems, and 128 + its number after a signal, as a shell expects."""
    from mtcnn.stream.interrupts import Interrupted

    try:
        done = run()
    except Interrupted as stop:
        more = "; --resume appends the rest" if run.out or run.wider else ""
        say(f"mtcnn: interrupted; what was written is complete{more}")
        sys.exit(128 + stop.number)
    if not done:
        sys.exit(1)
