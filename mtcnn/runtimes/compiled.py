"""Single-stage detectors computed by compiled code of `mtcnn.engine`, on the CPU."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ..detectors.load import typed
from . import Runtime

__all__ = ["compiled_runtime"]


def compiled_runtime(name: str, state: Mapping[str, Any], model: Mapping[str, Any] | None = None) -> Runtime | None:
    """What runs the net with these parameters, arrays by name; None where the code is for other shapes.

    name   "module:Class" of `mtcnn.engine`. The class has `shapes`, name -> shape of the parameters it can run, and
           takes them with the settings of [model] that shapes do not tell.
    model  settings of the net, see `detectors.load.model_of`; what is left out is as the class has it. Raises
           SettingsError for one of another type, and for wild numbers.
    """
    module, kind = name.split(":")
    engine: Any = getattr(import_module(f"..engine.{module}", __package__), kind)
    found = {key: value.shape for key, value in state.items() if not key.endswith(".num_batches_tracked")}
    if found != engine.shapes():
        return None
    taken = inspect.signature(engine).parameters
    settings = {key: typed(value, taken[key].default, key) for key, value in (model or {}).items() if key in taken}
    return engine(state, **settings)  # type: ignore[no-any-return]
