"""Changes the code in small ways and runs its tests: `make mutants`, an hour or so, or ARGS="--number 20".

    python benchmarks/mutants.py --number 300 --seed 0 --only nms
    python benchmarks/mutants.py --again mtcnn/nms.py:12    # one mutant alone, with pytest's output

A mutant has another comparison, operator, constant, order of arguments or result, or lacks a statement. One that
passes its tests is equivalent, or wants a test. Mutants are drawn from all of TARGETS and come out the same every time,
as long as the module stays as it is.

Each is tried in a copy of this checkout by a fork of this process, which has imported the slow libraries, with the
tests of TARGETS that run the changed line, fastest first.
"""

from __future__ import annotations

import argparse
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mutations import mutated, mutations

ROOT = Path(__file__).resolve().parent.parent
SLOW = 15  # times as long as unchanged, and SECONDS: then a mutant counts as killed
SECONDS = 60

TARGETS = {
    "mtcnn/boxes.py": "boxes",
    "mtcnn/candidates.py": "candidates looks",
    "mtcnn/crops.py": "square_crops resample",
    "mtcnn/detectors/anchors.py": "anchors decoding",
    "mtcnn/detectors/decoders.py": "decoding anchors",
    "mtcnn/detectors/looks.py": "looks",
    "mtcnn/detectors/point_decoders.py": "point_decoders",
    "mtcnn/files/atomic_write.py": "drafts saved",
    "mtcnn/files/tensors.py": "saved checkpoint",
    "mtcnn/metrics/fddb.py": "fddb",
    "mtcnn/metrics/fddb_files.py": "fddb",
    "mtcnn/metrics/landmarks.py": "landmarks",
    "mtcnn/metrics/matching.py": "fddb landmarks",
    "mtcnn/metrics/scales.py": "scales",
    "mtcnn/metrics/voting.py": "scales",
    "mtcnn/metrics/wider.py": "wider",
    "mtcnn/metrics/wider_detections.py": "wider",
    "mtcnn/metrics/wider_truth.py": "wider hostile_archives",
    "mtcnn/nms.py": "nms",
    "mtcnn/pyramid.py": "pyramid",
    "mtcnn/scoring.py": "scoring",
    "mtcnn/settings.py": "settings",
    "mtcnn/types.py": "types",
    "prepare/label_check.py": "label_check",
    "prepare/labels.py": "labels sample",
    "prepare/photo_sizes.py": "photo_sizes",
    "prepare/points.py": "points",
    "prepare/readers/fddb.py": "readers",
    "prepare/readers/label_file.py": "readers",
    "prepare/readers/points.py": "readers",
    "prepare/readers/retinaface.py": "readers",
    "prepare/readers/voc.py": "readers",
    "prepare/readers/wider.py": "readers",
    "prepare/sample.py": "sample",
    "stages/crops/loss.py": "losses",
    "stages/graph/dag.py": "dag",
    "stages/objectives/distill.py": "distill",
    "stages/objectives/matching.py": "assigners anchor_losses",
    "stages/objectives/multibox.py": "anchor_losses margin_wing",
    "stages/objectives/sampling.py": "samplers anchor_losses",
    "stages/objectives/targets.py": "anchor_losses assigners",
    "stages/photos/crops.py": "square_crops assigners",
}
"""Module -> the test files that concern it, without test_ and .py."""


@dataclass
class Seen:
    """What the unchanged tests of a file do: seconds of each by its name, and which run a line of a module."""

    seconds: dict[str, float] = field(default_factory=dict)
    tests: dict[tuple[str, int], set[str]] = field(default_factory=dict)


class _Noted:
    """A pytest plugin that fills `Seen`. What a fixture of a module runs counts for all tests that use it."""

    def __init__(self, folder: Path, seen: Seen) -> None:
        self.seen, self._files = seen, {str(folder / module): module for module in TARGETS}
        self._lines: set[tuple[str, int]] = set()
        self._by_fixture: dict[str, set[tuple[str, int]]] = {}

    def _trace(self, frame: Any, event: str, argument: Any) -> Any:
        module = self._files.get(frame.f_code.co_filename)
        if module is None:
            return None
        lines = self._lines

        def line(frame: Any, event: str, argument: Any) -> Any:
            lines.add((module, frame.f_lineno))
            return line

        return line

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Any:
        before = self._lines
        if fixturedef.scope != "function":
            self._lines = self._by_fixture.setdefault(fixturedef.argname, set())
        yield
        self._lines = before

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Any:
        began, self._lines = time.perf_counter(), set()
        sys.settrace(self._trace)
        yield
        sys.settrace(None)
        self.seen.seconds[item.nodeid] = time.perf_counter() - began
        for lines in (self._lines, *(self._by_fixture.get(name, ()) for name in item.fixturenames)):
            for place in lines:
                self.seen.tests.setdefault(place, set()).add(item.nodeid)


