"""`mtcnn prepare`, `train`, `run` and `status`: a work folder and what is made in it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtcnn.detectors import DETECTORS
from mtcnn.terminal import printable
from mtcnn.weights import SIDES

from .group import command, say
from .options import COUNT, DIR, FILE, NETS, NetType, options, workers_option
from .wording import as_options

if TYPE_CHECKING:
    from mtcnn.api.training import TrainResult

before_option = click.option(
    "--before", type=DIR,
    help="Folder of models whose nets find the hard examples, instead of nets trained here; \"packaged\" for those "
    "that ship. For rnet, onet and cnet; copied into the work folder.",
)  # fmt: skip

set_option = click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE",
    help="Change the net's recipe in the work folder first, as train.epochs=8; repeat for more.",
)  # fmt: skip

work_options = options(
    click.option("--work", type=DIR, default=Path("work"), show_default=True, help="Folder for everything made here."),
    click.option("--data", "sources", multiple=True, metavar="SOURCE",
                 help="Images and labels: a folder, or FORMAT:PATH[:IMAGES]; repeat for more. Stored in the work "
                 "folder. The format is found by looking, or one of celeba, coco, csv, fddb, labelme, labelv2, "
                 "negatives, points, retinaface, unlabelled, voc, wider, yolo, synthetic:N (docs/data.md). Classes "
                 "that are faces: coco:PATH:IMAGES:face,head."),
    click.option("--eval-hashes", type=FILE, multiple=True,
                 help="Hashes of photos to exclude, besides the packaged ones (docs/data.md); copied into the work "
                 "folder."),
    click.option("--hard-from", type=click.Choice(["pnet", "rnet"]),
                 help="Mine hard examples with the cascade up to this net.  [default: the net before]"),
)  # fmt: skip

build_options = options(
    work_options,
    workers_option("Processes that cut and mine crops; the result does not depend on it."),
    click.option("--quiet", is_flag=True, help="No progress bars."),
)  # fmt: skip

train_options = options(
    click.option("--processes", type=COUNT, default=1, show_default=True,
                 help="Training processes, one core each (or start the command under torchrun)."),
    click.option("--device", metavar="NAME", default="cpu", show_default=True,
                 help="Where to train, such as cpu or cuda."),
)  # fmt: skip


def _say(line: str) -> None:
    """Print a line of the graph, with options instead of settings."""
    say(as_options(line))


def _train(net: str | None, sources: tuple[str, ...], changes: tuple[str, ...], **options: Any) -> TrainResult:
    from mtcnn import train as make
    from stages.recipe_edit import parsed_changes

    return make(net, sources, changes=parsed_changes(changes), say=_say, **options)


def _dag(changes: tuple[str, ...] = (), **options: Any) -> Any:
    from stages.graph.project import open_project
    from stages.recipe_edit import parsed_changes

    return open_project(changes=parsed_changes(changes), **options)


@command("prepare")
@click.option("--net", type=NetType(NETS.values()), required=True,
              help="pnet, rnet or onet, or cnet, of ONet's second pass; or 12, 24, 48 or 64.")  # fmt: skip
@before_option
@set_option
@click.option("--preview", type=FILE, help="Also draw a contact sheet of the crops, by kind, to this picture.")
@build_options
def prepare(net: str, preview: Path | None, **options: Any) -> None:
    """Make the training crops of one net.

    They are stored as an LMDB in the work folder.

    Crops for rnet, onet and cnet include hard examples mined by the previous nets, which are trained first if needed.
    An interrupted run resumes where it stopped.

    \b
    mtcnn prepare --net pnet --data FOLDER --preview crops-12.png
    mtcnn prepare --net rnet --hard-from pnet
    mtcnn prepare --net onet --before packaged --data FOLDER
    mtcnn prepare --net pnet --data wider:wider_face_train_bbx_gt.txt:WIDER_train/images --data negatives:scenes
    """
    from mtcnn.files.outputs import note_output
    from mtcnn.pictures.draw import check_target
    from mtcnn.stream.places import check_output
    from prepare.preview import contact_sheet, summary

    if preview:
        check_target(preview)  # now, not after an hour of cutting
    dag = _dag(nets=[net], **options)
    if preview:
        check_output("preview", preview, (record.path for record in dag.records))
    name = f"crops-{SIDES[net]}"
    made = dag.ensure(name, say=_say)

    click.echo(f"{name}: {summary(dag.nodes[name].makes)}{'' if made else ' (was fresh)'}")
    if preview:
        note_output(preview, own_folder=False)
        contact_sheet(dag.nodes[name].makes, preview)
        click.echo(f"contact sheet: {preview}")


@command("train")
@click.option("--net", type=NetType([*NETS.values(), *DETECTORS]), required=True,
              help="pnet, rnet, onet, or cnet, of ONet's second pass (or 12, 24, 48 or 64), or "
              f"{', '.join(DETECTORS)}.")  # fmt: skip
@click.option("--start", type=FILE,
              help="Initial weights, of the net or of a detector's trunk, or \"packaged\" for those that ship; copied "
              "into the work folder.")  # fmt: skip
@click.option("--teacher", type=FILE,
              help="Teacher of the objectives distill and distill-cells: weights of the same detector, or for distill "
              "of one with the same anchors, or its name, as retinaface, if they ship; copied too.")  # fmt: skip
@before_option
@set_option
@build_options
@train_options
def train(net: str, start: Path | None, teacher: Path | None, **options: Any) -> None:
    """Train one net, after making what it needs.

    A checkpoint is written every epoch; an interrupted run resumes from the last one and ends with the same weights.
    Recipes are TOML files in the work folder: edit them there.

    \b
    mtcnn train --net pnet --data FOLDER
    mtcnn train --net rnet --hard-from pnet --processes 2
    mtcnn train --net onet --start packaged             fine-tune the weights that ship
    mtcnn train --net onet --before packaged            alone, behind the nets that ship
    mtcnn train --net cnet                              starts from the folder's ONet
    mtcnn train --net retinaface --start packaged --set train.epochs=8
    torchrun --nproc-per-node 2 -m mtcnn train --net onet
    """
    if teacher is not None and net not in DETECTORS:
        raise click.UsageError(f"--teacher is for single-stage detectors; expected none with --net {net}")
    _check_hard_from(net, options)
    done = _train(net, start=start, teacher=teacher, **options)
    click.echo(f"{done.weights[net]}{'' if done.made else ' (was fresh)'}")


def _check_hard_from(net: str | None, options: dict[str, Any]) -> None:
    if net in DETECTORS and options["hard_from"]:
        raise click.UsageError("--hard-from is for --net rnet and onet; a detector mines its own background")


@command("run")
@click.option(
    "--net", type=NetType(DETECTORS), help=f"A single-stage detector instead of the cascade: {', '.join(DETECTORS)}."
)
@set_option
@build_options
@train_options
def run(net: str | None, **options: Any) -> None:
    """Make everything that is missing or out of date.

    The chain is crops, PNet, mining, RNet, mining, ONet, and once `mtcnn train --net cnet` has put its recipe into the
    folder, mining and cnet. An interrupted run resumes where it stopped.

    \b
    mtcnn run --data FOLDER --work work --processes 2
    mtcnn run --data synthetic:500 --work drawn         drawn faces, to try it without data
    mtcnn run --net retinaface                          a detector instead of the cascade
    """
    _check_hard_from(net, options)
    done = _train(net, **options)
    click.echo(f"made {', '.join(done.made)}" if done.made else "all fresh")
    if done.made and not options["quiet"]:
        _tell_outcome(done, net)


def _tell_outcome(done: TrainResult, net: str | None) -> None:
    """Print what a newcomer asks next: how good the result is, and how to use it."""
    from stages.graph.ddp import is_main

    if is_main():
        found = done.measure()
        if found is not None:
            say(str(found))
        folder = shlex.quote(str(done.work))
        say(f"now try: mtcnn detect photo.jpg --models {folder}{f' --detector {net}' if net else ''}")


@command("status")
@work_options
def status(**options: Any) -> None:
    """Show which stages are fresh, stale or missing, and why.

    Stages are those of the cascade, and of each single-stage detector with a recipe or weights in the work folder. A
    net whose recipe is unusable is broken, and the exit status is then 1. The candidates of a `mtcnn search` in the
    folder are stages too. With --data, show what other images would
    make stale; the stored sources do not change.

    \b
    mtcnn status --work work
    mtcnn status --data OTHER-FOLDER
    """
    from stages.graph.project import begun_detectors, cascade_of
    from stages.search.run import summary

    nets = [*cascade_of(options["work"]), *begun_detectors(options["work"])]
    dag = _dag(nets=nets, remember=False, strict=False, **options)
    for state in dag.status():
        click.echo(printable(f"{state.name:14} {state.state:8} {state.reason}"))
    for line in summary(options["work"], dag):
        click.echo(line)
    if dag.broken:
        click.get_current_context().exit(1)
