"""Runs a net that is data: a `graph.NetGraph` becomes tables of steps for an image of a given size, see `plan_layout`.

Most of a net runs row by row, in the cache, whatever the size of the image. The kernels are in `compiled_steps`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LibraryError
from ..weights import Scaling
from . import bf16 as halves
from .graph import NetGraph, OutputLevel
from .graph_later import SCORES
from .graph_logits import with_differences
from .plan_layout import PlanTables
from .plan_maps import Storage
from .plan_packing import packed
from .plan_rows import PlanRows, PlanScores
from .threads import aside_cost, threads

__all__ = ["PlannedNet"]

Array = NDArray[Any]

KEPT = 128 << 20  # maximum bytes of maps kept between images


class PlannedNet:
    """A net that runs by its plan; a `runtimes.Runtime`.

    graph     of the net.    state  its parameters by name, as arrays.
    scaling   of its input.  multiple  the sides of an image are multiples of this.
    bf16      whether convolutions multiply in bfloat16: for processors that have AMX, or bfloat16 in AVX-512.
    """

    has_landmarks = True  # whether the net has them, and they were trained
    padding: tuple[int, int, int] | None = None  # colour by which it pads images itself, if it does

    def __init__(
        self, graph: NetGraph, state: Mapping[str, Any], scaling: Scaling, multiple: int, bf16: bool = False
    ) -> None:
        self.multiple, self.bf16 = multiple, bf16
        graph, numbers = with_differences(graph, {key: np.asarray(value, np.float64) for key, value in state.items()})
        self.graph, self.places = graph, Storage(graph)
        self.packed = packed(graph, numbers, scaling, self.places, bf16)
        levels = [level for each in graph.outputs.values() for level in each if level.scale]
        self.scales = {level.scale: float(numbers[level.scale]) for level in levels if level.scale}
        self._local = threading.local()

    @property
    def engine(self) -> str:
        return "compiled code, by a plan" + (", in bfloat16" if self.bf16 else "")

    def __reduce__(self) -> Any:
        return PlannedNet.__new__, (PlannedNet,), {k: v for k, v in vars(self).items() if k != "_local"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state, _local=threading.local())

    def __call__(self, image: NDArray[np.uint8]) -> dict[str, Array]:
        """The outputs of the net, named arrays without a batch axis, for an image (H, W, 3); with `padding` its sides
        need not be multiples."""
        return {name: np.asarray(output) for name, output in self.sparse(image).items()}

    def sparse(self, image: NDArray[np.uint8]) -> dict[str, Array | PlanRows | PlanScores]:
        """As a call; but outputs are only computed, or copied, where somebody asks for their rows, until this thread
        runs the net again."""
        height, width = image.shape[:2]
        rows, columns = (-(-side // self.multiple) * self.multiple for side in (height, width))
        if not image.size or (self.padding is None and (rows, columns) != (height, width)):
            expected = f"sides that are multiples of {self.multiple}"
            raise ValueError(f"image is {width} x {height}; expected {expected}")
        layout = self._layout(rows, columns)
        layout.run(np.ascontiguousarray(image), self.padding or (0, 0, 0))
        return {name: self._output(name, levels, layout) for name, levels in self.graph.outputs.items()}

    def _layout(self, height: int, width: int) -> PlanTables:
        """One of two per thread, the latest first: a detector alternates between an image and a smaller copy of it."""
        recent: list[PlanTables] = getattr(self._local, "layouts", [])
        if self.bf16 and (reason := halves.why_not()):  # each process asks for it
            raise LibraryError(f"precision is 'bf16' and {reason}; expected 'float32'")
        wanted = (height, width, threads(), aside_cost())
        if recent and recent[0].key == wanted and recent[0].bytes <= KEPT:
            return recent[0]
        found = next((each for each in recent if each.key == wanted), None)
        if found is None:
            self._local.layouts = recent = recent[:1]  # free memory first
            found = PlanTables(self.graph.nodes, self.places, self.packed, *wanted)
        kept = [found, *(each for each in recent if each is not found)][:2]
        while sum(each.bytes for each in kept) > KEPT:
            kept.pop()
        self._local.layouts = kept
        return found

    def _output(self, name: str, levels: Sequence[OutputLevel], layout: PlanTables) -> Array | PlanRows | PlanScores:
        flat = name in self.graph.flat
        found = layout.output(name, levels, flat or name.endswith(SCORES), flat, self.scales)
        if found is not None:
            return found
        tables = [self._level(level, [layout.cells(part) for part in level.parts]) for level in levels]
        table = np.concatenate(tables)
        return table[:, 0] if flat else table

    def _level(self, level: OutputLevel, parts: Sequence[Array]) -> Array:
        values = np.concatenate(parts, axis=2).reshape(-1, level.values)
        if level.difference:
            values = values[:, 1:] - values[:, :1]
        return values if level.scale is None else values * np.float32(self.scales[level.scale])
