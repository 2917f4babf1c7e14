"""A search, on drawn faces: resumed after kills, with candidates that fail, by halving, and its report."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from factories import environment
from processes import PATIENCE, is_alive, signalled, wait_until
from run_command import run
from torch import nn

from mtcnn.checkpoint import Checkpoint, read, write
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import build, model_of
from mtcnn.errors import DataError, MtcnnError, RecipeError, SettingsError, TrainingError
from mtcnn.types import Faces
from mtcnn.workers.alone import ProcessKilled, call_alone
from prepare import synthetic
from stages.graph.project import open_project
from stages.graph.reservation import reserved
from stages.photos import task
from stages.photos.recipe import DetectorRecipe
from stages.photos.store import PhotoStore, build_photos
from stages.recipes import load_recipe, recipe_path
from stages.search import nodes
from stages.search.nodes import CandidateOutcome, survivors
from stages.search.plan import SearchPlan, load_plan, settle
from stages.search.ranking import hard_ap
from stages.search.report import PARTS
from stages.search.run import NetSearch
from stages.search.shares import best_shares

NET = "scrfd-0.5g"
RECIPE = """net = "scrfd-0.5g"
[model]
stem = [8, 8]
neck = 8
head = 8
norm_groups = 8
[pictures]
sizes = [64]
[objective]
name = "atss"
[train]
epochs = 7
steps = 2
batch = 4
lr = 6e-3
"""
GIVEN: dict[str, Any] = {"budget": 0.05e9, "count": 3, "epochs": 2, "val": 30.0}
WORDS = ("--budget", "50M", "--candidates", 3, "--epochs", 2, "--val", 30, "--workers", 1)
SOURCES = ("synthetic:16",)
Begin = Callable[..., NetSearch]


def here(function: Callable[[], Any]) -> None:
    """A call in this process, which saves the seconds that a new one takes to start."""
    function()


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(nodes, "call_alone", here)
    if "by_command" not in request.node.name:
        monkeypatch.setattr("stages.search.report._plot", lambda *given: None)
    monkeypatch.setattr("stages.fit.RunLog.draw", lambda log: None)
    monkeypatch.setattr("stages.run_log._board", lambda folder, epoch: None)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def search(tmp_path: Path, recipe: Path) -> Begin:
    def begin(folder: str = "found", step: str = "trunk", template: str | None = None, **given: Any) -> NetSearch:
        return NetSearch(tmp_path / folder, step, {**GIVEN, **given}, template, recipe, sources=SOURCES, quiet=True)

    return begin


def table_of(folder: Path, step: str = "trunk") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / step / "table.jsonl").read_text().splitlines()]


# ---- the command


def test_two_steps_by_command(tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    done = run("search", *WORDS, "--recipe", recipe, "--data", SOURCES[0], "--to", tmp_path)
    assert done.exit_code == 0, done.stderr
    rows = table_of(tmp_path)
    assert sorted(row["candidate"] for row in rows) == ["trunk-00", "trunk-01", "trunk-02"]
    assert [row["hard_ap"] for row in rows] == sorted((row["hard_ap"] for row in rows), reverse=True)
    for row in rows:
        assert list(row["parts"]) == list(PARTS)
        assert row["multiply_adds"] == sum(row["parts"].values()) == pytest.approx(0.05e9, rel=0.02)
    assert done.stdout == (tmp_path / "trunk/table.md").read_text()
    assert (tmp_path / "trunk/table.png").stat().st_size > 10_000
    assert f"winner: {rows[0]['candidate']}, hard AP {rows[0]['hard_ap']:.4f} on" in done.stderr

    made = load_recipe(DetectorRecipe, tmp_path / "trunk/winner", NET)
    base = load_recipe(DetectorRecipe, tmp_path, NET)
    assert made == replace(base, model=made.model), "the schedule is the recipe's, not that of the search"
    assert json.loads(json.dumps(made.model)) == rows[0]["model"]

    second = run("search", "--step", "whole", "--candidates", 2, "--to", tmp_path)
    assert second.exit_code == 0, second.stderr
    plan = load_plan(tmp_path, "whole")
    assert plan is not None and plan.template == model_of(NET, made.model), "the winner of the step before"
    assert (plan.budget, plan.count, plan.epochs, plan.val) == (0.05e9, 2, 2, 30), "and its settings, or those given"

    shown = run("status", "--work", tmp_path).stdout
    assert [line.split()[1] for line in shown.splitlines() if line.startswith(("trunk-", "whole-"))] == ["fresh"] * 5
    assert f"search trunk: 3 of 3 candidates trained, 0 failed; best {rows[0]['candidate']}, hard AP" in shown

    monkeypatch.setattr(nodes, "train_detector", None)  # nothing is left to train
    again = run("search", "--to", tmp_path)
    assert (again.exit_code, again.stdout) == (0, done.stdout)
    assert run("train", "--net", NET, "--work", tmp_path / "trunk/winner", "--quiet").exit_code == 0


@pytest.mark.parametrize(("words", "expected"), [
    (["--budget", "much"], "'much' is no number of multiply-adds; expected one such as 0.5G or 50M"),
    (["--budget", "-1G"], "expected one such as 0.5G or 50M"),
    (["--template", "trunk-07"], "--template is 'trunk-07'; expected a recipe file, or a candidate such as trunk-07"),
    (["--net", "scrfd-1g"], "--recipe is of scrfd-0.5g; expected one of scrfd-1g"),
    (["--size", "480", "650"], "--size is 650; expected a multiple of 32"),
    (["--net", "retinaface"], "'retinaface' is not one of 'scrfd-0.5g'"),
    (["--budget", "1000G", "--data", SOURCES[0]], "--budget is 1000 G; none of"),
])  # fmt: skip
def test_refusals(words: list[str], expected: str, recipe: Path, tmp_path: Path,
                  monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("stages.search.space.TRIES", 100)
    done = run("search", "--recipe", recipe, "--to", tmp_path, "--data", SOURCES[0], *words)
    assert done.exit_code == 2
    assert expected in " ".join(done.stderr.replace("│", " ").split())


def test_not_under_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = run("search", "--to", tmp_path)
    assert done.exit_code == 1
    assert "mtcnn search under torchrun: expected one process; use --workers instead" in done.stderr


def test_nothing_is_made_without_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MTCNN_DATA", raising=False)
    done = run("search", "--to", tmp_path / "new")
    assert done.exit_code == 1
    assert "has no stored sources; name them once with --data FOLDER" in done.stderr
    assert not (tmp_path / "new").exists()


# ---- kills


PROGRAM = """
import sys
from pathlib import Path
from stages.search import nodes, run
nodes.call_alone = lambda function: function()
given = {"budget": 0.05e9, "count": 3, "epochs": 2, "val": 30.0}
run.NetSearch(Path(sys.argv[1]), "trunk", given, None, Path(sys.argv[2]), sources=("synthetic:16",), quiet=True).run()
"""


def test_killed_three_times_and_called_again(search: Begin, recipe: Path, tmp_path: Path) -> None:
    """In the middle of an epoch, before an outcome is written, and before the table: it ends in the same table."""
    search("whole").run()
    places = (("stages.fit:Training.step", 4), ("stages.search.nodes:TrainCandidate._write", 2),
              ("stages.search.run:write_report", 1))  # fmt: skip
    for place, call in places:
        killed = signalled(place, call, signal.SIGKILL, PROGRAM, tmp_path / "killed", recipe)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not (tmp_path / "killed/trunk/table.jsonl").exists()
    shown = run("status", "--work", tmp_path / "killed").stdout
    assert "search trunk: 3 of 3 candidates trained" in shown
    search("killed").run()
    for name in ("table.jsonl", "table.md", "winner/models-full/scrfd-0.5g/recipe.toml"):
        assert (tmp_path / "killed/trunk" / name).read_bytes() == (tmp_path / "whole/trunk" / name).read_bytes()


def _kill(number: int) -> None:
    os.kill(os.getpid(), number)


def _die_in_the_middle_of_an_answer() -> None:
    frame: Any = sys._getframe()
    while "pipe" not in frame.f_locals:
        frame = frame.f_back
    os.write(frame.f_locals["pipe"].fileno(), b"\0\0\xff\xff")  # of so many bytes
    _kill(signal.SIGKILL)


def _raise(error: Exception) -> None:
    raise error


def _touch_and_wait(path: Path) -> None:
    path.write_text(str(os.getpid()))
    time.sleep(PATIENCE)


class Unpicklable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def _raise_unpicklable() -> None:
    raise Unpicklable(1, 2)


def test_a_call_alone(tmp_path: Path) -> None:
    """What it raises is raised here, with its traceback if it is a bug; a kill is an error of its own."""
    with pytest.raises(ProcessKilled, match=r"its process was killed \(SIGKILL\); is memory short"):
        call_alone(partial(_kill, signal.SIGKILL))
    with pytest.raises(ProcessKilled, match=r"its process was killed \(SIGKILL\); is memory short"):
        call_alone(_die_in_the_middle_of_an_answer)
    with pytest.raises(TrainingError, match=r"^odd$"):
        call_alone(partial(_raise, TrainingError("odd")))
    with pytest.raises(RuntimeError, match=r"^Unpicklable: 1 and 2$"):
        call_alone(_raise_unpicklable)
    with pytest.raises(KeyError) as caught:
        call_alone(partial(_raise, KeyError("a bug")))
    with pytest.raises(RuntimeError, match=r"ended with status 1"):
        call_alone(partial(os._exit, 1))
    assert "in _raise" in "".join(caught.value.__notes__)


ALONE = """
import sys
from functools import partial
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_search import _touch_and_wait
from mtcnn.workers.alone import call_alone
if __name__ == "__main__":
    call_alone(partial(_touch_and_wait, Path(sys.argv[2])))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_call_alone_ends_with_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    path, program = tmp_path / "pid", tmp_path / "program.py"
    program.write_text(ALONE)
    words = [sys.executable, str(program), str(Path(__file__).parent), str(path)]
    with subprocess.Popen(words, env=environment(), stderr=subprocess.DEVNULL) as parent:
        wait_until(lambda: path.exists() and path.read_text(), parent)
        parent.send_signal(number)
        parent.wait()
    wait_until(lambda: not is_alive(int(path.read_text())))


