"""What a compiled detector costs at its first use, and a later process until its first faces.

    python benchmarks/first_use.py [NAME ...] [--models FOLDER] [--rounds 9]

Processor seconds of whole processes, with the start of Python: others may use the machine. Each finds faces in a scene
of 640 x 480 with nine of them. The first one traces the net, if its graph does not ship with it, and compiles its
kernels into an empty folder; later ones load them. `mtcnn` is the cascade.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from scenes import Sources

from mtcnn.machine import describe
from mtcnn.metrics.tables import markdown_table

NAMES = ("mtcnn", "retinaface", "yunet-n")
PROGRAM = """
import sys
import numpy as np
from pathlib import Path
from mtcnn import Detector
name, models, image = sys.argv[1:]
settings = {} if name == "mtcnn" else {"detector": name}
detector = Detector(models=Path(models) if models else None, **settings)
detector.detect(np.load(image))
"""


def process(words: list[str], cache: Path) -> float:
    """Processor seconds of a process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"NUMBA_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM, *words], env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, help=f"default: {' '.join(NAMES)}")
    parser.add_argument("--models", default="", help="folder with weights; default: the packaged ones")
    parser.add_argument("--data", type=Path, default=os.environ.get("MTCNN_DATA"), help="default: MTCNN_DATA")
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "scene.npy")
        np.save(image, Sources(given.data).compose(640, 480, 9))
        for name in given.names:
            words = [name, given.models, str(image)]
            with tempfile.TemporaryDirectory() as cache:
                first = process(words, Path(cache))
                later = [process(words, Path(cache)) for _ in range(given.rounds)]
            rows.append([name, f"{first:.1f}", f"{statistics.median(later):.2f}", f"{min(later):.2f}"])
    print(f"{given.rounds} later processes; {describe()}\n")
    titles = ["processor seconds", "first use", "later process, median", "least"]
    print(markdown_table(titles, rows))


if __name__ == "__main__":
    main()
