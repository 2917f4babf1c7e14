"""`mtcnn eval`: accuracy by the official protocols."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from .group import Group, command, say
from .options import DETECTOR_SETTINGS, DIR, FILE, PATH, detector_options, given, options, workers_option


@click.group("eval", cls=Group)
def evaluate() -> None:
    """Measure by the official protocols."""


eval_options = options(
    click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table."),
    click.option("--strict", is_flag=True, help="Stop at the first problem in a file instead of reporting all."),
    click.option("--plot", type=FILE, help="Draw the curves to this picture, .png, .pdf or .svg."),
    workers_option("Processes that detect."),
    click.option("--scale", default="original", show_default=True,
                 metavar="original|vga|N|AxB|letterbox:N|multi",
                 help="Detect at this size: N pixels for the longest side, vga is 640; AxB for the shorter and the "
                 "longer; letterbox as SCRFD's program does it; multi votes over several."),
    click.option("--flip/--no-flip", show_default=True, help="Also detect in the mirror image, and merge by voting."),
)  # fmt: skip


def _check_used(detects: bool, *more: str) -> None:
    """Raise UsageError for detector options if no detector runs: they would be silently ignored."""
    from mtcnn.metrics.scales import check_scale

    check_scale(click.get_current_context().params["scale"])  # a wrong one is wrong either way
    if not detects and (unused := given((*DETECTOR_SETTINGS, "workers", "cluster", "scale", "flip", *more))):
        raise click.UsageError(f"{unused[0]} is for running a detector over --photos, and none runs; leave it out")


def _evaluate(
    protocol: str, ground_truth: Path, photos: Path | None, *, as_json: bool, plot: Path | None, **options: Any
) -> None:
    """Results to stdout, as a table or as JSON; problems to stderr. Bars are shown where stderr is a terminal."""
    from mtcnn import evaluate as run
    from mtcnn.metrics.plots import check_plot

    if plot is not None:
        check_plot(plot)
    settings = {name: options.pop(name) for name in [*options] if name in DETECTOR_SETTINGS}
    found = run(  # type: ignore[call-overload]  # of any protocol
        ground_truth, photos, protocol=protocol, detector=settings, progress=sys.stderr.isatty(), **options
    )
    for problem in found.problems:
        say(str(problem))
    click.echo(json.dumps(found.to_dict()) if as_json else str(found))
    if plot is not None:
        found.plot(plot)


@command("wider", evaluate, renamed={"--images": "--labels"})
@click.argument("detections", nargs=-1, metavar="[[NAME=]DETECTIONS]...")
@click.option("--ground-truth", type=PATH, required=True, help="Folder of the official .mat files, or a bbx_gt.txt.")
@click.option("--labels", type=FILE, help="Only the images that this list or bbx_gt.txt names.")
@click.option("--photos", type=DIR, help="Folder with <event>/<image>.jpg: also run this project's detector.")
@click.option("--write", type=DIR, help="Write this project's detections, <event>/<image>.txt, to this folder.")
@eval_options
@detector_options
def eval_wider(detections: tuple[str, ...], ground_truth: Path, photos: Path | None, write: Path | None,
               **options: Any) -> None:  # fmt: skip
    """Average precision on WIDER FACE.

    It is computed as the official Matlab code does.

    DETECTIONS are folders or archives of <event>/<image>.txt; --photos adds a detector of this project.

    \b
    mtcnn eval wider detections.zip --ground-truth ground_truth
    mtcnn eval wider retinaface=r.tar.xz --photos dev/images --labels dev_bbx_gt.txt --ground-truth ground_truth
    mtcnn eval wider --photos images --ground-truth ground_truth --scale multi --flip --write found
    """
    _check_used(photos is not None or not detections, "write")
    _evaluate("wider", ground_truth, photos, detections=detections, write=write, **options)


@command("fddb", evaluate)
@click.argument("detections", nargs=-1, metavar="[[NAME=]DETECTIONS]...")
@click.option("--folds", type=DIR, required=True, help="Folder with FDDB-fold-01-ellipseList.txt to -10-.")
@click.option("--sizes", type=FILE, help="CSV of image sizes: path,width,height.")
@click.option("--photos", type=DIR, help="FDDB's photos, for image sizes; without DETECTIONS, to detect in.")
@click.option("--write", metavar="PREFIX", help="Write PREFIXDiscROC.txt and PREFIXContROC.txt, as the original tool.")
@eval_options
@detector_options
def eval_fddb(detections: tuple[str, ...], folds: Path, photos: Path | None, **options: Any) -> None:
    """Discrete and continuous ROC on FDDB.

    They are computed as the original C++ tool does.

    DETECTIONS are result files of that tool: image name, count, then rectangles or ellipses with scores. Without any,
    this project's detector runs on --photos, and --write adds its result file.

    \b
    mtcnn eval fddb results.txt --folds FDDB-folds --photos originalPics
    mtcnn eval fddb --folds FDDB-folds --photos originalPics --write mine-
    """
    _check_used(not detections)
    _evaluate("fddb", folds, photos, detections=detections, **options)


@command("landmarks", evaluate)
@click.argument("labels", type=PATH, metavar="CSV")
@click.option("--photos", type=DIR, help="Folder that paths in CSV are relative to.  [default: folder of CSV]")
@eval_options
@detector_options
def eval_landmarks(labels: Path, photos: Path | None, **options: Any) -> None:
    """Landmark error of a detector.

    It is the distance from the labels divided by that of the eyes. CSV has the columns path, x1 y1 x2 y2, and x and y
    of the eyes, the nose and the mouth corners, the viewer's left first.

    \b
    mtcnn eval landmarks landmarks/faces_test.csv
    """
    _evaluate("landmarks", labels, photos, **options)
