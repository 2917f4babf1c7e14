"""Every command line of the documentation runs: the `sh` blocks of README.md, CONTRIBUTING.md and docs/*.md.

The lines are run as they stand, in a folder where `layouts.lay_out` has made all files that they name: a page that
names a new file needs it there. Options that keep a run small (SMALL) are added where the line lacks them. What cannot
be run here (NOT_RUN, MEASURED) is parsed with its real arguments; what is no command of this project (OTHER) is left
out. Anything else fails, so that nothing is passed over unseen.
"""

from __future__ import annotations

import io
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from published_detectors import retinaface_state, saved
from published_weights import facenet
from run_command import run
from sample_data import lay_out, write_text

from cli import main
from mtcnn.checkpoint import Checkpoint, packaged_weights, weights_path, write
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import build, model_of
from mtcnn.weights import MEAN_COLOUR
from prepare.sources import remember_sources
from prepare.teachers.calibration import Logistic
from stages.recipes import recipe_path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

SMALL = {"--models": "work", "--workers": "1", "--repeats": "1", "--limit": "1", "--min-face": "40"}
NOT_RUN = {
    **dict.fromkeys(("prepare", "train", "run", "search"), "takes minutes; other tests train from end to end"),
    "report": "needs a work folder that was trained; test_work_report has some",
    "export": "needs the packages of an extra",
}
MEASURED = {"results.md"}  # its commands name the real data that its figures come from
IN_ORDER = {"retrain.md"}  # test_retrain.py runs these, trainings too
OTHER = {"make", "pip", "python", "torchrun", ".venv/bin/python"}  # installations, and scripts that others test
OUTPUTS = {
    "--plot",
    "--write",
    "--draw",
    "--preview",
    "--out",
    "--wider",
    "--blur",
    "--trace",
    "--sheet",
}  # what they name must be there afterwards


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def command_lines(page: Path) -> Iterator[list[str]]:
    """The words of each line of a page's `sh` blocks: no comment, no redirection, continued lines joined."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            ends = [i for i, word in enumerate(words) if word in (">", ">>", "|")]
            if words := words[: ends[0]] if ends else words:
                yield words


def subcommand(group: click.Group, name: str) -> click.Command:
    found = group.get_command(click.Context(group), name)
    if found is None:
        raise KeyError(name)
    return found


def find_command(words: list[str]) -> tuple[click.Command, list[str]]:
    """The click command of `mtcnn ...`, and its arguments."""
    command: click.Command = main
    rest = words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        command = subcommand(command, rest.pop(0))
    return command, rest


def parse(words: list[str]) -> None:
    """Raises click's UsageError when the command does not take these arguments."""
    command, rest = find_command(words)
    with suppress(click.exceptions.Exit):  # of --help
        command.make_context("mtcnn", rest)


def small(words: list[str]) -> list[str]:
    """The arguments of a line, with SMALL where the command has the option and the line does not use it."""
    if words[1:2] == ["eval"] and "--photos" not in words and "landmarks" not in words:
        return words[1:]  # no detector runs, and its options are refused
    known = {name for parameter in find_command(words)[0].params for name in parameter.opts}
    added = [(name, value) for name, value in SMALL.items() if name in known and name not in words]
    return [*words[1:], *(word for pair in added for word in pair)]


ALL = [(page, words) for page in PAGES for words in command_lines(page)]
OURS = [(page, words) for page, words in ALL if words[0] == "mtcnn"]
RUN = [(page, words) for page, words in OURS if words[1] not in NOT_RUN and page.name not in MEASURED | IN_ORDER]
_names = [f"{page.stem}: {' '.join(words)}" for page, words in RUN]


def test_pages_have_command_lines() -> None:
    """The pages that must have some, in case a change of their form hides them all."""
    assert {"README", "evaluation"} <= {page.stem for page, _ in RUN}
    assert {words[1] for _, words in RUN} >= {"detect", "eval", "bench", "status"}
    assert {words[1] for _, words in OURS} >= {"run"}


def test_every_line_is_ours_or_listed_as_other() -> None:
    unknown = [f"{page.name}: {' '.join(words)}" for page, words in ALL if words[0] not in {"mtcnn", *OTHER}]
    assert not unknown, "lines of another program: add it to OTHER, or mark the block as no sh"


@pytest.mark.parametrize("words", [words for _, words in OURS], ids=" ".join)
def test_lines_parse(words: list[str]) -> None:
    parse(words)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, random_models: Path) -> Path:
    """All files that the pages name. `work` and `old` have random weights; the source of `work` is drawn scenes."""
    made = lay_out(tmp_path_factory.mktemp("docs"))
    for name in ("work", "old"):
        shutil.copytree(random_models, made / name)
    narrow: Any = build("retinaface", {"width": 0.125})
    write(weights_path(made / "work", "retinaface"), Checkpoint("retinaface", narrow.state_dict(), scaling=MEAN_COLOUR))
    _write_teachers(made / "published")
    write_text(
        recipe_path(made / "trained", "slim"), 'net = "slim"\ntrain = {epochs = 1, steps = 2, batch = 2, val = 40}\n'
    )
    for net in ("pnet", "rnet", "onet"):
        (made / f"{net}.pt").write_bytes(facenet(net))
    (made / "mobilenet0.25_Final.pth").write_bytes(saved(retinaface_state()))
    remember_sources(made / "work", ["synthetic:2"])
    return made


