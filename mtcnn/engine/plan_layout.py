"""The maps and tables of a plan for images of one size.

A map that one step reads is a ring of the few rows which that step needs; only maps that several read are stored whole.
A table has the steps of whole maps, and of the rings above them: `compiled_steps.run_steps` runs it. One thread has a
table for all maps, several have one for each map and each thread.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import steps as at
from .graph import Channels, OutputLevel, PlanNode
from .kernel_cache import kernel
from .packing import FLOAT_BYTES, scratch
from .plan_goals import MAP, MOMENTS, Goal, goals
from .plan_maps import LINE, Storage, StoredMap, map_sizes
from .plan_matrix import fill, rooms, tile_shapes
from .plan_norm import GroupNorm
from .plan_packing import PackedGraph
from .plan_pooling import pooled_nodes
from .plan_rows import LevelTable, PlanRows, PlanScores
from .registers import padded
from .threads import spread

FEWEST = 8  # rows of a part
SLOW = 4  # a multiplication in depthwise convolutions takes as long as so many in others

__all__ = ["PlanTables"]

Array = NDArray[Any]


class StepTable(NamedTuple):
    """A table of steps, and its address; the step that reads the image, and the map that it makes, or None."""

    table: Array
    address: int
    image: Array | None
    pixels: StoredMap | None


class PlanTables:
    """Maps and tables for images of one size, for a number of threads.

    stages  of tables, one for each thread.
    aside   cost of what the last thread does first (`threads.Aside`): it has fewer rows of the first stage.
    """

    def __init__(
        self,
        nodes: Sequence[PlanNode],
        places: Storage,
        packed: PackedGraph,
        height: int,
        width: int,
        parts: int,
        aside: float = 0.0,
    ) -> None:
        self.key = (height, width, parts, aside)
        self.nodes, self.places, self.packed = nodes, places, packed
        self.sizes = map_sizes(self.nodes, height, width)
        self.pooled = pooled_nodes(self.nodes, places, self.sizes)
        self.memory: list[Array] = []
        self.shapes: dict[int, Array] = {}
        self.zeros = self._zeros()
        self.maps: dict[int, StoredMap] = {}
        for buffer in sorted({*self.places.buffer}):
            if self.places.whole[buffer]:
                self.maps[buffer] = self._new_map(buffer, self.sizes[buffer][0])
        self.norms: dict[int, GroupNorm] = {}
        every = goals(self.nodes, places)
        self.stages = [self._tables([goal], parts) for goal in every] if parts > 1 else [self._tables(every, 1)]
        if parts > 1 and aside:
            work = [self._work(goal) for goal in every]
            self.stages[0] = self._tables(every[:1], parts, aside * sum(work) / work[0])
        self.bytes = sum(each.nbytes for each in self.memory)
        self.outputs: dict[str, PlanRows | PlanScores | None] = {}
        self.seen: Any = None

    def run(self, image: NDArray[np.uint8], padding: tuple[int, int, int] = (0, 0, 0)) -> None:
        """Compute all whole maps. padding  the colour of what a smaller image lacks at the right and bottom."""
        call, address = kernel("run_steps"), image.ctypes.data
        if (image.shape, padding) != self.seen:
            self._place_image(image.shape, padding)
        for tables in self.stages:
            for each in tables:
                if each.image is not None:
                    each.image[at.SOURCE + at.BASE] = address
            spread(lambda each: call(each.address), tables)

    def _place_image(self, shape: tuple[int, ...], padding: tuple[int, int, int]) -> None:
        """Prepare for images of one shape: rows of pixels are read from them, and others from a row of the padding;
        columns beyond are never written again."""
        (height, width), self.seen = shape[:2], (shape, padding)
        self.line = np.resize(np.array(padding, np.uint8), 3 * self.key[1])
        for step, pixels in ((each.image, each.pixels) for tables in self.stages for each in tables):
            if step is not None and pixels is not None:
                source = step[at.SOURCE :]
                source[at.ROW], source[at.HEIGHT], source[at.PADDING] = 3 * width, height, self.line.ctypes.data
                step[at.ARGUMENTS + at.COLUMNS] = 3 * width
                cells = pixels.data[:, 3 * pixels.padding : 3 * (pixels.padding + pixels.columns)]
                cells[:, 3 * width :] = self.line[3 * width :]

    def cells(self, part: Channels) -> Array:
        """The values of a part of a whole map: (rows, columns, channels)."""
        found = self.maps[self.places.buffer[part.node]]
        inner = found.data[:, : (found.columns + 2 * found.padding) * found.channels]
        inner = inner.reshape(found.ring, -1, found.channels)[:, found.padding :][:, : found.columns]
        first = self.places.first(part)
        return inner[:, :, first : first + part.count]

    def count(self, level: OutputLevel) -> int:
        """Number of the rows of a level."""
        rows, columns = self.sizes[level.parts[0].node]
        return rows * columns * sum(part.count for part in level.parts) // level.values

    def output(
        self, name: str, levels: Sequence[OutputLevel], scores: bool, flat: bool, scales: Mapping[str, float]
    ) -> PlanRows | PlanScores | None:
        """An output that reads the maps, until the next run; None for one that does not lie in them as it is.

        scores  whether it is wanted everywhere.    flat  whether a last axis of one is dropped.
        scales  numbers by which levels are multiplied.
        """
        if name not in self.outputs:
            found: PlanRows | PlanScores | None = None
            if all(len(level.parts) == 1 for level in levels):
                if not scores:
                    found = self._rows(levels, scales)
                elif all(level.values == 1 and level.scale is None for level in levels):
                    found = PlanScores([self.cells(level.parts[0]) for level in levels], flat)
            self.outputs[name] = found
        return self.outputs[name]

    def _rows(self, levels: Sequence[OutputLevel], scales: Mapping[str, float]) -> PlanRows:
        tables = [
            LevelTable(self._pick(level), self.count(level), 1.0 if level.scale is None else scales[level.scale])
            for level in levels
        ]
        return PlanRows(tables, levels[0].values, levels[0].difference, self.memory)

    def _pick(self, level: OutputLevel) -> Array:
        """The table of a level of one part."""
        (part,) = level.parts
        if part.node in self.places.later:
            table = self._head(self.places.later[part.node])
        else:
            found, table = self.maps[self.places.buffer[part.node]], np.zeros(at.HEADER, np.int64)
            table[at.MADE] = found.first(self.places.first(part))
            table[at.MADE_ROW], table[at.MADE_CELL] = FLOAT_BYTES * found.row, FLOAT_BYTES * found.channels
        table[at.WIDTH], table[at.PER_CELL] = self.sizes[part.node][1], part.count // level.values
        return table

    # ---- memory

    def _room(self, floats: int) -> Array:
        """Zeros that begin at a cache line."""
        room = np.zeros(floats + LINE, np.float32)
        self.memory.append(room)
        return room[-room.ctypes.data // FLOAT_BYTES % LINE :][:floats]

    def _zeros(self) -> int:
        widest = max(
            (columns + columns % 2 + 2 * self.places.padding[buffer]) * self.places.channels[buffer]
            for buffer, (_, columns) in zip(self.places.buffer, self.sizes, strict=True)
        )
        return int(self._room(widest).ctypes.data)

    def _new_map(self, buffer: int, ring: int) -> StoredMap:
        rows, columns = self.sizes[buffer]
        made = StoredMap(rows, columns, self.places.channels[buffer], self.places.padding[buffer], ring)
        made.place(self._room(made.floats), self.packed.colour if buffer == 0 else None)
        return made

    # ---- tables

    def _tables(self, some: Sequence[Goal], parts: int, less: float = 0.0) -> list[StepTable]:
        """The tables of some goals, for each thread. less  work of all parts that the last one lacks, as a share."""
        rows = self.sizes[some[0].node][0]
        parts = min(parts, max(rows // FEWEST, 1)) if some[0].kind == MAP else 1
        share = min((1 + less) / parts, 1 / max(parts - 1, 1))
        cuts = [*(int(rows * share * part) // 2 * 2 for part in range(parts)), rows]
        return [self._table(some, first, last) for first, last in itertools.pairwise(cuts) if first < last]

    def _work(self, goal: Goal) -> float:
        """Multiplications of a goal, those of depthwise convolutions by SLOW."""
        if goal.kind != MAP:
            return 0.0
        found = 0.0
        for number in self._chain(goal.node):
            node, (rows, columns) = self._reader(number), self.sizes[number]
            inputs = SLOW if node.kind == "depthwise" else sum(part.count for parts in node.inputs for part in parts)
            found += rows * columns * node.channels * node.kernel**2 * inputs
        return found

    def _head(self, chain: Sequence[int]) -> Array:
        """The table that computes single cells of a head."""
        table = np.zeros(at.HEADER + len(chain) * at.STEP, np.int64)
        table[at.COUNT] = len(chain)
        steps = table[at.HEADER :].reshape(-1, at.STEP)
        made = {}
        for number in chain:
            made[number] = room = StoredMap(1, at.MOST_CELLS, self.nodes[number].channels, 0, 1)
            room.place(self._room(room.floats), None)
        index = {Goal(MAP, number): place for place, number in enumerate(chain)}
        for step, number in zip(steps, chain, strict=True):
            self._fill(step, number, index, made)
        self._scratch(steps, chain)
        source = self.nodes[chain[0]].inputs[0][0].node
        table[at.CELL] = FLOAT_BYTES * self.places.channels[self.places.buffer[source]]
        table[at.MADE], table[at.MADE_CELL] = room.address, FLOAT_BYTES * room.channels
        return table

    def _chain(self, goal: int) -> list[int]:
        """The node of a whole map, and before it those of the rings that it needs."""
        sources = [parts[0].node for parts in self._reader(goal).inputs]
        rings = [source for source in sources if not self.places.whole[self.places.buffer[source]]]
        return [*itertools.chain(*map(self._chain, rings)), goal]

    def _table(self, some: Sequence[Goal], first: int, last: int) -> StepTable:
        """The table of some goals; of one alone it may compute a part of the rows."""
        found: list[Goal] = []
        for goal in some:
            found += [Goal(MAP, each) for each in self._chain(goal.node)] if goal.kind == MAP else [goal]
        index = {each: place for place, each in enumerate(found)}
        count, image, pixels = len(found), None, None
        table = np.zeros(at.HEADER + count * at.STEP + count + 1 + len(some), np.int64)
        table[at.COUNT], table[at.MANY] = count, len(some)
        table[-len(some) :] = [index[goal] for goal in some]
        steps = table[at.HEADER : at.HEADER + count * at.STEP].reshape(count, at.STEP)
        chain = [each.node for each in found if each.kind == MAP]
        rings = {each: self._ring(each, chain) for each in chain if Goal(MAP, each) not in some}
        for step, each in zip(steps, found, strict=True):
            if each.kind != MAP:
                self._norm(step, each)
                continue
            self._fill(step, each.node, index, rings)
            if each.node == 0:
                image, pixels = step, rings.get(0) or self.maps[self.places.buffer[0]]
        self._scratch(steps, chain)
        for goal in some:
            step = steps[index[goal]]
            step[at.LAST] = last if len(some) == 1 else step[at.ROWS]
        if len(some) == 1:
            self._start(steps, first)
        return StepTable(table, table.ctypes.data, image, pixels)

    def _ring(self, number: int, chain: Sequence[int]) -> StoredMap:
        """A ring for the map of a node, with the rows that its reader needs at once, and one that is made too early."""
        reader = next(each for each in chain if any(p.node == number for q in self._reader(each).inputs for p in q))
        wanted = (self._rows_at_once(reader) - 1) * self._reader(reader).dilation + 1 + self.packed.of[number].pairs
        return self._new_map(number, min(wanted, self.sizes[number][0]))

    def _rows_at_once(self, number: int) -> int:
        """Rows of its source that a call of the kernel of a node reads."""
        node = self._reader(number)
        return node.kernel + node.stride * (number in self.pooled or self.packed.of[number].pairs)

    def _reader(self, number: int) -> PlanNode:
        """The node that reads the sources of a node: itself, or the one that is pooled."""
        return self.nodes[self.pooled.get(number, number)]

    def _fill(self, step: Array, number: int, index: Mapping[Goal, int], rings: Mapping[int, StoredMap]) -> None:
        """Write the step of a node."""
        node, (rows, columns), pooled = self._reader(number), self.sizes[number], number in self.pooled
        buffer = self.places.buffer[number]
        target = rings[number] if number in rings else self.maps[buffer]
        step[at.ROWS], step[at.SOURCES] = rows, max(len(node.inputs), 1)
        step[at.TARGET], step[at.TARGET_ROW] = target.first(self.places.offset[number]), FLOAT_BYTES * target.row
        step[at.TARGET_RING], step[at.MORE] = target.ring, self.packed.of[number].pairs
        values = step[at.ARGUMENTS :]
        values[at.COLUMNS] = (1 + pooled) * columns
        if number == 0:
            step[at.KERNEL] = kernel("pixels").address  # type: ignore[attr-defined]
            values[at.COLUMNS] = 3 * columns
            self._source(step, 0, [-1, 0, 3 * columns, rows, rows, 1, 0, 1, 1, 0, 0])
            return
        sources = []
        for place, parts in enumerate(node.inputs):
            source = rings.get(parts[0].node) or self.maps[self.places.buffer[parts[0].node]]
            sources.append(source)
            first = min(map(self.places.first, parts))
            left = node.padding * source.channels * FLOAT_BYTES
            beyond = 0 if node.kind == "pool" else self._colour() if parts[0].node == 0 else self.zeros
            maker = index[Goal(MAP, parts[0].node)] if parts[0].node in rings else -1
            self._source(step, place, [
                maker, source.first(first) - left, FLOAT_BYTES * source.row, source.ring, source.rows,
                node.stride * (1 + pooled), node.padding, self._rows_at_once(number), node.dilation,
                int(node.twice and place == 1), beyond])  # fmt: skip
        self._kernel(step, number, sources, target)

    def _norm(self, step: Array, goal: Goal) -> None:
        """Write a step of a group norm."""
        if goal.kind != MOMENTS:
            self.norms[goal.node].fill_factors(step)
            return
        parts, weights = self.nodes[goal.node].inputs[0], self.packed.of[goal.node].weights
        assert weights is not None
        source, first = self.maps[self.places.buffer[parts[0].node]], min(map(self.places.first, parts))
        norm = self.norms[goal.node] = GroupNorm(self.nodes[goal.node], source, weights.arrays[0], weights.arrays[1])
        norm.fill_moments(step)
        self._source(step, 0, [-1, source.first(first), FLOAT_BYTES * source.row, source.ring, source.rows,
                               1, 0, 1, 1, 0, self.zeros])  # fmt: skip

    def _source(self, step: Array, place: int, values: Sequence[int]) -> None:
        first = at.SOURCE + place * at.SOURCE_SIZE
        step[first : first + at.SOURCE_SIZE] = values

    def _colour(self) -> int:
        """Address of a row with the colour of the padding of images."""
        if not hasattr(self, "colour"):
            self.colour = self._new_map(0, 1)
        return self.colour.address

    def _kernel(self, step: Array, number: int, sources: Sequence[StoredMap], target: StoredMap) -> None:
        node, packing = self._reader(number), self.packed.of[self.pooled.get(number, number)]
        values, one = step[at.ARGUMENTS :], sources[0]
        if number in self.pooled:
            call = kernel("depthwise_pool", node.channels, one.channels, target.channels, packing.mode)
        else:
            call = kernel(*packing.kernel(node, one.channels, sources[-1].channels, target.channels))
        step[at.KERNEL] = call.address  # type: ignore[attr-defined]
        if node.kind == "norm":
            values[at.WEIGHTS] = self.norms[number].factors.ctypes.data
        elif packing.weights is not None:
            values[at.WEIGHTS : at.SLOPE + 1] = packing.weights.each
        if packing.matrix is not None:
            shapes = self._shapes_of(packing.matrix.pairs)
            fill(values, node, packing.matrix, shapes, (one.channels, target.channels), packing.inputs)
        elif node.kind == "conv" and not packing.pairs:
            together = (
                node.dilation == 1 and packing.inputs == one.channels and not packing.taps
            )  # the taps of a row are neighbours
            values[at.KERNEL_ROWS : at.RUN + 1] = (
                node.kernel, 1 if together else node.kernel, node.dilation * one.channels,
                packing.inputs * (node.kernel if together else 1))  # fmt: skip
        values[at.WIDE] = one.columns

    def _shapes_of(self, pairs: int) -> int:
        """Address of the shapes of tiles, see `plan_matrix`."""
        if pairs not in self.shapes:
            self.shapes[pairs] = self._room(LINE)
            self.shapes[pairs][:] = tile_shapes(pairs).view(np.float32)
        return int(self.shapes[pairs].ctypes.data)

    def _scratch(self, steps: Array, chain: Sequence[int]) -> None:
        """Give scratch memory to the steps of a table, one of which runs at a time."""
        wanted = max((self._scratch_of(number) for number in chain), default=0)
        if wanted:
            room = steps[:, at.ARGUMENTS + at.ROOM]
            room[room == 0] = self._room(wanted).ctypes.data  # others have their own

    def _scratch_of(self, number: int) -> int:
        """Floats of scratch memory of a node's kernel."""
        node, packing = self.nodes[number], self.packed.of[number]
        if packing.matrix is not None:
            return rooms(node, packing.matrix)[1] // FLOAT_BYTES
        return scratch(packing.inputs, padded(node.channels)) if node.kind == "conv" and packing.pairs else 0

    def _start(self, steps: Array, first: int) -> None:
        """The first row of each step, where the goal begins at row `first`."""
        steps[:, at.START] = steps[:, at.ROWS]
        steps[-1, at.START] = first
        for step in steps[::-1]:
            for place in range(int(step[at.SOURCES])):
                source = step[at.SOURCE + place * at.SOURCE_SIZE :]
                if source[at.MAKER] >= 0:
                    wanted = int(step[at.START] * source[at.STRIDE] - source[at.TOP]) >> int(source[at.SHIFT])
                    maker = steps[source[at.MAKER]]
                    wanted -= wanted % (1 + int(maker[at.MORE]))
                    maker[at.START] = min(int(maker[at.START]), max(wanted, 0))
