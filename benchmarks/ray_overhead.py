"""What Ray costs beside processes: CPU time of cutting crops and of mining, with the same number of workers.

    python benchmarks/ray_overhead.py --data wider:labels.txt:images --to FOLDER

CPU time is that of this process and all below it, Ray's own ones included, since wall time says little on a machine
that other work shares. Photos are split into blocks that alternate between the two; Ray's workers stay from block to
block, processes start anew. The stores must be equal to the byte.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import os
import threading
import time
from pathlib import Path

from mtcnn.checkpoint import packaged_weights
from mtcnn.workers import cluster_workers, local_workers
from prepare.build import CropMaker, build
from prepare.sources import read_sources
from stages.crops.recipe import Recipe
from stages.recipes import load_recipe

TICK = 0.25  # seconds between looks at the processes
SUBREAPER = 36  # of prctl: orphans, as Ray's daemons become, stay below this process


def processes() -> dict[int, tuple[int, float]]:
    """Parent and CPU seconds of every process."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            found[int(folder.name)] = int(words[1]), (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return found


class Clock:
    """CPU seconds of this process and of all that were below it."""

    def __init__(self) -> None:
        self.seconds: dict[int, float] = {}
        self.lock = threading.Lock()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self.read()
            time.sleep(TICK)

    def read(self) -> tuple[float, float]:
        """Of this process, and of the others."""
        with self.lock:
            found, mine = processes(), os.getpid()
            for number in found:
                above = number
                while above in found and above != mine:
                    above = found[above][0]
                if above == mine:
                    self.seconds[number] = max(found[number][1], self.seconds.get(number, 0.0))
            own = self.seconds[mine]
            return own, sum(self.seconds.values()) - own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--jobs", nargs="+", choices=["cut", "mine"], default=["cut", "mine"])
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--photos", type=int, default=0, help="only so many, evenly")
    given = parser.parse_args()
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    records = read_sources([given.data], quiet=True)
    if given.photos:
        records = records[:: -(-len(records) // given.photos)]
    clock, ray = Clock(), cluster_workers("local", given.workers)
    began, before = time.monotonic(), sum(clock.read())
    ray._connected()  # type: ignore[attr-defined]  # its start is no cost of a photo
    print(f"start of Ray: {time.monotonic() - began:.0f} s, {sum(clock.read()) - before:.1f} s of CPU", flush=True)
    given.to.mkdir(parents=True, exist_ok=True)
    for job in given.jobs:
        recipe = load_recipe(Recipe, packaged_weights(), "pnet" if job == "cut" else "rnet")
        nets = () if job == "cut" else ("pnet",)
        make = CropMaker(12 if job == "cut" else 24, recipe.seed, recipe.bands, recipe.crops, job == "cut",
                         recipe.mine if nets else None, nets, packaged_weights())  # fmt: skip
        total = {"processes": [0.0, 0.0, 0.0], "ray": [0.0, 0.0, 0.0]}
        for block in range(given.blocks):
            part, digests = records[block :: given.blocks], set()
            order = ["processes", "ray"] if block % 2 == 0 else ["ray", "processes"]
            for name in order:
                path = given.to / f"{job}-{block}-{name}.lmdb"
                workers = ray if name == "ray" else local_workers(given.workers)
                began, (own, others) = time.monotonic(), clock.read()
                build(part, make, path, "ray-overhead", workers, quiet=True)
                now = clock.read()
                for i, value in enumerate((now[0] - own, now[1] - others, time.monotonic() - began)):
                    total[name][i] += value
                files = [path] if path.is_file() else sorted(path.rglob("*.mdb"))
                files = [file for file in files if "lock" not in file.name]
                digests.add(hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest())
                print(job, block, name, [round(value, 1) for value in total[name]], flush=True)
                for file in files:
                    file.unlink()
            print("equal to the byte" if len(digests) == 1 else "DIFFERENT", flush=True)
        ratio = sum(total["ray"][:2]) / sum(total["processes"][:2])
        for name, (own, others, wall) in total.items():
            print(f"{job} {name}: {others:.1f} s + {own:.1f} s of the driver; {wall:.0f} s of wall time")
        print(f"{job}: Ray takes {100 * (ratio - 1):+.0f} % of CPU time", flush=True)


if __name__ == "__main__":
    main()