def _write_teachers(models: Path) -> None:
    """Teachers: the packaged weights, which find drawn faces, and nets of random weights."""
    for folder in ("models-12", "models-24", "models-48", "models-full/retinaface"):
        shutil.copytree(packaged_weights() / folder, models / folder)
    for name, model in (("yunet-n", {}), ("centerface", {"width": 0.125})):
        net, spec = build(name, model), DETECTORS[name]
        write(
            weights_path(models, name),
            Checkpoint(name, net.state_dict(), scaling=spec.scaling, model=model_of(name, model)),
        )


@pytest.fixture
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    # In drawn scenes the cascade is hardly ever wrong, so there is nothing to fit.
    monkeypatch.setattr("prepare.teachers.calibration.fit_logistic", lambda *_: Logistic())
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # two threads on a busy core take minutes
    return folder


@pytest.mark.parametrize("words", [words for _, words in RUN], ids=_names)
def test_lines_run(words: list[str], inside: Path) -> None:
    pytest.importorskip("scipy")
    pytest.importorskip("matplotlib")
    outputs = [value for option, value in pairwise(words) if option in OUTPUTS]
    done = run(*small(words))
    assert done.exit_code == 0, done.stderr
    assert done.stdout or {"--out", "--wider"} & {*words}  # which take its place
    written = [path for value in outputs for path in inside.glob(f"{value}*")]
    assert bool(written) is bool(outputs)
    for path in written:  # so that the next line has to write its own
        path.rename(path.with_name(f"done-{len(list(inside.iterdir()))}-{path.name}"))


@pytest.mark.parametrize(
    "page",
    [
        ROOT / "README.md",
        *(ROOT / "docs" / name for name in ("detect.md", "crops-and-traces.md", "evaluation.md", "python.md")),
    ],
    ids=lambda page: page.stem,
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # the page evaluates detections of one data set on another
def test_python_examples_run(page: Path, inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, because later ones use names of earlier ones."""
    pytest.importorskip("scipy")
    pytest.importorskip("matplotlib")
    pytest.importorskip("onnxruntime")
    if page.stem != "python":  # that exports, and files are compared on what trained nets find
        monkeypatch.setattr("mtcnn.cascade.packaged_weights", lambda: inside / "work")
    names: dict[str, Any] = {}
    examples = blocks(page, "python")
    assert examples
    for example in examples:
        with redirect_stdout(io.StringIO()):
            exec(compile(example, str(page), "exec"), names)


def help_lines(command: click.Command = main) -> Iterator[str]:
    """The example lines in the help texts of a command and those below it."""
    for line in (command.help or "").splitlines():
        if line.strip().startswith("mtcnn "):
            yield re.split(r"\s{2,}", line.strip())[0]
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from help_lines(subcommand(command, name))


@pytest.mark.parametrize("line", sorted(set(help_lines())))
def test_examples_of_the_help_texts_parse(line: str) -> None:
    parse(shlex.split(line.split(" > ")[0]))


DETECT_EXAMPLES = sorted(set(help_lines(subcommand(main, "detect"))))


@pytest.mark.parametrize("line", DETECT_EXAMPLES)
def test_examples_of_detect_run(line: str, inside: Path) -> None:
    done = run(*small(shlex.split(line.split(" > ")[0])))
    assert done.exit_code == 0, done.stderr


def anchors(page: Path) -> set[str]:
    """The names by which links reach the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


CARDS = sorted(ROOT.glob("models-*/**/MODEL_CARD.md"))


@pytest.mark.parametrize("page", [*PAGES, *CARDS], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not link.startswith("http"):
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


DESCRIBED = [page for page in PAGES if page.name not in {"CONTRIBUTING.md", "decisions.md", "performance.md"}]


def options_of(command: click.Command = main) -> set[str]:
    """The options of a command and of those below it, without old names, which still work."""
    found = {name for each in command.params if not getattr(each, "hidden", False)
             for name in (*each.opts, *each.secondary_opts)}  # fmt: skip
    if isinstance(command, click.Group):
        found = found.union(
            *(options_of(subcommand(command, name)) for name in command.list_commands(click.Context(command)))
        )
    return found


@pytest.mark.parametrize("page", DESCRIBED, ids=lambda page: page.stem)
def test_options_that_pages_describe_exist(page: Path) -> None:
    """`--option` in the text; benchmarks have options of their own."""
    scripts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.py"))
    for name in re.findall(r"`(--[a-z][\w-]*)", prose(page)):
        assert name in options_of() or f'"{name}"' in scripts, name


def test_an_invalid_line_is_noticed() -> None:
    with pytest.raises(click.UsageError):
        parse(shlex.split("mtcnn detect photo.jpg --drow x"))
    with pytest.raises(click.UsageError):
        parse(shlex.split("mtcnn eval wider found"))
    with pytest.raises(KeyError):
        parse(shlex.split("mtcnn evil wider found"))
    assert small(shlex.split("mtcnn detect x --min-face 9")) == ["detect", "x", "--min-face", "9", "--models", "work"]
