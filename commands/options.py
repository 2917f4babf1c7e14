"""Types and options that several commands share."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import update_wrapper
from pathlib import Path
from typing import Any, cast

import click
from click.core import ParameterSource

from mtcnn.detectors import DETECTORS
from mtcnn.errors import SettingsError
from mtcnn.weights import SIDES

from .group import say

__all__ = [
    "COUNT",
    "DETECTOR_SETTINGS",
    "DIR",
    "FILE",
    "NETS",
    "PATH",
    "SOURCE",
    "STDOUT",
    "NetType",
    "detector_options",
    "given",
    "options",
    "workers_option",
]

NETS = {str(side): net for net, side in SIDES.items()}
"""The size of a net's crops, as a user may call it -> its name."""


def _named(kind: Any, name: str) -> Any:
    """A click type with the name that help texts show for its values."""
    kind.name = name
    return kind


class PathType(click.Path):
    """A path that is not empty: pathlib would turn an empty name, as from an unset shell variable, into ".".

    stdout  whether "-" means standard output, which becomes None; else it is rejected, for a file would get that name.
    """

    def __init__(self, name: str, stdout: bool = False) -> None:
        super().__init__(path_type=Path)
        self.name, self.stdout = name, stdout

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and not value.strip():
            kind = self.name.replace("|", " or ")
            self.fail(f"an empty name; expected a {kind}; is a variable of the shell unset?", param, ctx)
        if value == "-":
            if self.stdout:
                return None
            self.fail("- would be a file of that name; expected the name of one; write ./- if it is", param, ctx)
        return super().convert(value, param, ctx)


class SourceType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.2 on
    """A file, folder, pattern, list, camera or address, see `stream.sources.as_source`."""

    name = "source"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from mtcnn.stream.sources import as_source

        try:
            return as_source(value) if isinstance(value, str) else value
        except SettingsError as error:
            self.fail(str(error), param, ctx)


class NetType(click.Choice):  # type: ignore[type-arg]  # generic from click 8.2 on
    """A net by its name; one of the cascade also by the size of its crops: 12 is pnet."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(list(names))
        self.name = "net"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(NETS.get(str(value), value), param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str | None:
        return "NET"

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """On one line; click's has a line for each choice."""
        return f"Expected one of {', '.join(map(str, self.choices))}"


DIR, FILE, PATH = (PathType(name) for name in ("dir", "file", "dir|file"))
STDOUT = PathType("file", stdout=True)
SOURCE = SourceType()
COUNT = _named(click.IntRange(1), "integer")
_CLUSTER = "mtcnn.cluster"


def workers_option(text: str) -> Callable[..., Any]:
    """`--workers`, how many processes, and `--cluster`, where: as the `Workers` that library functions take."""

    def workers(context: click.Context, _parameter: click.Parameter, count: int) -> Any:
        from mtcnn.workers import cluster_workers, local_workers

        address = context.meta.get(_CLUSTER)
        return local_workers(count) if address is None else cluster_workers(address, count)

    return options(
        click.option("--workers", type=COUNT, default=2, show_default=True, callback=workers, help=text),
        click.option("--cluster", metavar="local|ADDRESS", is_eager=True, expose_value=False, callback=_note_cluster,
                     help="Work on Ray: one that is started here with so many --workers, or all cores of a cluster "
                     "(docs/scale.md)."),
    )  # fmt: skip


def _note_cluster(context: click.Context, _parameter: click.Parameter, address: str | None) -> None:
    if address is not None:
        context.meta[_CLUSTER] = address


