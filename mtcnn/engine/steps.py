"""The table by which plans are executed: what `plan` writes and `compiled_steps` reads, in int64.

A table has a header, STEP numbers for each step, a stack, and the numbers of its goals. Each step computes one row of
its map per call, from rows of one or two sources. Goals are steps whose maps are stored whole; the rows of others are
computed when the step that reads them needs them. Nothing here needs Numba.
"""

from __future__ import annotations

__all__: list[str] = []

LINEAR, RELU, SLOPES = 0, 1, 2  # activations; SLOPES has one slope per channel

# Header: number of steps, and of goals. For single cells then follow the predictions of a cell; the columns of the map,
# and bytes from a cell of it to the next; and address, bytes of a row, and of a cell, of the map that the values are
# in, which is one of the net's, or a part of a row that the last step makes.
(COUNT, MANY, PER_CELL, WIDTH, CELL, MADE, MADE_ROW, MADE_CELL, HEADER) = range(9)

# A level of scores in a map: the address of the first; bytes from a row to the next, floats from a cell to the next;
# rows and columns; scores of a cell.
LEVEL_FIRST, LEVEL_ROW, LEVEL_CELL, LEVEL_ROWS, LEVEL_COLUMNS, LEVEL_EACH, LEVEL = range(7)

# A step: address of its kernel; rows of its map; number of sources; address, bytes of a row, and rows in memory of its
# map; next row, and the first one; rows that a call computes beyond the first, 0 or 1: rows of such steps go in pairs;
# of a goal the row at which it ends, else 0.
KERNEL, ROWS, SOURCES, TARGET, TARGET_ROW, TARGET_RING, NEXT, START, MORE, LAST, SOURCE = range(11)

# A source: the step that makes it, or -1; address of the kernel's first column; bytes of a row; rows in memory, rows of
# the map. Row i of the target needs `FEW` rows, DILATION apart, from i * STRIDE - TOP on, all shifted right by SHIFT.
# PADDING is the address of a row beyond the map; 0 repeats the last row.
MAKER, BASE, ROW, RING, HEIGHT, STRIDE, TOP, FEW, DILATION, SHIFT, PADDING, SOURCE_SIZE = range(12)

ARGUMENTS = SOURCE + 2 * SOURCE_SIZE  # of the kernel, in the step

# A kernel's arguments: addresses of rows of the sources, in order; addresses of the target's row and, if the kernel
# computes two, of the row below, which is the same behind the last; and values.
MOST_ROWS = 8  # of the sources
TO, BELOW, COLUMNS, WEIGHTS, BIAS, SLOPE, KERNEL_ROWS, TAPS, TAP, RUN, WIDE, SIZE = range(MOST_ROWS, MOST_ROWS + 12)
MOST_CELLS = 32  # in a row, that are computed together: the room between the steps of `compiled_rows.pick`

# Of a convolution in bfloat16, beyond those: addresses of the shapes of its tiles, and of scratch memory, which one by
# Winograd's tiles has, too; floats from a cell
# of the input to the next, and of the output; channels of both; columns of the input from a cell to the next, and those
# that the kernel reaches beyond a cell's first; bytes of a rounded cell, of a rounded row, of a part of a product. RUN
# is the number of parts, and TAP is in bytes.
_OTHERS = SIZE
(SHAPES, ROOM, IN_STEP, OUT_STEP, INPUTS, OUTPUTS, EACH, REACH, CELL_BYTES, ROW_BYTES, PART, SIZE) = range(
    _OTHERS, _OTHERS + 12
)

STEP = ARGUMENTS + SIZE
