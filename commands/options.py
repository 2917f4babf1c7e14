"""Types and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mtcnn.detectors import DETECTORS
from mtcnn.errors import SettingsError

__all__ = ["COUNT", "DIR", "FILE", "NETS", "PATH", "detector_options", "options"]

NETS = {"12": "pnet", "24": "rnet", "48": "onet"}


def _named(kind: Any, name: str) -> Any:
    """A type of click's with the name that help texts show for its values."""
    kind.name = name
    return kind


class PathType(click.Path):
    """A path that is not empty: of an empty name, as an unset variable of the shell leaves it, pathlib makes "."."""

    def __init__(self, name: str) -> None:
        super().__init__(path_type=Path)
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and not value.strip():
            kind = self.name.replace("|", " or ")
            self.fail(f"an empty name; expected a {kind}; is a variable of the shell unset?", param, ctx)
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


DIR, FILE, PATH = (PathType(name) for name in ("dir", "file", "dir|file"))
SOURCE = SourceType()
COUNT = _named(click.IntRange(1), "integer")


def options(*options: Callable[..., Any]) -> Callable[..., Any]:
    def wrap(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return wrap


detector_options = options(
    click.option("--models", type=DIR,
                 help="Folder with models-12 to models-48 and models-full.  [default: the packaged weights]"),
    click.option("--min-face", type=float, metavar="PIXELS", default=20.0, show_default=True, help="Smallest face."),
    click.option("--scale-factor", type=float, metavar="RATIO", default=0.709, show_default=True,
                 help="Size of a pyramid level over that of the one before."),
    click.option("--thresholds", type=float, nargs=3, metavar="T1 T2 T3", default=(0.6, 0.7, 0.7), show_default=True,
                 help="Least scores of stage 1, RNet and ONet."),
    click.option("--stage1", default="pnet", show_default=True, metavar="NAME",
                 help="What proposes faces: pnet, or a single-stage detector: " + ", ".join(DETECTORS) + "."),
    click.option("--refine", type=click.Choice(["none", "rnet", "rnet,onet"]),
                 help="The nets behind stage 1.  [default: rnet,onet behind pnet, none behind others]"),
    click.option("--engine", type=click.Choice(["torch", "onnx"]),
                 help="What runs a single-stage detector.  [default: compiled code for retinaface, torch for others]"),
    click.option("--device", metavar="NAME", default="cpu", show_default=True,
                 help="Where torch computes, such as cpu or cuda."),
)  # fmt: skip