def options(*options: Callable[..., Any]) -> Callable[..., Any]:
    def wrap(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return wrap


_detector_options = options(
    click.option("--models", type=DIR,
                 help="Folder with models-12 to models-48 and models-full.  [default: the packaged weights]"),
    click.option("--detector", metavar="NAME",
                 help=f"What detects: mtcnn, the cascade; fast or best, for those who do not want to choose; or "
                      f"{', '.join(DETECTORS)}, alone or before --refine.  [default: mtcnn]"),
    click.option("--min-face", type=float, metavar="PIXELS", help="Smallest face.  [default: 20 for the cascade]"),
    click.option("--scale-factor", type=float, metavar="RATIO",
                 help="Ratio of consecutive pyramid levels, for the cascade.  [default: 0.709]"),
    click.option("--score", type=float, metavar="S",
                 help="Minimum score of a face: the threshold of the last stage.  [default: that of the weights]"),
    click.option("--threshold", type=float, metavar="T",
                 help="Minimum score of a detector with one stage; with more stages, of each.  "
                      "[default: that of the weights]"),
    click.option("--thresholds", type=float, nargs=3, metavar="T1 T2 T3",
                 help="Minimum scores of stage 1, RNet and ONet.  [default: those of the weights]"),
    click.option("--stage1", metavar="NAME",
                 help=f"First stage of the cascade: pnet, {', '.join(DETECTORS)}.  [default: pnet]"),
    click.option("--refine", type=click.Choice(["none", "rnet", "rnet,onet"]),
                 help="Nets that follow stage 1.  [default: rnet,onet after pnet, none after others]"),
    click.option("--engine", type=click.Choice(["torch", "onnx", "openvino"]),
                 help="Engine of a single-stage detector, and openvino also of RNet and ONet.  "
                      "[default: compiled code if possible, else torch]"),
    click.option("--precision", type=click.Choice(["float32", "bf16"]),
                 help="Precision of a single-stage detector: bf16 is faster, on processors that have it.  "
                      "[default: float32]"),
    click.option("--max-side", type=float, metavar="PIXELS",
                 help="Shrink larger images to this longer side, for single-stage detectors."),
    click.option("--enlarge", type=float, metavar="TIMES",
                 help="Enlarge images first, up to --max-side, for single-stage detectors: with 2 they find faces half "
                      "as large, in four times the time."),
    click.option("--coarse/--no-coarse", default=None,
                 help="Also process large images at smaller sizes, to find faces larger than a single-stage detector's "
                      "anchors.  [default: yes in detect, no in eval]"),
    click.option("--device", metavar="NAME", default="cpu", show_default=True,
                 help="Device of torch, such as cpu or cuda."),
)  # fmt: skip

DETECTOR_SETTINGS = (
    "models", "detector", "min_face", "scale_factor", "score", "threshold", "thresholds", "stage1", "refine", "engine",
    "precision", "max_side", "enlarge", "coarse", "device",
)  # fmt: skip


def detector_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a detector, passed to the command as keyword arguments of `Detector`."""

    def with_settings(*args: Any, **options: Any) -> Any:
        threshold = options.pop("threshold")
        if threshold is not None and options["thresholds"] is not None:
            raise click.UsageError("--threshold and --thresholds are both given; expected one of them")
        if options["thresholds"] is not None:
            options["thresholds"] = _used_thresholds(options)
        if threshold is not None:
            options["thresholds"] = checked_threshold(threshold)
        return command(*args, **options)

    wrapped: Callable[..., Any] = _detector_options(update_wrapper(with_settings, command))
    return wrapped


def checked_threshold(value: float) -> float:
    """The value of --threshold. The library, which has thresholds alone, would name those."""
    if not 0 <= value <= 1:
        raise click.UsageError(f"--threshold is {value:g}; expected a number from 0 to 1")
    return value


def _used_thresholds(options: Mapping[str, Any]) -> tuple[float, ...]:
    """Those of the three thresholds that stages have; the rest is reported."""
    from mtcnn.detector_settings import DetectorSettings, unused_thresholds

    chosen = {name: options[name] for name in ("detector", "stage1", "refine")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # in the words of Python, and told below
        found = DetectorSettings(**chosen, thresholds=options["thresholds"])
    stages, thresholds = found.stages, cast(tuple[float, ...], found.thresholds)
    if len(stages) < 3:
        fix = "; write --threshold instead" if len(stages) == 1 else ""
        say(f"mtcnn: --thresholds {unused_thresholds(stages)}{fix}")
    return thresholds


def given(names: Iterable[str]) -> list[str]:
    """Those of these parameters of the current command that the user gave, as options."""
    context = click.get_current_context()
    shown = {param.name: max(param.opts, key=len) for param in context.command.params}
    return [shown[name] for name in names if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
