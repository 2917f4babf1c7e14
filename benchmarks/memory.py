"""Peak memory and wall time of a command with all processes that it starts. Linux only.

    python benchmarks/memory.py [--every 0.2] [--name TEXT] -- mtcnn prepare --net 12 --work work

Memory is the sum of PSS over the processes (/proc/<pid>/smaps_rollup): a page that several of them share, such as the
code of torch or a page of the crop store, counts once in all. The part that no file backs is given beside it, for the
rest is cache that the kernel takes back when it needs room. Peaks between two samples are missed, so sample often.

Prints a markdown row; what the command prints goes to stderr. Exits with the command's status.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Sample(NamedTuple):
    """Kilobytes of a process or of several: the proportional set size, and its anonymous part."""

    pss: int = 0
    anonymous: int = 0


def family(pid: int) -> Iterator[int]:
    """`pid`, the processes that it started, and theirs. One that ends meanwhile is left out."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = path.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from family(int(child))


def memory(pid: int) -> Sample:
    """What one process holds now; nothing when it has ended."""
    try:
        rows = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
        sizes = {row[0]: int(row[1]) for row in rows}
    except OSError:
        return Sample()
    return Sample(sizes["Pss:"], sizes["Pss_Anon:"])


def watch(command: list[str], every: float) -> tuple[int, float, Sample, int]:
    """Run `command`: exit status, seconds, the largest sums over its processes, and the number of samples."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=sys.stderr)
    peak, samples = Sample(), 0
    while process.poll() is None:
        found = [memory(pid) for pid in family(process.pid)]
        peak = Sample(*(max(old, sum(new)) for old, new in zip(peak, zip(*found, strict=True), strict=True)))
        samples += 1
        time.sleep(every)
    return process.returncode, time.perf_counter() - began, peak, samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=float, default=0.2, help="seconds between two samples")
    parser.add_argument("--name", help="what the row calls the command; default: the command itself")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="after --")
    given = parser.parse_args()
    command = given.command[1:] if given.command[:1] == ["--"] else given.command
    if not command:
        parser.error("no command; name it after --")
    status, seconds, peak, samples = watch(command, given.every)
    print(f"{platform.machine()}, {os.cpu_count()} cores, {samples} samples\n", file=sys.stderr)
    print("| command | wall time | peak memory (PSS) | of it in no file |\n|---|---|---|---|")
    name = given.name or f"`{shlex.join(command)}`"
    print(f"| {name} | {seconds:.1f} s | {peak.pss / 1024:.0f} MiB | {peak.anonymous / 1024:.0f} MiB |")
    if status:
        print(f"the command failed with status {status}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