# ---- candidates that fail


def _nan(net: nn.Module) -> nn.Module:
    with torch.no_grad():
        next(net.parameters()).fill_(torch.nan)
    return net


@pytest.mark.parametrize(("fault", "words"), [
    (None, "the loss of scrfd-0.5g is nan at step 0"),
    (MemoryError(), "MemoryError"),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "can't allocate memory"),
    (ProcessKilled("its process was killed (SIGKILL)"), "its process was killed"),
], ids=["NaN", "memory", "memory of torch", "killed"])  # fmt: skip
def test_a_candidate_that_fails_is_passed_over(
    search: Begin,
    fault: Exception | None,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    begun, net_of = search(), task.new_net

    def new_net(given: DetectorRecipe) -> nn.Module:
        net = net_of(given)
        if given.model != begun.plan.models[1]:
            return net
        if fault is not None:
            raise fault
        return _nan(net)

    monkeypatch.setattr(nodes, "new_net", new_net)
    rows = begun.run()
    assert [row.name for row in rows if row.outcome.failed] == ["trunk-01"]
    assert rows[-1].name == "trunk-01"
    assert words in table_of(tmp_path / "found")[-1]["failed"]
    assert "failed: " in (tmp_path / "found/trunk/table.md").read_text()
    assert "3 of 3 candidates trained, 1 failed" in run("status", "--work", tmp_path / "found").stdout

    monkeypatch.setattr(nodes, "new_net", None)  # a failure is an outcome too: nothing is trained again
    assert [row.name for row in search().run()] == [row.name for row in rows]


def test_weights_that_are_not_finite_after_the_last_step(search: Begin, recipe: Path) -> None:
    path = recipe.with_name("wild.toml")
    path.write_text(RECIPE.replace("6e-3", "1e30"))
    begun = NetSearch(search().folder.with_name("wild"), "trunk", {**GIVEN, "epochs": 1, "steps": 1}, None, path,
                   sources=SOURCES, quiet=True)  # fmt: skip
    with pytest.raises(TrainingError, match=r"all 3 candidates failed; the first: after 1 epochs .* NaN, infinity"):
        begun.run()


def test_a_bug_is_no_failure(search: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "new_net", lambda recipe: _raise(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        search().run()


def test_candidates_learn_from_a_teacher_and_have_cards(recipe: Path, tmp_path: Path) -> None:
    teacher, path = tmp_path / "teacher.safetensors", tmp_path / "distil.toml"
    torch.manual_seed(1)
    state, model = build("ssh", {"width": 0.0625}).state_dict(), model_of("ssh", {"width": 0.0625})
    write(teacher, Checkpoint("ssh", state, scaling=DETECTORS["ssh"].scaling, model=model))
    path.write_text(recipe.read_text().replace('"atss"', '"distill"'))
    given = {**GIVEN, "count": 1, "epochs": 1}
    begin = partial(NetSearch, tmp_path / "found", "trunk", given, None, path, sources=SOURCES, quiet=True)
    with pytest.raises(RecipeError, match="objective is distill without a teacher"):
        begin()
    row = begin(teacher=teacher).run()[0]
    card = tmp_path / "found/trunk/00/MODEL_CARD.md"
    text = card.read_text("utf-8")
    digest = hashlib.sha256(teacher.read_bytes()).hexdigest()
    assert f"| distilled from | ssh, SHA-256 {digest}" in text and "| synthetic:16 | 16 |" in text
    assert "| candidate | trunk-00 |" in text and f"| hard AP | {row.outcome.ap:.4f} on {row.outcome.photos} " in text
    weights = card.with_name("weights.safetensors")
    assert read(weights).recipe["sources"][0]["name"] == "synthetic:16"
    before = weights.read_bytes()
    card.unlink()
    begin().run()
    assert card.read_text("utf-8") == text and weights.read_bytes() == before
    done = run("train", "--net", NET, "--work", tmp_path / "found/trunk/winner", "--quiet")
    assert done.exit_code == 0, "the winner has the teacher too"


# ---- halving


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Trainings that take no time: a candidate is as good as its number says, more so the longer it is trained.

    Returns (candidate, epochs) of each training.
    """
    trained: list[tuple[int, int]] = []

    def work(action: Any, makes: Path, key: str, device: str) -> None:
        index = int(makes.parent.name)
        trained.append((index, action.epochs))
        failed = "diverged" if index == 3 else ""
        action._write(makes, key, CandidateOutcome(action.epochs, 0 if failed else (index * 7 % 11) / 11, 1, 1, failed))

    monkeypatch.setattr(nodes.TrainCandidate, "_work", work)
    return trained


def test_halving_keeps_the_best(search: Begin, invented: list[tuple[int, int]], tmp_path: Path) -> None:
    plain = search("plain", count=11, epochs=8).run()
    assert len(invented) == 11
    invented.clear()
    halved = search("halved", count=11, epochs=8, halving=True).run()
    assert halved[0].name == plain[0].name
    by_epochs = {epochs: [i for i, of in invented if of == epochs] for epochs in (2, 4, 8)}
    assert [len(by_epochs[epochs]) for epochs in (2, 4, 8)] == [11, 6, 3]
    best = [int(row.name[-2:]) for row in plain]
    assert sorted(by_epochs[4]) == sorted(best[:6]) and sorted(by_epochs[8]) == sorted(best[:3])
    assert [row.name for row in halved[:3]] == [row.name for row in plain[:3]]
    assert halved[-1].outcome.failed == "diverged"
    assert [row.outcome.epochs for row in halved] == [8] * 3 + [4] * 3 + [2] * 5

    invented.clear()
    full = search("halved", count=11, epochs=8, halving=False).run()
    assert sorted(invented) == sorted((i, 8) for i in range(11) if i not in by_epochs[8]), "the rest, to the end"
    assert [row.to_dict() for row in full] == [row.to_dict() for row in plain]


def test_survivors() -> None:
    found = [CandidateOutcome(1, ap, failed=failed) for ap, failed in ((0.2, ""), (0.4, ""), (0.4, ""), (0.9, "odd"))]
    assert survivors([3, 5, 7, 9], found) == [5, 7]
    assert survivors([3, 5, 7], found[:3]) == [5, 7]
    assert survivors([3, 9], [found[0], found[3]]) == [3]
    assert survivors([9], found[3:]) == []


def test_a_halved_training_ends_as_an_uninterrupted_one(search: Begin, tmp_path: Path) -> None:
    plain = {row.name: row for row in search("plain", count=2, epochs=4).run()}
    halved = search("halved", count=2, epochs=4, halving=True).run()
    assert [row.outcome.epochs for row in halved] == [4, 1]
    assert halved[0].to_dict() == plain[halved[0].name].to_dict()
    one, other = (read(tmp_path / of / "trunk" / halved[0].name[-2:] / "weights.safetensors").state
                  for of in ("plain", "halved"))  # fmt: skip
    assert all(np.array_equal(value, other[name]) for name, value in one.items())


# ---- the plan


def test_more_candidates_begin_with_the_same_ones() -> None:
    few = settle(None, "trunk", {**GIVEN, "template": {"neck": 8, "head": 8, "norm_groups": 8}})
    more = settle(few, "trunk", {"count": 5})
    assert (len(more.models), more.models[:3]) == (5, few.models)
    assert settle(few, "trunk", {}) == few == settle(few, "trunk", GIVEN)


@pytest.mark.parametrize("change", [{"count": 2}, {"seed": 1}, {"budget": 0.06e9}, {"halving": True}, {"epochs": 3}])
def test_another_search_in_a_folder_is_refused(change: dict[str, Any]) -> None:
    found = SearchPlan(**GIVEN, models=({}, {}, {}))
    ((name, value),) = change.items()
    with pytest.raises(SettingsError, match=f"{name} is {value}; the search in this folder has {getattr(found, name)}"):
        settle(found, "trunk", change)


@pytest.mark.parametrize("change", ["plan", "recipe"])
def test_two_searches_begun_at_once(search: Begin, recipe: Path, tmp_path: Path, change: str) -> None:
    """The second does not replace what the first works from, which a killed one needs to resume."""
    pytest.importorskip("fcntl")
    folder = tmp_path / "found"

    def first(*given: Any, **settings: Any) -> Any:
        patch.undo()
        search()
        return open_project(*given, **settings)

    if change == "plan":  # the first begins while the second reads its labels
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("stages.search.run.open_project", first)
            with pytest.raises(SettingsError, match=r"seed is 1; the search in this folder has 0: expected the same"):
                search(seed=1)
    else:
        search()
        other = tmp_path / "other.toml"
        other.write_text(recipe.read_text().replace("6e-3", "5e-3"))
        with reserved(folder, [NET]):
            NetSearch(folder, "trunk", GIVEN, None, recipe, quiet=True)  # the same recipe
            with pytest.raises(MtcnnError, match=rf"^{NET}: another process .*, whose recipe would change"):
                NetSearch(folder, "trunk", GIVEN, None, other, quiet=True)
            done = run("search", "--recipe", other, "--to", folder)
            assert done.exit_code == 1
            assert done.stderr.endswith("run the same command again, or name another folder as --to\n")
    plan = load_plan(folder, "trunk")
    assert plan is not None and plan.seed == 0
    assert recipe_path(folder, NET).read_text() == recipe.read_text()


def test_a_damaged_plan(tmp_path: Path) -> None:
    for text in ("", "{", "[]", '{"net": "scrfd-0.5g"}', '{"net": 3, "template": {}, "models": []}'):
        (tmp_path / "trunk").mkdir(exist_ok=True)
        (tmp_path / "trunk/plan.json").write_text(text)
        with pytest.raises(DataError, match=r"plan\.json is no plan of a search"):
            load_plan(tmp_path, "trunk")


def test_a_plan_without_its_candidates(search: Begin) -> None:
    folder = search().folder
    path = folder / "trunk" / "plan.json"
    body = json.loads(path.read_text())
    changes: list[dict[str, Any]] = [{"models": body["models"][:-1]}, {"models": []}, {"step": "whole"}]
    for change in changes:
        path.write_text(json.dumps(body | change))
        with pytest.raises(DataError, match=r"plan\.json is no plan of a search \(it lacks candidates, or"):
            search()


@pytest.mark.parametrize("change", [
    {"epochs": "2"}, {"ap": None}, {"ap": "0.5"}, {"failed": 5}, {"faces": [1]}, {"photos": 1.5}, {"more": 1},
])  # fmt: skip
def test_a_damaged_outcome_is_none(search: Begin, invented: Any, change: dict[str, Any]) -> None:
    """The candidate is trained again."""
    begun = search()
    begun.run()
    path, before = begun.folder / "trunk" / "01" / "outcome.json", table_of(begun.folder)
    body = json.loads(path.read_text())
    path.write_text(json.dumps({**body, "outcome": body["outcome"] | change}))
    done = len(invented)
    search().run()
    assert len(invented) == done + 1
    assert table_of(begun.folder) == before


def test_rungs() -> None:
    assert SearchPlan(epochs=10).rungs == [10]
    assert [SearchPlan(epochs=epochs, halving=True).rungs for epochs in (1, 2, 3, 10)] == [
        [1], [1, 2], [1, 2, 3], [3, 5, 10]
    ]  # fmt: skip


def test_templates(search: Begin, invented: list[tuple[int, int]], recipe: Path) -> None:
    first = search()
    first.run()
    assert search(step="whole", template="trunk-01").plan.template == first.plan.models[1]
    other = recipe.with_name("other.toml")
    other.write_text(RECIPE.replace("head = 8", "head = 16"))
    assert search("other", template=str(other)).plan.template["head"] == 16
    with pytest.raises(SettingsError, match=r"template is .*; the search in this folder has"):
        search(template=str(other))


# ---- ranking and report


def test_hard_ap_counts_faces_of_ten_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faces that are lower count neither for nor against; each one found doubles as what the detector returns."""
    records = synthetic.records(12, 3)
    path = tmp_path / "photos.raw"
    build_photos(records, path, "key", quiet=True)
    store = PhotoStore(path, records)
    heights = np.concatenate([r.boxes[:, 3] - r.boxes[:, 1] for r in store.records if r.is_val(50)])
    found = iter([r.boxes for r in store.records if r.is_val(50)])

    def detect(image: Any) -> Faces:
        boxes = next(found)
        return Faces(boxes, np.linspace(0.9, 0.5, len(boxes), dtype=np.float32), None)

    monkeypatch.setattr("stages.search.ranking.load_runtime", lambda *given: None)
    monkeypatch.setattr("stages.search.ranking.SingleStage", lambda *given, **named: detect)
    monkeypatch.setattr("stages.search.ranking.HARD_HEIGHT", limit := float(np.median(heights)))
    result = hard_ap(path, NET, store, 50, 640, "cpu")
    assert result == (1.0, (heights >= limit).sum(), sum(r.is_val(50) for r in store.records))
    monkeypatch.setattr("stages.search.ranking.HARD_HEIGHT", 1e6)
    found = iter([r.boxes for r in store.records if r.is_val(50)])
    with pytest.raises(DataError, match=r"no face of 1e\+06 pixels or more among the .* photos of the validation part"):
        hard_ap(path, NET, store, 50, 640, "cpu")


def test_best_shares_are_those_of_the_exact_distribution() -> None:
    """The best of n of N has rank k or better, from 0, with probability 1 - ((N - k - 1) / N) ** n."""
    count, sampled = 40, 10
    rng = np.random.default_rng(1)
    order = rng.permutation(count)
    aps = np.empty(count)
    aps[order] = -np.arange(count, dtype=float)
    ranks = np.empty(count)
    ranks[order] = np.arange(count)
    found = best_shares(aps.tolist(), np.stack([ranks, ranks + 100], axis=1))
    reached = 1 - ((count - 1 - np.arange(count)) / count) ** sampled
    assert found.sampled == sampled
    for value, quantile in ((found.low, 0.025), (found.median, 0.5), (found.high, 0.975)):
        exact = int(np.searchsorted(reached, quantile))
        assert abs(value[0] - exact) <= 1 and value[1] == value[0] + 100
    alone = best_shares([0.3], np.array([[0.25, 0.75]]))
    assert alone.sampled == 1 and alone.low.tolist() == alone.high.tolist() == [0.25, 0.75]


def test_an_edited_recipe_of_the_winner_stays(search: Begin, invented: Any, tmp_path: Path) -> None:
    search().run()
    path = tmp_path / "found/trunk/winner/models-full/scrfd-0.5g/recipe.toml"
    path.write_text(path.read_text().replace("epochs = 7", "epochs = 70"))
    search().run()
    assert "epochs = 70" in path.read_text()
    shutil.rmtree(path.parent)
    search().run()
    assert "epochs = 7\n" in path.read_text()
