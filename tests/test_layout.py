"""The layout: imports point one way, the library names no options, no text mentions a machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("mtcnn", "prepare", "stages", "commands", "cli")  # each may import itself and those before it
TEXT = {".cfg", ".md", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml", ""}


def project_files() -> list[Path]:
    """All files of the project, of its folders that are no virtual environment, cache or work folder."""
    folders = [ROOT / name for name in (*LAYERS[:4], "mtcnn_cascade", "tests", "benchmarks", "docs", ".ci")]
    inside = [path for folder in [*folders, *ROOT.glob("models-*")] for path in folder.rglob("*") if path.is_file()]
    return sorted(path for path in [*inside, *ROOT.glob("*.*"), ROOT / "Makefile"] if path.is_file())


def modules(layer: str) -> list[Path]:
    return [ROOT / "cli.py"] if layer == "cli" else sorted((ROOT / layer).rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """The top-level names that a file imports, wherever in it, with the line."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            yield [*base, *(node.module or "").split(".")][0], node.lineno
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func) and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str) and not name.value.startswith("."):
                yield name.value.split(".")[0], node.lineno


def test_imported_sees_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    file = tmp_path / "prepare" / "readers" / "x.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import stages.graph.dag\nfrom cli import main\nfrom . import y\nfrom ..store import z\n"
        "def f():\n    from mtcnn.types import Faces\n    import_module('stages.crops.task')\n"
    )
    assert [name for name, _ in imported(file)].count("prepare") == 2
    assert {name for name, _ in imported(file)} == {"stages", "cli", "prepare", "mtcnn"}


def test_a_class_name_means_one_thing() -> None:
    """With a leading underscore or without. Those of facenet-pytorch's nets are not ours to choose."""
    places: dict[str, list[str]] = {}
    for path in (path for layer in LAYERS for path in modules(layer)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name.lstrip("_"), []).append(f"{path.relative_to(ROOT)}:{node.lineno}")
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert len(places) > 100
    assert twice.keys() == {"PNet", "RNet", "ONet"}, twice


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_one_way(layer: str) -> None:
    above = set(LAYERS[LAYERS.index(layer) + 1 :])
    files = modules(layer)
    assert files
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in files
        for name, line in imported(path)
        if name in above and not (name == "cli" and path == ROOT / "mtcnn" / "__main__.py")
    ]
    assert not wrong, "\n".join(wrong)


def test_import_mtcnn_loads_no_sibling() -> None:
    program = (
        "import sys, pkgutil, importlib, mtcnn\n"
        "for name in mtcnn.__all__: getattr(mtcnn, name)\n"
        "print(*sorted({'prepare', 'stages', 'commands', 'cli'} & {name.split('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_only_the_functions_of_the_commands_load_siblings() -> None:
    """By name, when they are called: `mtcnn.api.training.app_module`."""
    users = {path for path in modules("mtcnn") if "app_module" in path.read_text(encoding="utf-8")}
    assert users == {ROOT / "mtcnn" / "api" / "training.py"}


def test_root_holds_one_python_file() -> None:
    assert [path.name for path in ROOT.glob("*.py")] == ["cli.py"]


@pytest.mark.parametrize("room", ["pictures", "trace", "metrics", "files", "detectors", "images"])
def test_rooms_know_nothing_of_the_stream(room: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in (ROOT / "mtcnn" / room).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"\s*(from|import) .*\bstream\b", line)
    ]
    assert not wrong, "\n".join(wrong)


def messages(path: Path) -> Iterator[tuple[str, int]]:
    """All strings in a file except docstrings, with their lines; of an f-string its constant parts."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    alone = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in alone:
            yield node.value, node.lineno


def test_messages_are_seen_and_docstrings_are_not(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text('"""--doc"""\ndef f(a):\n    "--more"\n    raise ValueError(f"{a}: --out is " "bad")\n')
    assert [text for text, _ in messages(file)] == [": --out is bad"]


@pytest.mark.parametrize("layer", LAYERS[:3])
def test_the_library_names_settings_and_no_options(layer: str) -> None:
    """`commands.wording` turns setting names into options, which do not exist in Python."""
    # Without a space it may be an argument for another program.
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in modules(layer)
        for text, line in messages(path)
        if re.search(r"(^|[\s(`'\"])--[a-z]", text) and " " in text and "pip install " not in text
        if not text.startswith("\n:root{")  # a style sheet, whose variables look like options
    ]
    assert not wrong, "\n".join(wrong)


# Escaped dots and brackets keep this file from finding itself.
REGISTRIES = re.compile(r"pypi\.org|python[h]osted|download\.pytorch|anaconda\.(?:org|com)", re.IGNORECASE)
# An absolute path of some machine. `<work>/crops`, `./work/` and `~/x` are none.
MACHINE = re.compile(r"(?<![\w.>}~$)/-])/(?:root|home|work|opt|mnt|Users)/\w")


@pytest.mark.parametrize("host", ["py{}.org", "files.{}hosted.org"])
def test_registries_are_recognised(host: str) -> None:
    assert REGISTRIES.search("from https://" + host.format("pi" if host.startswith("py{") else "python"))


@pytest.mark.parametrize(
    ("text", "found"),
    [("see /{}/x", True), ("'/{}/me/y'", True), ("--data ./{}/x", False), ("<{}>/a", False), ("a/{}/b", False)],
)
def test_machine_paths_are_recognised(text: str, found: bool) -> None:
    for folder in ("root", "home", "work"):
        assert bool(MACHINE.search(text.format(folder))) is found


def test_no_text_names_a_registry_or_a_machine() -> None:
    # A worktree has a file .git, which says where its repository is.
    files = [path for path in project_files() if path.suffix in TEXT and path.name != ".git"]
    assert ROOT / "README.md" in files
    assert ROOT / "mtcnn" / "types.py" in files
    wrong = []
    for path in files:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if REGISTRIES.search(line) or MACHINE.search(line):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not wrong, "\n".join(wrong)
