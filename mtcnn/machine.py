"""The environment of a measurement: processor, versions, commit. Timings are meaningless without it."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["commit", "cores", "describe", "machine", "processor", "versions"]

PACKAGES = (
    "torch",
    "numpy",
    "numba",
    "opencv-python",
    "opencv-python-headless",
)  # packages that affect detection time
CPUINFO = Path("/proc/cpuinfo")


def processor() -> str:
    """The processor by name, or by architecture if unknown."""
    if CPUINFO.is_file():
        for line in CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use, fewer than the machine's in a container or under taskset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Package -> version, of Python, this project, and what it computes with."""
    from importlib import metadata  # takes milliseconds, which a detection in a fresh process can do without

    from mtcnn import __version__

    found = {"python": platform.python_version(), "mtcnn-cascade": __version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # one of OpenCV's two, say
            continue
    return found


def commit() -> str | None:
    """The commit of this checkout, with "+" if files differ from it; None in a wheel."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        name = _git(root, "rev-parse", "--short=10", "HEAD").strip()
        return name + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True).stdout


def machine() -> dict[str, Any]:
    """Plain values for JSON: processor, cores, system, versions, commit."""
    return {
        "processor": processor(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.release()}",
        "versions": versions(),
        "commit": commit(),
    }


def describe() -> str:
    """All of it in one line."""
    listed = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{processor()}, {cores()} cores; {listed}; commit {commit() or 'unknown'}"
