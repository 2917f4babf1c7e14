"""A net as data: what `runtimes.tracing` makes of a module, and `plan` runs.

Values are maps (rows, columns, channels). Each node makes one; `Channels` is a range of its channels, and a list of
these a concatenation. The image is node 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Channels", "Convolution", "NetGraph", "OutputLevel", "PlanNode"]


@dataclass(frozen=True)
class Channels:
    """Channels `first` to `first + count` of the map that a node makes."""

    node: int
    first: int
    count: int


@dataclass(frozen=True)
class Convolution:
    """Names of parameters, and the batch norm and activation behind it.

    norm     name of the batch norm, and its epsilon.
    slope    of LeakyReLU; 0 for ReLU, None for no activation.
    """

    weight: str
    bias: str | None
    channels: int
    norm: str | None = None
    epsilon: float = 0.0
    slope: float | None = None


@dataclass(frozen=True)
class PlanNode:
    """A step: "image", "conv", "depthwise", "pool", "add" or "norm".

    inputs        one list of parts; two for "add".
    channels      of the map it makes.
    convolutions  of the same input, side by side.      kernel, stride, padding, dilation  of all of them.
    twice         "add": the second input has half of the rows and columns.
    groups        "norm": of group norm, whose parameters are those of the one convolution, epsilon included.
    slope         "add", "norm": 0 for ReLU, else None.
    """

    kind: str
    inputs: tuple[tuple[Channels, ...], ...]
    channels: int
    convolutions: tuple[Convolution, ...] = ()
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    twice: bool = False
    groups: int = 0
    slope: float | None = None


@dataclass(frozen=True)
class OutputLevel:
    """An output of one map: its channels as rows of `values`, cell by cell.

    difference  the second of two values minus the first.    scale  name of a number that multiplies them.
    """

    parts: tuple[Channels, ...]
    values: int
    difference: bool = False
    scale: str | None = None


@dataclass(frozen=True)
class NetGraph:
    """All nodes, in order; for each output its levels, concatenated, and whether a last axis of one is dropped."""

    nodes: tuple[PlanNode, ...]
    outputs: Mapping[str, tuple[OutputLevel, ...]]
    flat: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> NetGraph:
        """The inverse of `to_json`."""
        nodes = tuple(
            PlanNode(**{
                **each,
                "inputs": tuple(map(_parts, each["inputs"])),
                "convolutions": tuple(Convolution(**one) for one in each["convolutions"]),
            })
            for each in values["nodes"]
        )  # fmt: skip
        outputs = {
            name: tuple(OutputLevel(**{**level, "parts": _parts(level["parts"])}) for level in levels)
            for name, levels in values["outputs"].items()
        }
        return cls(nodes, outputs, tuple(values["flat"]))


def _parts(values: Sequence[Mapping[str, Any]]) -> tuple[Channels, ...]:
    return tuple(Channels(**each) for each in values)
