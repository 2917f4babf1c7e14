"""Helpers for other processes: kill one at a chosen call, wait for one, check that one is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from factories import environment

PATIENCE = 300.0  # seconds: what takes two on an idle machine may take a minute on a busy one, and a hang has to end

MTCNN = "from mtcnn.__main__ import main\nmain()\n"  # the command, as a program for `signalled`

SIGNALLED = """
import importlib, os, sys
place, call, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
del sys.argv[1:4]
module, names = place.split(":")
*owners, name = names.split(".")
owner = importlib.import_module(module)
for each in owners:
    owner = getattr(owner, each)
original, calls = getattr(owner, name), 0

def counted(*given, **named):
    global calls
    calls += 1
    if calls == call:
        os.kill(os.getpid(), number)
    return original(*given, **named)

setattr(owner, name, counted)
"""


def signalled(place: str, call: int, number: int, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Python runs `program`, and sends itself a signal when it is about to call `place` for the `call`-th time.

    place    module:function or module:Class.method, in its main process.
    number   of the signal.

    This hits the same moment on machines of any speed.
    """
    words = [sys.executable, "-c", SIGNALLED + program, place, call, int(number), *arguments]
    return subprocess.run(list(map(str, words)), env=environment(), capture_output=True, text=True, check=False)


def wait_until(condition: Callable[[], object], process: subprocess.Popen[bytes] | None = None) -> None:
    """Return when `condition()` holds. Fails after PATIENCE, and when `process` ends before."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"nothing happened within {PATIENCE:.0f} seconds"
        assert process is None or process.poll() is None, "the process has ended"
        time.sleep(0.02)


def succeeds_forked(work: Callable[[], object]) -> bool:
    """Whether `work()` is true in a forked copy of this process; fails if it hangs."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if work() else 1
        finally:
            os._exit(status)  # and nothing else of what the parent was about to do
    ended: list[int] = []

    def ends() -> bool:
        done, status = os.waitpid(child, os.WNOHANG)
        ended.extend([status] if done else [])
        return bool(done)

    try:
        wait_until(ends)
    finally:
        if not ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return ended == [0]


def descendants(pid: int) -> Iterator[int]:
    """Processes that `pid` started, and theirs; on Linux."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            yield int(child)
            yield from descendants(int(child))


def is_alive(pid: int) -> bool:
    """Whether the process runs: neither gone nor, where there is a /proc, a zombie that nobody has asked after."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except OSError:
        return not Path("/proc/self/stat").exists()
