"""The commands: parse, call the library, print. What takes time to load is imported in the command that needs it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import update_wrapper
from pathlib import Path
from typing import Any

import click

from mtcnn.errors import MtcnnError

NETS = {"12": "pnet", "24": "rnet", "48": "onet"}
PATH = click.Path(path_type=Path)


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
        except KeyboardInterrupt:
            click.echo("mtcnn: interrupted; the same command goes on from here", err=True)
            ctx.exit(130)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--debug", is_flag=True, help="On an error, print the traceback too.")
@click.version_option(package_name="mtcnn-cascade", prog_name="mtcnn")
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
    click.option("--models", type=PATH, help="Folder with models-12, -24 and -48; default: the packaged weights."),
    click.option("--min-face", type=float, default=20.0, show_default=True, help="Smallest face to find, pixels."),
    click.option("--scale-factor", type=float, default=0.709, show_default=True, help="Ratio of pyramid levels."),
    click.option("--thresholds", type=float, nargs=3, default=(0.6, 0.7, 0.7), show_default=True,
                 help="Least scores of PNet, RNet and ONet."),
    click.option("--device", default="cpu", show_default=True, help="Where torch computes, such as cpu or cuda."),
)  # fmt: skip

build_options = _options(
    click.option("--work", type=PATH, default=Path("work"), show_default=True, help="Folder for all that is made."),
    click.option("--data", "sources", multiple=True, metavar="SOURCE",
                 help="Images and labels: a folder, or FORMAT:PATH[:IMAGES]; repeat for more. Remembered in the work "
                 "folder. Formats: wider, retinaface, labelv2, points, voc, fddb, negatives, synthetic:N."),
    click.option("--workers", type=click.IntRange(1), default=2, show_default=True,
                 help="Processes that cut and mine crops; the result does not depend on it."),
    click.option("--hard-from", type=click.Choice(["pnet", "rnet"]),
                 help="Mine hard examples with the cascade up to this net. Default: the net before."),
    click.option("--quiet", is_flag=True, help="No progress bars."),
)  # fmt: skip

train_options = _options(
    click.option("--processes", type=click.IntRange(1), default=1, show_default=True,
                 help="Training processes, one core each (or start the command under torchrun)."),
    click.option("--device", default="cpu", show_default=True, help="Where to train, such as cpu or cuda."),
)  # fmt: skip


def command(name: str | None = None, group: click.Group = main) -> Callable[[Callable[..., Any]], click.Command]:
    """A click command that turns ValueErrors of bad settings into usage errors."""

    def wrap(function: Callable[..., Any]) -> click.Command:
        def checked(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except ValueError as error:
                if type(error) is not ValueError:
                    raise
                raise click.UsageError(str(error)) from error

        return group.command(name)(update_wrapper(checked, function))

    return wrap


# ---- detect


@command()
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option("--json", "as_json", is_flag=True, help="One JSON object an image.")
@click.option("--csv", "as_csv", is_flag=True, help="One row a face, with a header.")
@click.option("--draw", type=PATH, help="Write pictures with the faces drawn in: to this folder, or this image file.")
@detector_options
def detect(images: tuple[Path, ...], as_json: bool, as_csv: bool, draw: Path | None, **settings: Any) -> None:
    """Find faces in image files and folders of them.

    \b
    mtcnn detect photo.jpg                        one line a face: box and score
    mtcnn detect photos --json > faces.jsonl      one JSON object an image
    mtcnn detect photo.jpg --draw photo-faces.jpg
    """
    from mtcnn.report import detect_files

    style = "json" if as_json else "csv" if as_csv else "text"
    if not detect_files(images, style, draw, settings):
        sys.exit(1)


# ---- make and train


def _dag(work: Path, sources: tuple[str, ...], hard_from: str | None, **options: Any) -> Any:
    from stages.project import open_project

    return open_project(work, sources, hard_from, **options)


def _say(line: str) -> None:
    click.echo(line, err=True)


@command()
@click.option("--net", type=click.Choice(list(NETS)), required=True, help="Size of the crops.")
@click.option("--preview", type=PATH, help="Also draw a contact sheet of the crops, by kind, to this PNG.")
@build_options
def prepare(net: str, preview: Path | None, **options: Any) -> None:
    """Make the training crops of one net, into an LMDB in the work folder.

    Crops for 24 and 48 include hard examples mined by the nets before, which are trained first if need be. A killed run
    goes on where it stopped.

    \b
    mtcnn prepare --net 12 --data FOLDER --preview crops-12.png
    mtcnn prepare --net 24 --hard-from pnet
    mtcnn prepare --net 12 --data wider:wider_face_train_bbx_gt.txt:WIDER_train/images --data negatives:scenes
    """
    dag = _dag(**options)
    name = f"crops-{net}"
    made = dag.ensure(name, say=_say)
    from prepare.preview import contact_sheet, summary

    click.echo(f"{name}: {summary(dag.nodes[name].makes)}{'' if made else ' (was fresh)'}")
    if preview:
        contact_sheet(dag.nodes[name].makes, preview)
        click.echo(f"contact sheet: {preview}")


@command()
@click.option("--net", type=click.Choice(list(NETS)), required=True, help="12 PNet, 24 RNet, 48 ONet.")
@build_options
@train_options
def train(net: str, **options: Any) -> None:
    """Train one net, and first make what it needs.

    A checkpoint is written every epoch; a killed run goes on from the last one and ends with the same weights.
    Recipes are TOML files in the work folder: edit them there.

    \b
    mtcnn train --net 12 --data FOLDER
    mtcnn train --net 24 --hard-from pnet --processes 2
    torchrun --nproc-per-node 2 -m mtcnn train --net 48
    """
    dag = _dag(**options)
    made = dag.ensure(NETS[net], say=_say)
    click.echo(f"{dag.nodes[NETS[net]].makes}{'' if made else ' (was fresh)'}")


@command()
@build_options
@train_options
def run(**options: Any) -> None:
    """Build all that is missing or out of date: crops, PNet, mining, RNet, mining, ONet.

    \b
    mtcnn run --data FOLDER --work work --processes 2
    mtcnn run --data synthetic:500 --work drawn         drawn faces, to try it without any data
    """
    dag = _dag(**options)
    made = dag.ensure(*dag.nodes, say=_say)
    click.echo(f"made {', '.join(made)}" if made else "all fresh")


@command()
@build_options
def status(**options: Any) -> None:
    """Say of each stage whether it is fresh, stale or missing, and why."""
    for state in _dag(**options).status():
        click.echo(f"{state.name:14} {state.state:8} {state.reason}")


# ---- measure


@main.group("eval", cls=Group)
def evaluate() -> None:
    """Measure by the official protocols."""


def _json(values: dict[str, Any]) -> None:
    click.echo(json.dumps(values))


if __name__ == "__main__":
    main()
