"""The command line as a whole: commands load when used, errors name options, `--help` is quick to load."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from run_command import run

from cli import COMMANDS, main
from commands.group import Group, command
from commands.options import NetType
from commands.wording import as_options
from mtcnn.errors import DataError, SettingsError

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads(name: str) -> None:
    found = main.get_command(click.Context(main), name)
    assert found is not None
    assert found.name == name


def loaded(*words: str) -> set[str]:
    program = (
        "import sys; from cli import main\n"
        f"try: main({list(words)!r}, prog_name='mtcnn')\n"
        "except SystemExit: pass\n"
        "print('LOADED', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.rsplit("LOADED", 1)[1].split())


def test_a_command_does_not_load_others() -> None:
    names = loaded("detect", "--help")
    assert "commands.detect" in names
    assert {name for name in names if name.startswith("commands.")} == {
        "commands.detect", "commands.group", "commands.options", "commands.wording",
    }  # fmt: skip


def test_help_loads_nothing_heavy() -> None:
    heavy = {"torch", "cv2", "numba", "PIL", "tqdm", "lmdb", "stages", "prepare"}
    assert not heavy & loaded("--help")


def params(*names: str) -> list[click.Parameter]:
    return [click.Option([f"--{name.replace('_', '-')}", name]) for name in names]


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("min_face is 0.0; expected more", "--min-face is 0.0; expected more"),
        ("thresholds are (1, 2); expected three", "--thresholds are (1, 2); expected three"),
        ("`models`: no folder; name another as `models`", "--models: no folder; name another as --models"),
        ("x/min_face is 3", "x/min_face is 3"),
        ("`other` is odd", "`other` is odd"),
        ("net is 7", "net is 7"),
        ("a.jpg: min_face is 3", "a.jpg: min_face is 3"),
    ],
)
def test_settings_become_options(message: str, shown: str) -> None:
    assert as_options(message, params("min_face", "thresholds", "models")) == shown


def test_an_argument() -> None:
    assert as_options("expected `detections`", [click.Argument(["detections"], nargs=-1)]) == "expected DETECTIONS"


def test_an_option_of_another_name() -> None:
    assert as_options("`sources` is odd", [click.Option(["-d", "--data", "sources"])]) == "--data is odd"


@pytest.mark.parametrize("words", [["--old", "3"], ["--old=3"], ["--new", "3"]])
def test_old_names_of_options_work_with_a_warning(words: list[str]) -> None:
    from click.testing import CliRunner

    group = Group("mtcnn")

    @command("odd", group, renamed={"--old": "--new"})
    @click.option("--new", type=int, required=True)
    def odd(new: int) -> None:
        click.echo(new + 1)

    done = CliRunner().invoke(group, ["odd", *words])
    assert (done.exit_code, done.stdout) == (0, "4\n")
    assert ("--old is now called --new" in done.stderr) is words[0].startswith("--old")


@pytest.mark.parametrize(("error", "status"), [(DataError("`out`: bad"), 1), (SettingsError("out is bad"), 2)])
def test_errors_name_options(error: Exception, status: int) -> None:
    from click.testing import CliRunner

    group = Group("mtcnn")

    @command("odd", group)
    @click.option("--out")
    def odd(out: str | None) -> None:
        raise error

    done = CliRunner().invoke(group, ["odd"])
    assert done.exit_code == status
    assert "--out" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["12", "pnet"])
def test_a_net_has_two_names(name: str) -> None:
    assert NetType(["pnet", "rnet"]).convert(name, None, None) == "pnet"
    with pytest.raises(click.BadParameter, match="is not one of 'pnet', 'rnet'"):
        NetType(["pnet", "rnet"]).convert("48", None, None)


@pytest.mark.parametrize(
    "words",
    [
        ("detect", ""),
        ("detect", "a.png", "--out", ""),
        ("detect", "a.png", "--draw", " "),
        ("detect", "a.png", "--models", ""),
        ("detect", "a.png", "--detector", ""),
        ("eval", "wider", "", "--ground-truth", "truth"),
        ("eval", "wider", "found", "--ground-truth", ""),
        ("eval", "fddb", "found", "--folds", "folds", "--write", ""),
        ("prepare", "--net", "12", "--data", ""),
        ("train", "--net", "12", "--work", ""),
        ("inspect", "matching", "", "--net", "s3fd"),
        ("inspect", "matching", "a.png", "", "--net", "s3fd"),
        ("weights", "import", "", "--to", "models"),
        ("weights", "import", "a.pt", "--to", ""),
        ("export", "pnet", ""),
        ("bench", "fddb", "--photos", ""),
    ],
    ids=" ".join,
)
def test_empty_names_are_rejected(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unset shell variable must not become the current folder."""
    monkeypatch.chdir(tmp_path)
    done = run(*words)
    assert done.exit_code == 2, done.output
    assert "empty" in done.stderr and "is a variable of the shell unset?" in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="a current folder cannot be deleted here")
@pytest.mark.parametrize("words", [("status",), ("flops", "pnet"), ("detect", "photo.jpg"), ("data", "check", "x")])
def test_a_deleted_current_folder(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, before torch is imported, which ends the process there. Help needs no folder."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    done = run(*words)
    assert done.exit_code == 1
    assert done.stderr == (
        "mtcnn: the current folder cannot be used (No such file or directory); expected one that exists; "
        "change to another folder\n"
    )
    assert run(*words, "--help").exit_code == 0


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("eval", "wider", "found", "--ground-truth", "g.txt", "--min-face", 10), "--min-face"),
        (("eval", "wider", "found", "--ground-truth", "g.txt", "--flip"), "--flip"),
        (("eval", "wider", "found", "--ground-truth", "g.txt", "--write", "mine"), "--write"),
        (("eval", "fddb", "found", "--folds", "f", "--photos", "p", "--detector", "slim"), "--detector"),
    ],
)
def test_options_of_unused_detectors(words: tuple[object, ...], option: str) -> None:
    done = run(*words)
    assert done.exit_code == 2
    assert f"{option} is for running a detector over --photos" in done.stderr
