"""Ctrl-C in the first second of a command, while its modules are loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from factories import environment

PROGRAM = (
    "import sys; from pathlib import Path; from mtcnn import __main__\n"
    "__main__.app_folder = lambda: Path(sys.argv[1])\n__main__.main()"
)


def test_interrupted_while_modules_load(tmp_path: Path) -> None:
    (tmp_path / "cli.py").write_text("raise KeyboardInterrupt\n")
    words = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "mtcnn: interrupted; run the same command again to continue\n"
