"""Single-stage detectors computed by compiled code of `mtcnn.engine`, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from . import Runtime

__all__ = ["compiled_runtime"]


def compiled_runtime(name: str, state: Mapping[str, Any]) -> Runtime | None:
    """What runs the net with these parameters, arrays by name; None where the code is for other shapes.

    name  "module:Class" of `mtcnn.engine`. The class has `shapes`, name -> shape of the parameters it can run.
    """
    module, kind = name.split(":")
    engine: Any = getattr(import_module(f"..engine.{module}", __package__), kind)
    found = {key: value.shape for key, value in state.items() if not key.endswith(".num_batches_tracked")}
    return engine(state) if found == engine.shapes() else None
