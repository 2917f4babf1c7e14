"""The peers' own tests, with this project's `MTCNN` in place of theirs and nothing else changed.

    python benchmarks/compare_peers.py --tests CHECKOUT [--tests CHECKOUT]

CHECKOUT is a folder with the sources of facenet-pytorch or of ipazc's mtcnn, as their repositories have them; nothing
is fetched. Each test runs in a copy, in one environment for both (peers.py), once with the weights that ship here and
once with those of the package.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from xml.etree import ElementTree

from peers import ROOT, TESTS, python_of
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
OURS, THEIRS = "ours", "the package's"

# What fails for a reason, with the weights that ship here; docs/migrate.md tells it.
REFUSED = {
    "test_detect_faces_output_types_and_formats[numpy-xywh]": "wants two rows of a photo of one face",
    "test_detect_faces_output_types_and_formats[numpy-xyxy]": "wants two rows of a photo of one face",
}


class Outcome(NamedTuple):
    """What became of the assertions or tests of one package."""

    package: str
    weights: str
    passed: Sequence[str]
    failed: Sequence[str]
    left_out: Sequence[str]

    def unexplained(self) -> list[str]:
        """What failed and may not."""
        return [name for name in self.failed if self.weights != OURS or name not in REFUSED]

    def row(self) -> list[str]:
        """A row of a table under HEAD."""
        refused = len(self.failed) - len(self.unexplained())
        of = len(self.passed) + len(self.failed)
        return [self.package, self.weights, f"{len(self.passed)} of {of}", str(refused), str(len(self.left_out))]


HEAD = ["package", "weights", "passed", "refused", "left out"]


def environment(weights: Sequence[Path]) -> dict[str, str]:
    """Of a process that imports this project, and whose MTCNN takes these weights by default."""
    path = os.pathsep.join(map(str, (HERE, ROOT)))
    return {**os.environ, "PYTHONPATH": path, "PEER_WEIGHTS": os.pathsep.join(map(str, weights))}


def facenet(checkout: Path, weights: str) -> Outcome:
    """The assertions of actions_test.py."""
    files = [checkout / "data" / f"{net}.pt" for net in ("pnet", "rnet", "onet")]
    command = [str(python_of(TESTS.name)), str(HERE / "peer_assertions.py"), str(checkout)]
    own = environment(files if weights == THEIRS else ())
    done = subprocess.run(command, env=own, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"facenet-pytorch's test did not run:\n{done.stderr}")
    found = json.loads(done.stdout)
    return Outcome("facenet-pytorch", weights, found["passed"], found["failed"], found["left out"])


def ipazc(checkout: Path, weights: str) -> Outcome:
    """The tests of test_mtcnn.py."""
    files = [checkout / "mtcnn" / "assets" / "weights" / f"{net}.lz4" for net in ("pnet", "rnet", "onet")]
    report, folder = checkout / "report.xml", checkout / "alone"
    shutil.copytree(checkout / "tests", folder / "tests")  # beside no package of that name
    command = [str(python_of(TESTS.name)), "-m", "pytest", "-p", "peer_weights", f"--junitxml={report}", "tests"]
    own = environment(files if weights == THEIRS else ())
    done = subprocess.run(command, env=own, cwd=folder, capture_output=True, text=True, check=False)
    if not report.is_file():
        raise SystemExit(f"the tests of ipazc's mtcnn did not run:\n{done.stdout}{done.stderr}")
    cases = list(ElementTree.parse(report).iter("testcase"))
    failed = [
        str(case.get("name")) for case in cases if case.find("failure") is not None or case.find("error") is not None
    ]
    passed = [str(case.get("name")) for case in cases if case.get("name") not in failed]
    return Outcome("ipazc's mtcnn", weights, passed, failed, ())


RUNS = {"tests/actions_test.py": facenet, "tests/test_mtcnn.py": ipazc}


def run_tests(checkouts: Sequence[Path]) -> list[Outcome]:
    """Both runs of each checkout. Raises SystemExit for a folder that is none."""
    found = []
    jobs = [(checkout, weights) for checkout in checkouts for weights in (OURS, THEIRS)]
    for checkout, weights in tqdm(jobs, "tests of peers", disable=not sys.stderr.isatty()):
        run = next((run for name, run in RUNS.items() if (checkout / name).is_file()), None)
        if run is None:
            raise SystemExit(f"{checkout} has none of {', '.join(RUNS)}; name a checkout of a peer's repository")
        with TemporaryDirectory() as folder:
            copy = Path(folder) / "checkout"
            shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns(".git"))
            found.append(run(copy, weights))
    return found
