"""Checks that killed runs resume to equal results: SIGKILL at random times, then the same command until done.

    python benchmarks/kill_resume.py [--rounds 20] [--only TEXT] [--seed 0] [--folder FOLDER]

For each of four kinds of work on drawn faces (sampling crops, mining, training in one process, training in two) an
unbroken run is made first. A round is a fresh work folder, one to three kills, each at a random moment between the
first thing that the command writes and its usual end, of the whole process group or of the main process alone; then
the same command is left to finish. Its crops or weights must be those of the unbroken run to the last bit, the log must
hold every epoch once, and processes that lost their parent must end by themselves. Exits with 1 if any round differs.

Prints a markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from factories import environment, write_recipes  # noqa: E402
from processes import descendants, is_alive  # noqa: E402

from mtcnn.checkpoint import read  # noqa: E402
from prepare.store import CropStore  # noqa: E402

ORPHANS_END_WITHIN = 60.0  # seconds; a worker may be in the middle of its start
# Long enough that a kill has something to interrupt.
LONGER = {12: ("epochs = 2\nsteps = 20", "epochs = 8\nsteps = 30")}


class Work(NamedTuple):
    """A command line of mtcnn, what it makes, and the file whose appearance says that it is under way."""

    name: str
    command: Sequence[str]
    needs: Sequence[str]
    makes: str
    begins: str


DATA = ("--data", "synthetic:250")
SAMPLE, MINE, PNET = (
    ("prepare", "--net", "12", *DATA),
    ("prepare", "--net", "24", *DATA),
    ("train", "--net", "12", *DATA),
)
WEIGHTS, LOG = "models-12/weights-pnet.safetensors", "models-12/metrics-pnet.jsonl"
WORKS = (
    Work("prepare --net 12", SAMPLE, (), "crops-12.lmdb", "crops-12.lmdb/data.mdb"),
    Work("prepare --net 24 (mining)", MINE, PNET, "crops-24.lmdb", "crops-24.lmdb/data.mdb"),
    Work("train --net 12", PNET, SAMPLE, WEIGHTS, LOG),
    Work("train --net 12 --processes 2", (*PNET, "--processes", "2"), SAMPLE, WEIGHTS, LOG),
)


def start(command: Sequence[str], work: Path) -> subprocess.Popen[bytes]:
    """The command in a process group of its own, silent but for errors."""
    words = [sys.executable, "-m", "mtcnn", *command, "--work", str(work), "--quiet"]
    return subprocess.Popen(words, env=environment(), stdout=subprocess.DEVNULL, start_new_session=True)


def finish(command: Sequence[str], work: Path) -> None:
    if start(command, work).wait() != 0:
        sys.exit(f"`mtcnn {' '.join(command)}` failed in {work}")


def unbroken(job: Work, base: Path, work: Path) -> tuple[float, float]:
    """Make `base`, all that the command needs, and `work`, where it ran undisturbed.

    Returns the seconds after which it was under way, and those after which it was done.
    """
    write_recipes(base, LONGER)
    if job.needs:
        finish(job.needs, base)
    shutil.copytree(base, work)
    began, first = time.perf_counter(), 0.0
    process = start(job.command, work)
    while process.poll() is None:
        if not first and (work / job.begins).exists():
            first = time.perf_counter() - began
        time.sleep(0.005)
    assert process.returncode == 0
    return first, time.perf_counter() - began


def killed(job: Work, work: Path, after: float, whole_group: bool) -> bool:
    """Start the command and kill it `after` seconds. False when it was done before, or left processes behind."""
    process = start(job.command, work)
    try:
        process.wait(after)
        return False
    except subprocess.TimeoutExpired:
        pass
    others = list(descendants(process.pid))
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    end = time.monotonic() + ORPHANS_END_WITHIN
    while any(map(is_alive, others)):
        if time.monotonic() > end:
            os.killpg(process.pid, signal.SIGKILL)
            sys.exit(f"`mtcnn {' '.join(job.command)}` was killed, and a process of it lives on")
        time.sleep(0.01)
    return True


def same(job: Work, work: Path, expected: Path) -> bool:
    """Whether both folders hold the same crops, or the same weights and a log of the same epochs."""
    if job.makes.endswith(".lmdb"):
        return CropStore(work / job.makes).digest() == CropStore(expected / job.makes).digest()
    one, two = (read(folder / job.makes).tensors() for folder in (work, expected))
    logs = [
        [json.loads(line)["epoch"] for line in (folder / LOG).read_text().splitlines()] for folder in (work, expected)
    ]
    return logs[0] == logs[1] and all(torch.equal(value, two[name]) for name, value in one.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="of each kind of work")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="only kinds of work whose name holds this text")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    given = parser.parse_args()
    chance, failed = random.Random(given.seed), 0
    print("| work | seconds unbroken | kills | of the main process alone | equal |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for number, job in enumerate(work for work in WORKS if given.only in work.name):
            base, expected, work = (Path(folder) / f"{number}-{name}" for name in ("base", "expected", "work"))
            first, seconds = unbroken(job, base, expected)
            kills, alone, equal = 0, 0, 0
            for _ in tqdm(range(given.rounds), desc=job.name, unit="round"):
                shutil.rmtree(work, ignore_errors=True)
                shutil.copytree(base, work)
                for _ in range(chance.randint(1, 3)):
                    group = chance.random() < 0.5
                    hit = killed(job, work, chance.uniform(first, seconds), group)
                    kills, alone = kills + hit, alone + (hit and not group)
                finish(job.command, work)
                equal += same(job, work, expected)
            failed += given.rounds - equal
            print(f"| {job.name} | {seconds:.1f} | {kills} | {alone} | {equal} of {given.rounds} |", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
