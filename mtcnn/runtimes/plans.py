"""Single-stage detectors that run by a plan: compiled code for any net that `tracing` can express.

The module is traced once, by torch; its graph is stored beside the compiled kernels, so that later processes need
neither torch nor Numba.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine import kernel_cache, kernel_files
from ..engine.graph import NetGraph
from ..engine.plan import PlannedNet
from ..errors import SettingsError

if TYPE_CHECKING:
    from ..checkpoint import Checkpoint
    from ..detectors import Spec

__all__ = ["planned_runtime"]

# Parameters of the largest net that runs by a plan. Convolutions of many channels are as fast in torch, and faster on
# several threads; a deep net would be compiled for a minute.
LARGEST = 1_500_000


def planned_runtime(name: str, found: Checkpoint, spec: Spec) -> PlannedNet | None:
    """The net of a checkpoint by its plan; None for a net that no plan expresses, or that the file does not fit."""
    if found.model is None or sum(value.size for value in found.state.values()) > LARGEST:
        return None
    model = {**spec.model, **found.model}
    file = f"plan-{_digest(name, model)}-{_sources()}.plan"
    paths = [folder / file for folder in kernel_files.folders()]
    content = next(filter(None, map(kernel_files.read, paths)), None)
    if content is None:
        content = json.dumps(_traced(name, model, found.state)).encode()
        any(kernel_files.write(path, content) for path in paths)
    plan = json.loads(content)
    shapes = {key: list(value.shape) for key, value in found.state.items()}
    if plan["graph"] is None or plan["shapes"] != shapes:
        return None
    net = PlannedNet(NetGraph.from_json(plan["graph"]), found.state, spec.scaling, spec.multiple)
    net.has_landmarks = plan["has_landmarks"] and found.has_landmarks
    return net


def _traced(name: str, model: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored: the graph, or None; the shapes of the parameters; whether the net has landmarks."""
    import torch

    from ..detectors.load import build
    from .tracing import NotPlanned, graph_of

    nothing = {"graph": None, "shapes": None, "has_landmarks": False}
    try:
        with torch.device("meta"):  # shapes only: an untrusted file may describe a net of any size
            net = build(name, model).eval()
        shapes = {key: list(value.shape) for key, value in net.state_dict().items()}
        if shapes != {key: list(value.shape) for key, value in state.items()}:
            return nothing
        graph = graph_of(net)
    except (NotPlanned, SettingsError, ValueError, RuntimeError):  # torch then runs the net, or says what is wrong
        return nothing
    return {"graph": graph.to_json(), "shapes": shapes, "has_landmarks": getattr(net, "has_landmarks", True)}


def _digest(name: str, model: Mapping[str, Any]) -> str:
    text = json.dumps([name, model], sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def _sources() -> str:
    """Digest of the code that defines nets and plans."""
    digest = hashlib.sha256(kernel_cache._source().encode())
    package = Path(__file__).parent.parent
    for file in sorted([*package.glob("detectors/**/*.py"), *Path(__file__).parent.glob("*.py")]):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]
