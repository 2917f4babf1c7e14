"""The arithmetic of older projects, for weights imported from them.

This project's cascade uses real numbers and one coordinate convention (docs/conventions.md). Older ones count pixels
from 1 and include the last pixel of a box, hence `+ 1` in sizes and NMS, and some truncate boxes to whole pixels before
cropping. The published nets are sensitive to a shift of one pixel: the same weights find the same faces either way, but
boxes differ slightly. Weights imported from such a project record its arithmetic, and `adopt_arithmetic` makes a
detector use it. Boxes then equal those of that project.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..cascade import Detector
from ..checkpoint import read, weights_path
from ..errors import CheckpointError
from ..proposer import PNetProposer
from ..refiner import NetRefiner
from .ipazc_arithmetic import SampledProposer, SampledRefiner
from .matlab_arithmetic import FACENET_PYTORCH, MATLAB, WholePixelProposer, WholePixelRefiner

__all__ = ["ARITHMETICS", "Arithmetic", "adopt_arithmetic"]


class Arithmetic(NamedTuple):
    """What makes the stages, with the fields of PNetProposer and of NetRefiner."""

    proposer: Callable[..., PNetProposer]
    refiner: Callable[..., NetRefiner]


# "matlab" is the authors', and that of ipazc's mtcnn 0.1 and its relatives, whose resampling it has.
ARITHMETICS = {
    "facenet-pytorch": Arithmetic(
        partial(WholePixelProposer, rule=FACENET_PYTORCH), partial(WholePixelRefiner, rule=FACENET_PYTORCH)
    ),
    "matlab": Arithmetic(partial(WholePixelProposer, rule=MATLAB), partial(WholePixelRefiner, rule=MATLAB)),
    "ipazc-1": Arithmetic(SampledProposer, SampledRefiner),
}


def adopt_arithmetic(detector: Detector, models: Path) -> str:
    """Switch a detector with imported weights to their project's arithmetic; other weights change nothing.

    models  the folder of the detector's weights. Returns the key of ARITHMETICS, or "" for our own.

    Raises CheckpointError if the weights record an unknown arithmetic.
    """
    path = weights_path(models, "pnet")
    name = str(read(path).recipe.get("imported", {}).get("arithmetic", ""))
    if not name:
        return ""
    if name not in ARITHMETICS:
        raise CheckpointError(f"{path} needs the arithmetic of {name}; expected {', '.join(ARITHMETICS)}; update mtcnn")
    make = ARITHMETICS[name]
    if isinstance(detector.proposer, PNetProposer):
        detector.proposer = make.proposer(**vars(detector.proposer))
    detector.refiners = [
        make.refiner(**vars(stage)) if isinstance(stage, NetRefiner) else stage for stage in detector.refiners
    ]
    return name
