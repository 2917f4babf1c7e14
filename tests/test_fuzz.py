"""The fuzzer finds exceptions, crashes, hangs and excessive memory, and only these."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("scipy")

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))

import fuzz
from fuzz_targets import TARGETS, Target

from mtcnn.errors import DataError, MtcnnError

linux = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs fork and /proc")


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_good_files_are_read(tmp_path: Path, name: str) -> None:
    target = TARGETS[name]
    for number, data in enumerate(target.seeds()):
        (tmp_path / str(number)).mkdir()
        target.run(target.wrap(data), tmp_path / str(number))


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_cases_are_deterministic_and_pass(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = [fuzz.case(name, 5, number) for number in range(12)]
    # A file made later is the same.
    monkeypatch.setattr("zipfile.time", SimpleNamespace(time=lambda: 0.0, localtime=lambda *_: (2001, 2, 3, 4, 5, 6)))
    assert first == [fuzz.case(name, 5, number) for number in range(12)]
    assert len(set(first)) > 6 and first != [fuzz.case(name, 6, number) for number in range(12)]
    for number, data in enumerate(first):
        (tmp_path / str(number)).mkdir()
        assert fuzz.fault(name, data, tmp_path / str(number)) == "", f"{name}:5:{number}"


def raised(error: BaseException) -> Callable[[bytes, Path], None]:
    def run(data: bytes, folder: Path) -> None:
        raise error

    return run


FAULTS: dict[str, tuple[Callable[[bytes, Path], object], str]] = {
    "nothing": (lambda data, folder: None, ""),
    "refused": (raised(DataError("x: no")), ""),
    "several lines": (raised(DataError("a\nb")), "lines"),
    "many letters": (raised(MtcnnError("x" * 9999)), "9999 letters"),
    "a bug": (raised(IndexError("oh")), "IndexError: 'oh' at test_fuzz.py"),
    "a warning": (lambda data, folder: np.float32(3e38) * np.float32(3e38), "RuntimeWarning"),
    "memory": (lambda data, folder: np.ones(1 << 31), "MemoryError"),
    "the end": (lambda data, folder: os.kill(os.getpid(), signal.SIGKILL), "ended by SIGKILL"),
    "without end": (lambda data, folder: time.sleep(99), "more than 1 seconds"),
}


@linux
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of forking where there are threads
@pytest.mark.parametrize("kind", FAULTS)
def test_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    run, message = FAULTS[kind]
    monkeypatch.setitem(TARGETS, "planted", Target(lambda: [b"seed"], run))
    monkeypatch.setattr(fuzz, "SECONDS", 1)
    monkeypatch.setattr(fuzz, "BATCH", 1)
    found = fuzz.run_batch("planted", 0, 7, tmp_path)
    assert [number for number, _ in found] == [7] * bool(message)
    assert [what for _, what in found if message not in what] == []
