"""docs/extend.md: a copy of this repository with the files of the page added, in which the commands of the page run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from factories import ROOT, environment

from mtcnn.checkpoint import read, weights_path

PAGE = ROOT / "docs" / "extend.md"
COPIED = ("cli.py", "commands", "mtcnn", "prepare", "stages", "models-full", "tests", "setup.cfg",
          "models-12", "models-24", "models-48")  # fmt: skip
TABLES = {"mtcnn/detectors/__init__.py": "DETECTORS: dict", "mtcnn/importers/single_stage.py": "MAPPINGS = "}
SMALL = {"epochs = 60": "epochs = 1", "steps = 100": "steps = 2", "batch = 16": "batch = 2", "[320]": "[64]"}


def page_files() -> list[tuple[str, str]]:
    """Path and content of each block that a path stands in front of."""
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(r"^`([\w./-]+)`[^\n]*:\n\n```\w+\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def page_commands() -> list[list[str]]:
    (block,) = re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for line in block.splitlines()]


def add(path: Path, content: str, table: str | None) -> None:
    """Write a new file, or put lines at the top of a table of an old one."""
    if table is None:
        assert not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    (at,) = (i for i, line in enumerate(lines) if line.startswith(table))
    path.write_text("".join([*lines[: at + 1], content, *lines[at + 1 :]]), encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, photo_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("extended")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, folder / name)
    for name, content in page_files():
        add(folder / name, content, TABLES.get(name))
    shutil.copyfile(photo_folder / "astronaut.png", folder / "photo.jpg")
    return folder


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """A line of the page, in the copy and with its code."""
    program = [sys.executable, "-m", "mtcnn", *words[1:]] if words[0] == "mtcnn" else [sys.executable, *words[1:]]
    return subprocess.run(
        program, cwd=folder, env=environment(PYTHONPATH=str(folder)), capture_output=True, text=True, timeout=900
    )


def test_files_of_the_page_are_all_a_detector_needs() -> None:
    """Two new files of code, a recipe, a card, and a line each in two tables."""
    names = [name for name, _ in page_files()]
    assert sorted(names) == sorted([*TABLES, "mtcnn/detectors/tiny.py", "mtcnn/importers/tiny.py",
                                    "models-full/tiny/MODEL_CARD.md", "models-full/tiny/recipe.toml"])  # fmt: skip
    assert all(content.count("\n") == 1 for name, content in page_files() if name in TABLES)


def test_the_commands_of_the_page_run(copy: Path) -> None:
    """In their order, with a recipe of two steps: trained, listed, detecting, exported, imported, tested."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    recipe = copy / "models-full" / "tiny" / "recipe.toml"
    for old, new in SMALL.items():
        assert old in recipe.read_text()
        recipe.write_text(recipe.read_text().replace(old, new))
    published(copy)
    done = {words[1]: run(words, copy) for words in page_commands()}
    for name, each in done.items():
        assert each.returncode == 0, f"{name}: {each.stdout[-2000:]}{each.stderr[-2000:]}"
    made = read(weights_path(copy / "work", "tiny"))
    assert made.net == "tiny" and made.model == {"width": 0.5} and made.figures["epochs"] == 1
    assert re.search(r"tiny +fresh", done["status"].stdout)
    assert (copy / "tiny.onnx").stat().st_size > 10_000
    imported = read(weights_path(copy / "models", "tiny"))
    assert torch.equal(torch.as_tensor(imported.state["fine.0.0.weight"])[:, 0], torch.full((32, 3, 3), 3.0))
    passed = re.search(r"(\d+) passed", done["-m"].stdout)
    assert passed is not None and int(passed[1]) >= 10


def published(folder: Path) -> None:
    """The file that the page's mapping imports: all parameters are 1, times 3, 2 and 1 for blue, green and red."""
    code = (
        "import torch; from mtcnn.detectors.load import build; state = build('tiny').state_dict()\n"
        "state = {name: torch.ones_like(value) for name, value in state.items()}\n"
        "state['fine.0.0.weight'] *= torch.tensor([1.0, 2.0, 3.0])[:, None, None]\n"
        "torch.save({name.replace('fine.', 'backbone.'): value for name, value in state.items()}, 'tiny.pth')\n"
    )
    done = run(["python", "-c", code], folder)
    assert done.returncode == 0, done.stderr
