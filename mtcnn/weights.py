"""The cascade's nets without torch: input scaling, and the names and shapes of their parameters.

Importing torch takes longer than detecting faces in a photo. `nets` defines the same nets as modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .scoring import Scoring

__all__ = [
    "LAYERS",
    "MEAN_COLOUR",
    "SCALING",
    "SECOND",
    "SIDES",
    "SIZES",
    "THRESHOLDS",
    "UNSCALED",
    "Layer",
    "Scaling",
    "Weights",
    "check_numbers",
    "shapes",
]

Array = NDArray[Any]

SIZES = {"pnet": 12, "rnet": 24, "onet": 48}  # input side of each net, pixels
SECOND = "cnet"  # the net of ONet's second pass, in folders of models that have one
SIDES = {**SIZES, SECOND: 64}
THRESHOLDS = {"pnet": 0.6, "rnet": 0.7, "onet": 0.7}  # of the authors' code; for weights that do not say
THRESHOLDS[SECOND] = THRESHOLDS["onet"]

Scaling = tuple[float | tuple[float, float, float], float]
"""(mean, divisor): the input of a net is (x - mean) / divisor. The mean is one number, or one per channel, RGB."""

SCALING: Scaling = (127.5, 128.0)  # of the cascade
MEAN_COLOUR: Scaling = ((123.0, 117.0, 104.0), 1.0)
"""Mean colour of ImageNet, RGB, subtracted; no division."""
UNSCALED: Scaling = (0.0, 1.0)
"""For nets that take raw pixels, 0 to 255."""

# Names as in the modules of `nets`, and shapes of weights: convolutions (out, in, y, x), dense layers (out, in), slopes
# (channels,). All but slopes have a bias (out,) as well.
LAYERS: dict[str, dict[str, tuple[int, ...]]] = {
    "pnet": {
        "trunk.0": (10, 3, 3, 3), "trunk.1.prelu": (10,),
        "trunk.2": (16, 10, 3, 3), "trunk.3": (16,),
        "trunk.4": (32, 16, 3, 3), "trunk.5": (32,),
        "face": (2, 32, 1, 1), "offsets": (4, 32, 1, 1),
    },
    "rnet": {
        "trunk.0": (28, 3, 3, 3), "trunk.1.prelu": (28,),
        "trunk.2": (48, 28, 3, 3), "trunk.3.prelu": (48,),
        "trunk.4": (64, 48, 2, 2), "trunk.5": (64,),
        "trunk.7": (128, 576), "trunk.8": (128,),
        "face": (2, 128), "offsets": (4, 128),
    },
    "onet": {
        "trunk.0": (32, 3, 3, 3), "trunk.1.prelu": (32,),
        "trunk.2": (64, 32, 3, 3), "trunk.3.prelu": (64,),
        "trunk.4": (64, 64, 3, 3), "trunk.5.prelu": (64,),
        "trunk.6": (128, 64, 2, 2), "trunk.7": (128,),
        "trunk.9": (256, 1152), "trunk.11": (256,),
        "face": (2, 256), "offsets": (4, 256), "landmarks": (10, 256),
    },
}  # fmt: skip
LAYERS[SECOND] = {**LAYERS["onet"], "trunk.9": (256, 3200)}  # of crops of 64: a last map of 5 x 5 instead of 3 x 3


class Layer(NamedTuple):
    """A convolution or fully connected layer, with the PReLU that follows it.

    weight  (out, in, h, w) or (out, in).   bias  (out,).   slope  (out,), or None for a head, which has no PReLU.
    """

    weight: Array
    bias: Array
    slope: Array | None = None


def shapes(net: str) -> dict[str, tuple[int, ...]]:
    """Parameter name -> shape, in the order of the module's state_dict."""
    found: dict[str, tuple[int, ...]] = {}
    for name, shape in LAYERS[net].items():
        found[f"{name}.weight"] = shape
        if len(shape) > 1:
            found[f"{name}.bias"] = shape[:1]
    return found


LARGEST = 1e12
"""Larger than any trained weight, mean or variance; beyond it, a few products overflow and no face is found."""


def check_numbers(state: Mapping[str, Any]) -> None:
    """Raises ValueError, naming the parameter, unless every value of `state` is an array of usable numbers.

    NaN, infinity, numbers beyond LARGEST, negative variances, weights rounded to integers, and layers of zeros alone,
    as in a download that stopped, are rejected: a net with these finds nothing.
    """
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
            raise ValueError(f"holds {str(name)[:60]}, a {type(value).__name__}; expected arrays of numbers by name")
        if value.dtype.kind != "f" and not name.endswith("num_batches_tracked"):
            raise ValueError(f"holds {value.dtype} in {name[:60]}; expected floating-point weights")
        if value.size and not (abs(float(value.min())) <= LARGEST and abs(float(value.max())) <= LARGEST):
            raise ValueError(f"holds NaN, infinity or a number beyond {LARGEST:g} in {name[:60]}; expected weights")
        if value.ndim > 1 and value.size and not value.any():
            raise ValueError(f"holds zeros alone in {name[:60]}; expected weights")
        if name.endswith("running_var") and value.size and value.min() < 0:
            raise ValueError(f"holds a variance of {value.min():g} in {name[:60]}; expected none below 0")


@dataclass(frozen=True, eq=False)
class Weights:
    """A net of the cascade in evaluation mode, for RGB input as `nets.to_input` scales it.

    net      "pnet", "rnet", "onet", or "cnet", the net of ONet's second pass.
    state    parameter name -> numbers of any type; copied to float32.
    scoring  see `scoring.Scoring`.
    has_landmarks  False where no label has trained the landmarks, so that what the net says of them means nothing.

    Raises ValueError, listing the differences, if names or shapes are not those of the net.
    """

    net: str
    state: Mapping[str, Array]
    scoring: Scoring = field(default_factory=Scoring)
    has_landmarks: bool = True

    def __post_init__(self) -> None:
        wanted = shapes(self.net)
        faults = [f"Missing {name}" for name in wanted.keys() - self.state.keys()]
        faults += [f"Unexpected {name}" for name in self.state.keys() - wanted.keys()]
        for name in wanted.keys() & self.state.keys():
            if np.shape(self.state[name]) != wanted[name]:
                faults.append(f"size mismatch: {name} is {np.shape(self.state[name])}, expected {wanted[name]}")
        if faults:
            raise ValueError("; ".join(sorted(faults)))
        object.__setattr__(self, "state", {name: np.array(self.state[name], np.float32) for name in wanted})

    def trunk(self) -> list[Layer]:
        """Convolutions and the dense layer, in order, each with its PReLU slopes."""
        names = [name for name in LAYERS[self.net] if name.startswith("trunk.")]
        pairs = zip(names[::2], names[1::2], strict=True)
        return [self.layer(name)._replace(slope=self.state[f"{slope}.weight"]) for name, slope in pairs]

    def layer(self, name: str) -> Layer:
        """A layer by its name in LAYERS, without slopes."""
        return Layer(self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def turned(self) -> Weights:
        """The same net for the other colour order, RGB or BGR."""
        first = next(iter(self.state))  # (out, colour, y, x)
        return replace(self, state={**self.state, first: self.state[first][:, ::-1]})
