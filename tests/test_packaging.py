"""The wheel: two top-level names, complete contents, and commands that run from it."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (
    "commands", "mtcnn", "mtcnn_cascade", "prepare", "stages", "models-12", "models-24", "models-48", "models-full",
)  # fmt: skip
CACHES = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.nbi", "*.nbc")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, because a build leaves folders that would affect the next one."""
    source = tmp_path_factory.mktemp("source")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=CACHES)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, source)
    (source / "tests").mkdir()
    (source / "tests" / "stray.py").touch()
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_two_top_level_names(names: set[str]) -> None:
    """The library, and the entry point that works even if another project's `mtcnn` has overwritten it."""
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"mtcnn", "mtcnn_cascade"}
    assert {name for name in names if name.startswith("mtcnn_cascade/")} == {"mtcnn_cascade/__init__.py"}
    assert [top for top in tops if top.endswith(".dist-info")] == [f"mtcnn_cascade-{version()}.dist-info"]


def version() -> str:
    import mtcnn

    return mtcnn.__version__


def test_every_module_is_inside(names: set[str]) -> None:
    """A folder that setup.cfg does not list fails this test."""
    library = {f"mtcnn/{path.relative_to(ROOT / 'mtcnn').as_posix()}" for path in (ROOT / "mtcnn").rglob("*.py")}
    folders = ("commands", "prepare", "stages")
    others = [ROOT / "cli.py", *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]
    private = {f"mtcnn/_app/{path.relative_to(ROOT).as_posix()}" for path in others}
    assert {name for name in names if name.endswith(".py")} == library | private | {"mtcnn_cascade/__init__.py"}


def test_recipes_weights_and_cards_are_inside(names: set[str]) -> None:
    folders = [path for path in ROOT.glob("models-*") if path.name[7:] in ("12", "24", "48", "full")]
    files = [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in (".toml", ".safetensors", ".json", ".md")
    ]
    expected = {f"mtcnn/_app/{path.relative_to(ROOT).as_posix()}" for path in files}
    assert len([name for name in expected if name.endswith(".toml")]) >= 6  # one a net
    found = {name for name in names if name.startswith("mtcnn/_app/models-")}
    assert found == expected


def test_type_hints_are_shipped(names: set[str]) -> None:
    assert "mtcnn/py.typed" in names, "PEP 561: without it a type checker passes over all hints"


def test_nothing_else_is_inside(names: set[str]) -> None:
    suffixes = {Path(name).suffix for name in names if ".dist-info/" not in name}
    assert suffixes <= {".py", ".toml", ".safetensors", ".json", ".md", ".typed", ".txt", ".html", ".js"}
    assert [name for name in names if name.endswith(".txt") and ".dist-info/" not in name] == [
        "mtcnn/_app/prepare/eval-hashes.txt"
    ]
    assert not [name for name in names if "tests" in name or "stray" in name]


def test_licence_is_inside(names: set[str]) -> None:
    assert any(name.endswith("/LICENSE") for name in names)


def run_unpacked(wheel: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with the wheel's content in front of everything, in a folder that is not the checkout."""
    site = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)


def test_commands_run_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    done = run_unpacked(wheel, tmp_path, "-m", "mtcnn", "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: mtcnn ")
    for command in ("detect", "prepare", "train", "run"):
        assert command in done.stdout


def test_the_wheel_finds_its_own_commands_and_weights(wheel: Path, tmp_path: Path) -> None:
    program = (
        "import mtcnn.__main__ as entry, mtcnn.checkpoint as checkpoint, sys\n"
        "sys.path.insert(0, str(entry.app_folder()))\n"
        "import prepare, stages, commands, cli\n"
        "places = [entry.app_folder(), checkpoint.packaged_weights()]\n"
        "places += [module.__file__ for module in (prepare, stages, commands, cli)]\n"
        "print(*places, sep='\\n')\n"
    )
    done = run_unpacked(wheel, tmp_path, "-c", program)
    assert done.returncode == 0, done.stderr
    app = str(tmp_path / "site" / "mtcnn" / "_app")
    places = done.stdout.splitlines()
    assert len(places) == 6
    assert all(place.startswith(app) for place in places)


def test_extras_and_requirements_are_pinned() -> None:
    """Every requirement of setup.cfg has its version in constraints.txt, so that installations are equal."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = config["options.extras_require"]
    listed = [config["options"]["install_requires"], *(extras[name] for name in extras if name != "cluster")]
    lines = [line.strip() for block in listed for line in block.splitlines()]
    needed = {line.split(">=")[0].lower() for line in lines if line and not line.startswith(("mtcnn-cascade", "#"))}
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].lower() for line in pins if "==" in line and not line.startswith("#")}
    assert {"torch", "pytest", "setuptools"} <= needed
    assert needed <= pinned
