"""Makes a slim installation as docs/performance.md describes it, weighs it, and runs it.

    python benchmarks/slim_install.py PHOTO [VIDEO]

Builds the wheel, installs it without its dependencies and then requirements-detect.txt into a fresh environment, and
prints its size, how long a first and a second `mtcnn detect` take, also by RetinaFace, and what commands say that need
more. pip itself is not in the environment, as in a container that was built in two stages.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 250  # MB, as `du -m` counts them


def megabytes(folder: Path) -> float:
    """Disk space of the files below a folder, links left out."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if not path.is_symlink()) / 2**20


def install(folder: Path) -> Path:
    """An environment without pip, with this project and what detection needs. Returns it."""
    build = [
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
        str(ROOT),
    ]
    subprocess.run([sys.executable, *build], check=True)
    (wheel,) = folder.glob("*.whl")
    place = folder / "env"
    venv.create(place, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", str(place / "bin" / "python"), "install", "--quiet", "--no-compile"]
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
    subprocess.run([*pip, "-r", str(ROOT / "requirements-detect.txt")], check=True)
    return place


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="PHOTO|VIDEO")
    files = [path.resolve() for path in parser.parse_args().files]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        place = install(folder)
        size = megabytes(place)
        print(f"{size:.0f} MB of at most {LIMIT}")
        command = place / "bin" / "mtcnn"
        for path in [*files, files[0]]:
            began = time.perf_counter()
            done = subprocess.run([command, "detect", path], cwd=folder, capture_output=True, text=True, check=False)
            seconds = time.perf_counter() - began
            print(f"mtcnn detect {path.name}: exit {done.returncode}, {seconds:.2f} s, {done.stderr.splitlines()[-1:]}")
        rest = [["detect", str(files[0]), "--detector", name] for name in ("fast", "best")]
        rest += [["train", "--net", "pnet", "--data", "synthetic:3"], ["export", "cascade.onnx"], ["flops", "pnet"],
                 ["weights", "list"], ["--version"]]  # fmt: skip
        for words in rest:
            began = time.perf_counter()
            done = subprocess.run([command, *words], cwd=folder, capture_output=True, text=True, check=False)
            seconds = time.perf_counter() - began
            said = (done.stderr or done.stdout).strip().splitlines()[-1:]
            print(f"mtcnn {' '.join(words)}: exit {done.returncode}, {seconds:.2f} s, {said}")
        sys.exit(size > LIMIT)


if __name__ == "__main__":
    main()
