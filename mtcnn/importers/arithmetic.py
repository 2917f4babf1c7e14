"""The cascade as older projects compute it, for weights that were used so.

This project's cascade keeps real numbers and one coordinate convention (docs/conventions.md). Older ones count pixels
from 1 and include the last pixel of a box, hence `+ 1` in sizes and in suppression, and some cut boxes to whole pixels
before cropping. The published nets answer to a shift of one pixel with another box: the same weights find the same
faces either way, but boxes differ by a tenth or two. Weights imported from such a project record its arithmetic, and
`adopt_arithmetic` makes a detector compute as it did. Boxes then come out where that project puts them.
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
    """Let a detector of imported weights compute as their project does; other weights change nothing.

    models  the folder that the detector has its weights from. Returns the key of ARITHMETICS, or "" for our own.

    Raises CheckpointError when the weights record an arithmetic that is not known here.
    """
    path = weights_path(models, "pnet")
    name = str(read(path).recipe.get("imported", {}).get("arithmetic", ""))
    if not name:
        return ""
    if name not in ARITHMETICS:
        raise CheckpointError(f"{path} wants the arithmetic of {name}; expected {', '.join(ARITHMETICS)}; update mtcnn")
    make = ARITHMETICS[name]
    if isinstance(detector.proposer, PNetProposer):
        detector.proposer = make.proposer(**vars(detector.proposer))
    detector.refiners = [
        make.refiner(**vars(stage)) if isinstance(stage, NetRefiner) else stage for stage in detector.refiners
    ]
    return name
