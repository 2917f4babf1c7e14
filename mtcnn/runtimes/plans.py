"""Single-stage detectors that run by a plan: compiled code for any net that `tracing` can express.

The module is traced once, by torch; its graph is stored beside the compiled kernels, so that later processes need
neither torch nor Numba. The graphs of packaged nets ship with them. Kernels trust a graph, so that it comes from no
other place; `plain_graph` takes the one beside any weights, which `write_graph` writes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checkpoint import packaged_weights, read, weights_path
from ..detectors import DETECTORS
from ..engine import kernel_cache, kernel_files
from ..engine.graph import NetGraph
from ..engine.plan import PlannedNet
from ..errors import MtcnnError, SettingsError
from ..files.atomic_write import write_whole
from ..libraries import has_torch
from .plain_graph import GRAPH, graph_key, read_graph

if TYPE_CHECKING:
    from ..checkpoint import Checkpoint
    from ..detectors import Spec

__all__ = ["ensure_graph", "planned_runtime", "write_graph"]

# Parameters of the largest net that runs by a plan. Convolutions of many channels are as fast in torch, and faster on
# several threads; a deep net would be compiled for a minute.
LARGEST = 1_500_000


def planned_runtime(name: str, found: Checkpoint, spec: Spec, bf16: bool = False) -> PlannedNet | None:
    """The net of a checkpoint by its plan; None for a net that no plan expresses, or that the file does not fit.

    bf16  see `PlannedNet`.
    """
    from ..detectors.load import BEFORE_MODEL

    guessed = found.model is None and name not in BEFORE_MODEL
    if guessed or sum(value.size for value in found.state.values()) > LARGEST:
        return None
    model = {**spec.model, **(found.model or {})}
    file = f"plan-{graph_key(name, model)}-{_sources()}.plan"
    paths = [folder / file for folder in kernel_files.folders()]
    content = next(filter(None, map(kernel_files.read, paths)), None)
    if content is None:
        made = _packaged(name, model) or (_traced(name, model) if has_torch() else None)
        if made is None:
            return None
        content = json.dumps(made).encode()
        any(kernel_files.write(path, content) for path in paths)
    plan = json.loads(content)
    shapes = {key: list(value.shape) for key, value in found.state.items()}
    if plan["graph"] is None or plan["shapes"] != shapes:
        return None
    net = PlannedNet(NetGraph.from_json(plan["graph"]), found.state, spec.scaling, spec.multiple, bf16)
    net.padding = spec.padding
    net.has_landmarks = plan["has_landmarks"] and found.has_landmarks
    return net


def _packaged(name: str, model: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is stored, of a net that ships with the project: its graph is as much to be trusted as this code."""
    path = weights_path(packaged_weights(), name)
    found = read_graph(path, graph_key(name, model)) if path.is_file() else None
    if found is None:
        return None
    shapes = {key: list(value.shape) for key, value in read(path).state.items()}
    return {"graph": found[0].to_json(), "shapes": shapes, "has_landmarks": found[1]}


def _traced(name: str, model: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored: the graph, or None; the shapes of the parameters; whether the net has landmarks.

    By the settings alone, whatever a file holds: the next file of the same settings gets the same answer.
    """
    from ..detectors.load import build, shapes_only
    from .tracing import NotPlanned, graph_of

    nothing = {"graph": None, "shapes": None, "has_landmarks": False}
    try:
        with shapes_only():
            net = build(name, model).eval()
        shapes = {key: list(value.shape) for key, value in net.state_dict().items()}
        graph = graph_of(net)
    except (NotPlanned, SettingsError, ValueError, RuntimeError):  # torch then runs the net, or says what is wrong
        return nothing
    return {"graph": graph.to_json(), "shapes": shapes, "has_landmarks": getattr(net, "has_landmarks", True)}


def write_graph(path: Path, name: str) -> bool:
    """Write the graph of a detector beside its weights at `path`, for `plain_graph`. False if no plan expresses it."""
    spec, found = DETECTORS[name], read(path)
    model = {**spec.model, **(found.model or {})}
    traced = _traced(name, model)
    target = path.with_name(GRAPH)
    if traced["graph"] is None or traced["shapes"] != {key: list(value.shape) for key, value in found.state.items()}:
        target.unlink(missing_ok=True)
        return False
    content = {"key": graph_key(name, model), "graph": traced["graph"], "has_landmarks": traced["has_landmarks"]}
    write_whole(target, json.dumps(content).encode())
    return True


def ensure_graph(path: Path, name: str) -> None:
    """Write the graph beside weights unless it is there."""
    model = {**DETECTORS[name].model, **(read(path).model or {})}
    try:
        there = read_graph(path, graph_key(name, model)) is not None
    except MtcnnError:  # damaged
        there = False
    if not there:
        write_graph(path, name)


@lru_cache(maxsize=1)
def _sources() -> str:
    """Digest of the code that defines nets and plans."""
    digest = hashlib.sha256(kernel_cache._source().encode())
    package = Path(__file__).parent.parent
    for file in sorted([*package.glob("detectors/**/*.py"), *Path(__file__).parent.glob("*.py")]):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]
