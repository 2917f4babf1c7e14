"""Types and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mtcnn.detectors import DETECTORS

__all__ = ["COUNT", "DIR", "FILE", "NETS", "PATH", "detector_options", "options"]

NETS = {"12": "pnet", "24": "rnet", "48": "onet"}


def _named(kind: Any, name: str) -> Any:
    """A type of click's with the name that help texts show for its values."""
    kind.name = name
    return kind


DIR, FILE, PATH = (_named(click.Path(path_type=Path), name) for name in ("dir", "file", "dir|file"))
COUNT = _named(click.IntRange(1), "integer")


def options(*options: Callable[..., Any]) -> Callable[..., Any]:
    def wrap(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return wrap


detector_options = options(
    click.option("--models", type=DIR,
                 help="Folder with models-12, -24 and -48.  [default: the packaged weights]"),
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