def forked(copy: Path, arguments: Sequence[str], limit: float, say: bool = False, plugin: Any = None) -> Any:
    """Run pytest in a fork of this process. Returns its exit code (None: too slow) and what the plugin saw."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.setsid()
        os.chdir(copy)
        sys.path[:0] = [str(copy)]
        if not say:
            for number in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        options = ["-q", "-x", "-p", "no:cacheprovider", f"--basetemp={copy.parent}/tests"]
        code = pytest.main([*options, *arguments], plugins=[plugin] if plugin else [])
        with os.fdopen(write, "wb") as pipe:
            pickle.dump((int(code), plugin and plugin.seen), pipe)
        os._exit(0)
    os.close(write)
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(child, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        with os.fdopen(read, "rb") as pipe:
            return pickle.load(pipe)
    except EOFError:  # it was killed, or killed itself
        return None, None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)


class Checkout:
    """A copy of this checkout in which modules are changed, one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._seen = folder, dict[str, Seen]()
        names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True, check=True,
                               capture_output=True).stdout.splitlines()  # fmt: skip
        for name in names:
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)

    def seen(self, file: str) -> Seen:
        """What the tests of a file do; they must pass without a change."""
        if file not in self._seen:
            code, self._seen[file] = forked(self.folder, [file], 3600, plugin=_Noted(self.folder, Seen()))
            if code != 0:
                sys.exit(f"{file} fails without a change")
        return self._seen[file]

    def alive(self, module: str, number: int, say: bool = False) -> bool:
        """Whether a mutant passes its tests: those that run one of its lines, or all where none is known to."""
        source = (self.folder / module).read_text()
        change, text = mutated(source, number)
        files = [self.seen(f"tests/test_{name}.py") for name in TARGETS[module].split()]
        seconds = {name: taken for seen in files for name, taken in seen.seconds.items()}
        chosen = {name for seen in files for line in change.lines for name in seen.tests.get((module, line), ())}
        names = sorted(chosen or seconds, key=lambda name: seconds[name])
        (self.folder / module).write_text(text)
        try:
            code, _ = forked(self.folder, names, SECONDS + SLOW * sum(seconds[name] for name in names), say)
            return bool(code == 0)
        finally:
            (self.folder / module).write_text(source)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=300, help="mutants to try")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of the names of the modules to change")
    parser.add_argument("--again", metavar="MODULE:NUMBER", help="one mutant alone")
    given = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    os.environ.pop("MTCNN_DATA", None)
    sys.dont_write_bytecode = True
    drawn = [(module, number) for module in TARGETS if given.only in module
             for number in range(len(mutations((ROOT / module).read_text())))]  # fmt: skip
    print(f"{len(drawn)} mutants can be made", flush=True)
    drawn = sorted(random.Random(given.seed).sample(drawn, min(given.number, len(drawn))))
    if given.again:
        module, _, number = given.again.rpartition(":")
        drawn = [(module, int(number))]
    for library in ("cv2", "hypothesis", "lmdb", "numba", "PIL.Image", "scipy", "skimage", "torch"):
        with suppress(ImportError):
            __import__(library)
    alive = 0
    with tempfile.TemporaryDirectory() as folder:
        checkout = Checkout(Path(folder) / "checkout")
        os.environ["PYTHONPATH"] = str(checkout.folder)
        for done, (module, number) in enumerate(drawn, 1):
            if checkout.alive(module, number, bool(given.again)):
                change, _ = mutated((checkout.folder / module).read_text(), number)
                alive += 1
                print(f"alive: {module}:{number}, line {change.lines[0] if change.lines else 0}: {change}", flush=True)
            if done % 20 == 0 or done == len(drawn):
                print(f"{done} of {len(drawn)}: {done - alive} killed, {alive} alive", flush=True)
    sys.exit(alive > 0)


if __name__ == "__main__":
    main()
