"""Every single-stage detector as a small net with random weights and batch norm statistics from noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from mtcnn.checkpoint import Checkpoint, weights_path, write
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import build, model_of

__all__ = ["small_model", "small_nets", "write_nets"]


def small_model(name: str) -> dict[str, Any]:
    """An eighth as wide, where the net has a width; SCRFD, which has many, with few blocks, and
    one of its sizes with landmarks."""
    model = model_of(name)
    if DETECTORS[name].package is not None:
        return {"width": 0.125, "trunk": "b0"}
    if "width" in model:
        return {"width": 0.125}
    if "widths" in model:
        sizes = {"stem": (8,) * len(model["stem"]), "blocks": (1, 2, 1, 1), "widths": (8, 8, 16, 16)}
        points = {"landmarks": True, "norm": "bn", "shared": False} if name == "scrfd-10g" else {}
        return {**sizes, "neck": 8, "head": 16, "norm_groups": 4, **points}
    return {}


def small_nets() -> dict[str, nn.Module]:
    """Name -> net in evaluation mode, of those whose packages are installed."""
    made = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, spec in DETECTORS.items():
            if spec.missing_package:
                continue
            made[name] = build(name, small_model(name)).train()
            with torch.no_grad():
                made[name](torch.randn(2, 3, 96, 96) * 64 / spec.scaling[1])
            made[name].eval()
    return made


def write_nets(nets: dict[str, nn.Module], folder: Path) -> Path:
    """The nets as a folder of weights."""
    for name, net in nets.items():
        model = model_of(name, small_model(name))
        checkpoint = Checkpoint(name, net.state_dict(), scaling=DETECTORS[name].scaling, model=model)
        write(weights_path(folder, name), checkpoint)
    return folder
