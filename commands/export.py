"""`mtcnn export`: a net, or a whole detector, as a file for ONNX or OpenVINO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mtcnn.detector_settings import CASCADE, PRESETS
from mtcnn.detectors import DETECTORS
from mtcnn.errors import SettingsError
from mtcnn.weights import SIDES

from .group import command
from .options import COUNT, DIR, FILE, NetType, checked_threshold, options

NAMES = [*SIDES, *DETECTORS, CASCADE, *PRESETS]

_options = options(
    click.option("--net", type=NetType(NAMES), help=f"The net or detector, instead of NET: {', '.join(NAMES)}."),
    click.option("--models", type=DIR, help="Folder with its weights.  [default: the packaged ones]"),
    click.option("--format", type=click.Choice(["onnx", "openvino"]), default="onnx", show_default=True,
                 help="ONNX, or OpenVINO's IR: an .xml file, and .bin beside it."),
    click.option("--int8", type=DIR, metavar="PHOTOS",
                 help="Compute a single-stage net in int8, with ranges from photos in this folder; what is lost is "
                      "printed."),
    click.option("--shape", type=COUNT, nargs=2, metavar="HEIGHT WIDTH",
                 help="Take images of this size only: the graph of a net is simplified."),
    click.option("--batch", type=COUNT, help="Images at a time, with --shape.  [default: 1]"),
    click.option("--with-nms", is_flag=True, help="Make a whole detector of a single-stage net."),
    click.option("--min-face", type=float, metavar="PIXELS",
                 help="Smallest face, of a whole detector.  [default: 20 for mtcnn]"),
    click.option("--scale-factor", type=float, metavar="RATIO",
                 help="Ratio of consecutive pyramid levels, of mtcnn.  [default: 0.709]"),
    click.option("--max-side", type=float, metavar="PIXELS",
                 help="Shrink larger images to this longer side, in a whole detector but mtcnn."),
    click.option("--threshold", type=float, metavar="T",
                 help="Minimum score, of a whole detector with one stage; with more stages, of each."),
    click.option("--thresholds", type=float, nargs=3, metavar="T1 T2 T3",
                 help="Minimum scores of stage 1, RNet and ONet, of mtcnn and best.  [default: those of the weights]"),
    click.option("--settings-as-inputs", "as_inputs", is_flag=True,
                 help="Make thresholds, smallest face and scale factor inputs of the file, given with each image."),
)  # fmt: skip


@command("export")
@click.argument("words", nargs=-1, metavar="NET [OUT]")
@_options
def export(words: tuple[str, ...], net: str | None, models: Path | None, **settings: Any) -> None:
    """Write a net, or a whole detector, as a file for ONNX or OpenVINO.

    A net takes any number of images of any size, unless --shape is given: RGB from 0 to 255, float32 (N, 3, H, W). Its
    outputs are logits and codes, see docs/detectors.md. SCRFD is exported as programs that run it expect: with scaled
    input, and scores instead of logits.

    The name mtcnn is for the whole cascade, from the pyramid to the landmarks; best and fast are as in mtcnn detect,
    and with --with-nms any single-stage net becomes a whole detector. Such a file takes one image of any size, uint8
    RGB (H, W, 3), and returns boxes, scores and landmarks, as Detector does in Python with coarse=False: a face that
    fills a large image is seen at one size alone. A name of a file alone means mtcnn.

    Before the file, OUT, is written, its outputs in onnxruntime or OpenVINO are compared with torch's or Detector's at
    several sizes.  [default: NET.onnx or NET.xml]

    \b
    mtcnn export cascade.onnx
    mtcnn export mtcnn cascade.onnx --min-face 40
    mtcnn export retinaface --with-nms --max-side 1024
    mtcnn export retinaface --with-nms --format openvino --int8 photos
    mtcnn export pnet
    mtcnn export retinaface retinaface.onnx --models models --shape 480 640
    """
    from mtcnn import export as write

    name, out = _net_and_file(words, net)
    threshold = settings.pop("threshold")
    if threshold is not None and settings["thresholds"] is not None:
        raise click.UsageError("--threshold and --thresholds are both given; expected one of them")
    if threshold is not None:
        settings["thresholds"] = checked_threshold(threshold)
    try:
        made = write(name, out, models, **settings)
    except SettingsError as error:
        if threshold is None:
            raise
        raise SettingsError(
            str(error).replace("thresholds are", "threshold is").replace("thresholds", "threshold")
        ) from None
    sizes = ", ".join("x".join(map(str, size)) for size in made.checked)
    same = f"equal to {made.reference} within {made.difference:.1g} at {sizes}"
    before = "" if made.agreement is None else "before int8 "
    click.echo(f"{made.path}: {', '.join(made.outputs)}; {before}{same}")
    if made.agreement is not None:
        click.echo(made.agreement)


def _net_and_file(words: tuple[str, ...], net: str | None) -> tuple[str, Path | None]:
    context = click.get_current_context()
    left = [word for word in words if word != "onnx"]  # the format, which once had to be named
    if net is None and len(left) == 1 and left[0].lower().endswith((".onnx", ".xml")):
        net = CASCADE  # `mtcnn export cascade.onnx`
    name = net or (NetType(NAMES).convert(left.pop(0), None, context) if left else None)
    if name is None or len(left) > 1:
        raise click.UsageError(f"a net and at most one file are expected; name one of {', '.join(NAMES)}")
    return name, FILE.convert(left[0], None, context) if left else None
