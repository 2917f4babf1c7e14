"""Weights together with how to feed them.

A checkpoint says which net it is for, the colour order and scaling of its input, the recipe it was trained by, and what
was measured. Loading converts the colour order or refuses; nothing but arrays and plain values is ever unpickled.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .errors import CheckpointError
from .nets import NETS, SIZES

__all__ = ["Checkpoint", "load_net", "packaged_weights", "read", "weights_path", "write"]

FORMAT = 1
SCALING = (127.5, 128.0)  # (x - mean) / divisor, see nets.to_input


@dataclass(frozen=True)
class Checkpoint:
    """What a weights file holds.

    net      "pnet", "rnet" or "onet".    state    parameter name -> tensor.
    colour   "rgb" or "bgr".              scaling  (mean, divisor) of the input.
    recipe   the recipe section as plain values; `recipe_hash` names it in short.
    figures  what was measured on the held part, for the model card.
    """

    net: str
    state: dict[str, Tensor]
    colour: str = "rgb"
    scaling: tuple[float, float] = SCALING
    recipe: dict[str, Any] = field(default_factory=dict)
    recipe_hash: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


def weights_path(models: Path, net: str) -> Path:
    """Where the weights of `net` lie below a folder that holds models-12, models-24 and models-48."""
    return models / f"models-{SIZES[net]}" / f"weights-{net}.pt"


def packaged_weights() -> Path:
    """The folder of the weights that ship with the project: in a wheel below mtcnn/_app, in a checkout its root."""
    here = Path(__file__).resolve().parent
    return here / "_app" if (here / "_app").is_dir() else here.parent


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write, so that a reader sees the old file or the new one and never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous().clone() for name, value in checkpoint.state.items()}
    body = {"format": FORMAT, **vars(checkpoint), "state": state, "scaling": list(checkpoint.scaling)}
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    torch.save(body, draft)
    os.replace(draft, path)


def read(path: Path) -> Checkpoint:
    """Read a file made by `write`. Raises CheckpointError, in one line, for any other file."""
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}; train them with `mtcnn run`, or leave out --models")
    try:
        body = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for broken files, and all mean the same here
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path} is not a checkpoint of this project, or is truncated: {reason}") from error
    if not isinstance(body, dict) or "format" not in body or not isinstance(body.get("state"), dict):
        raise CheckpointError(f"{path} holds no checkpoint of this project; expected one written by `mtcnn train`")
    if body["format"] != FORMAT:
        raise CheckpointError(f"{path} has format {body['format']}; expected {FORMAT}: train again, or update mtcnn")
    known = {name: body[name] for name in Checkpoint.__dataclass_fields__ if name in body}
    return Checkpoint(**{**known, "scaling": tuple(body["scaling"])})


def _rgb_first_layer(net: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same net for RGB input: its first kernel with the colour planes reversed."""
    first = next(name for name, value in net.state_dict().items() if value.dim() == 4)
    return {**state, first: state[first].flip(1)}


def load_net(path: Path, net: str, device: str = "cpu") -> nn.Module:
    """The net `net` with the weights at `path`, for RGB input scaled by `nets.to_input`, in evaluation mode.

    Raises CheckpointError when the file is broken, of another net, or wants another scaling.
    """
    found = read(path)
    if found.net != net:
        raise CheckpointError(f"{path} holds weights of {found.net}; expected {net}")
    if tuple(found.scaling) != SCALING or found.colour not in ("rgb", "bgr"):
        raise CheckpointError(
            f"{path} wants {found.colour} scaled by {found.scaling}; expected rgb or bgr scaled by {SCALING}"
        )
    module = NETS[net]()
    state = _rgb_first_layer(module, found.state) if found.colour == "bgr" else found.state
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{path} does not fit {net}: {reason}") from error
    return module.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload,no-any-return]
