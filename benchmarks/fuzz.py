"""Feeds damaged files to all readers of untrusted files: `make fuzz`, ten minutes, or ARGS="--minutes 1".

    python benchmarks/fuzz.py --minutes 10 --seed 0 --only weights
    python benchmarks/fuzz.py --again weights:0:1234        # one case alone, with its traceback

Good files are changed byte by byte, piece by piece and number by number; what reads them may read them or refuse them
in one line (MtcnnError). Anything else is a finding: another exception or a warning of NumPy, the end of the process,
more than MEMORY bytes, more than SECONDS. A case is its target, the seed and a number, and comes out the same every
time; the file of a finding is kept in --findings. Exit 1 when there is one.

Byte mutation and no coverage: Atheris has no wheels for all Pythons that this project supports.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

from fuzz_targets import TARGETS

from mtcnn.errors import MtcnnError

MEMORY = 3 << 30  # bytes of address space beyond those at the start
SECONDS = 30  # of a case; a slow machine takes three for the slowest
BATCH = 100  # cases that one process tries
LONGEST = 3000  # letters of a message

WORDS = [
    b"\0" * 4,
    b"\xff" * 4,
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\x01\0\0\0",
    b"\x11\0\0\0",
    b"PK\3\4",
    b"\x80\x02",
    b"(",
    b")\x85",
]
NUMBERS = [
    b"-1", b"0", b"1e309", b"nan", b"-inf", b"99999999999", b"9" * 400, b"1e-320", b"0x10", b"1_0", b"1e300", b"65536",
    b'"', b"[" * 2000, b"\n", b"\r", b",", b"\0", b"\xff", "٣".encode(), b" ", b"true",
]  # fmt: skip


def case(target: str, seed: int, number: int) -> bytes:
    """The damaged file of a case."""
    chance = random.Random(f"{target} {seed} {number}")
    seeds = _seeds(target)
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice([1, 1, 2, 3, 8])):
        _change(data, chance, seeds)
    return TARGETS[target].wrap(bytes(data))


_SEEDS: dict[str, list[bytes]] = {}


def _seeds(target: str) -> list[bytes]:
    if target not in _SEEDS:
        _SEEDS[target] = list(TARGETS[target].seeds())
    return _SEEDS[target]


def _change(data: bytearray, chance: random.Random, seeds: list[bytes]) -> None:
    """One change, at a place that is more often near the start, where headers are."""
    at = chance.randrange(len(data) + 1) if chance.random() < 0.5 else int(len(data) * chance.random() ** 6)
    length = chance.choice([1, 2, 4, 8, 50, 500])
    kind = chance.randrange(8)
    if kind == 0 and at < len(data):
        data[at] ^= 1 << chance.randrange(8)
    elif kind == 1 and at < len(data):
        data[at] = chance.randrange(256)
    elif kind == 2:
        del data[at : at + length]
    elif kind == 3:
        data[at:at] = data[at : at + length] * chance.choice([1, 1, 100])
    elif kind == 4:
        other = chance.choice(seeds)
        start = chance.randrange(len(other))
        data[at : at + length] = other[start : start + length]
    elif kind == 5:
        word = chance.choice(WORDS)
        data[at : at + len(word)] = word
    elif kind == 6:
        end = at
        while end < len(data) and data[end : end + 1].isalnum():
            end += 1
        data[at:end] = chance.choice(NUMBERS)
    elif chance.random() < 0.2:
        del data[at:]


def fault(target: str, data: bytes, folder: Path) -> str:
    """What is wrong with how a file is read; empty where nothing is."""
    try:
        TARGETS[target].run(data, folder)
    except MtcnnError as error:
        text = str(error)
        return f"a message of {len(text)} letters" if len(text) > LONGEST else "lines" * ("\n" in text)
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:80]!r} at {Path(place.filename).name}:{place.lineno}"
    return ""


def batch(target: str, seed: int, first: int, note: Path) -> None:
    """Tries BATCH cases in this process; `note` tells the number of the one at work, and what was found."""
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", RuntimeWarning)
    with note.open("w", buffering=1) as lines:
        for number in range(first, first + BATCH):
            data = case(target, seed, number)
            lines.write(f"at {number}\n")
            signal.alarm(SECONDS)
            with tempfile.TemporaryDirectory() as folder:
                found = fault(target, data, Path(folder))
            signal.alarm(0)
            if found:
                lines.write(f"found {number} {found}\n")


def run_batch(target: str, seed: int, first: int, folder: Path) -> list[tuple[int, str]]:
    """The findings of BATCH cases, tried in a child process: number and what is wrong."""
    note = folder / "note"
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        try:
            batch(target, seed, first, note)
        except BaseException as error:
            note.write_text(f"found {first} cannot be tried: {error!r}\n")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    lines = [line.split(" ", 2) for line in note.read_text().splitlines()] if note.exists() else []
    found = [(int(line[1]), line[2]) for line in lines if line[0] == "found"]
    if os.WIFSIGNALED(status):
        last = max((int(line[1]) for line in lines), default=first)
        name = signal.Signals(os.WTERMSIG(status)).name
        found.append((last, f"more than {SECONDS} seconds" if name == "SIGALRM" else f"ended by {name}"))
    return found


def fuzz(targets: list[str], minutes: float, seed: int, findings: Path) -> int:
    """Tries all targets in turn until the time is over. The number of kinds of findings."""
    end, seen, tried, first = time.monotonic() + 60 * minutes, Counter[str](), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < end:
            for target in targets:
                if time.monotonic() >= end:
                    break
                for number, what in run_batch(target, seed, first, Path(folder)):
                    seen[f"{target}: {what}"] += 1
                    if seen[f"{target}: {what}"] == 1:
                        findings.mkdir(parents=True, exist_ok=True)
                        (findings / f"{target}-{seed}-{number}").write_bytes(case(target, seed, number))
                        print(f"{target}:{seed}:{number}  {what}", flush=True)
                tried += BATCH
            first += BATCH
    print(f"{tried} cases of {len(targets)} kinds of files, {len(seen)} kinds of findings")
    return len(seen)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=sorted(TARGETS), action="append", help="kinds of files; all without")
    parser.add_argument("--findings", type=Path, default=Path(".fuzz"), help="folder for the files of findings")
    parser.add_argument("--again", metavar="TARGET:SEED:NUMBER", help="try one case, with its traceback")
    chosen = parser.parse_args()
    if chosen.again:
        target, seed, number = chosen.again.split(":")
        with tempfile.TemporaryDirectory() as folder:
            TARGETS[target].run(case(target, int(seed), int(number)), Path(folder))
        return
    sys.exit(fuzz(chosen.only or sorted(TARGETS), chosen.minutes, chosen.seed, chosen.findings) > 0)


if __name__ == "__main__":
    main()
