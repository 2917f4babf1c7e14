"""The dependency graph: inputs of each node, what a change makes stale, and what is made again."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from factories import random_crops, write_crops

from mtcnn.checkpoint import Checkpoint, read, read_threshold, write
from mtcnn.errors import DataError, MtcnnError, RecipeError
from mtcnn.nets import CLASSES, NETS
from mtcnn.scoring import Scoring
from mtcnn.workers import local_workers
from prepare.labels import Kind
from prepare.mine import MineSettings
from prepare.records import ImageRecord
from prepare.sample import CropSettings
from prepare.source_notes import SourceNote
from prepare.store import CropWriter
from stages.crops.nodes import TrainOnStores, cascade_nodes, chain, keep_start
from stages.crops.recipe import Mix, Recipe, TrainSettings
from stages.graph.dag import Dag, Node, Options, data_key
from stages.photos.nodes import detector_nodes
from stages.photos.recipe import DetectorRecipe

CHAIN = ["crops-12", "pnet-draft", "crops-12-hard", "pnet", "crops-24", "rnet", "crops-48", "onet"]
RECORDS = [ImageRecord(Path("a.jpg"), np.array([[1, 2, 30, 40]])), ImageRecord(Path("b.jpg"))]
RECIPES = {
    "pnet": Recipe("pnet", mine=MineSettings((0.3,)), draft=TrainSettings(epochs=2)),
    "rnet": Recipe("rnet", mine=MineSettings((0.3,))),
    "onet": Recipe(
        "onet", crops=CropSettings(landmarks=2), mine=MineSettings((0.3, 0.1)), train=TrainSettings(mix=Mix(landmark=1))
    ),
}


def graph(
    work: Path,
    changes: dict[str, Recipe] | None = None,
    records: Sequence[ImageRecord] = RECORDS,
    hard_from: str | None = None,
) -> Dag:
    """A graph whose stages write empty files with the right keys instead of working."""
    recipes = {**RECIPES, **(changes or {})}
    nodes = cascade_nodes(work, recipes, records, data_key(records), hard_from)
    return Dag(work, [replace(node, action=Pretend(node)) for node in nodes])


@dataclass(frozen=True)
class Pretend:
    """Replaces a node's action."""

    node: Node

    def __call__(self, makes: Path, key: str, options: Options) -> None:
        if makes.suffix == ".lmdb":
            write_crops(makes, [random_crops(np.random.default_rng(0), 12, [Kind.NEG])], key=key)
        else:
            net = self.node.name.removesuffix("-draft")
            write(makes, Checkpoint(net, CLASSES[net]().state_dict(), recipe_hash=key))

    def read_key(self, makes: Path) -> str | None:
        return self.node.action.read_key(makes)

    def update(self, makes: Path) -> None:
        self.node.action.update(makes)


@dataclass(frozen=True)
class WriteKey:
    """An action that leaves the key and the process in the file."""

    def __call__(self, makes: Path, key: str, options: Options) -> None:
        makes.write_text(f"{key} {os.getpid()}")

    def read_key(self, makes: Path) -> str | None:
        return makes.read_text().split()[0] if makes.exists() else None

    def update(self, makes: Path) -> None:
        pass


def states(dag: Dag) -> dict[str, str]:
    return {state.name: state.state for state in dag.status()}


def reasons(dag: Dag) -> dict[str, str]:
    return {state.name: state.reason for state in dag.status() if state.state != "fresh"}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A work folder in which all is fresh."""
    dag = graph(tmp_path)
    assert dag.ensure(*dag.nodes) == CHAIN
    return tmp_path


def train(net: str, **changes: object) -> dict[str, Recipe]:
    return {net: replace(RECIPES[net], train=replace(RECIPES[net].train, **changes))}  # type: ignore[arg-type]


def mine(net: str, **changes: object) -> dict[str, Recipe]:
    before = RECIPES[net].mine
    assert before is not None
    return {net: replace(RECIPES[net], mine=replace(before, **changes))}  # type: ignore[arg-type]


def crops(net: str, **changes: object) -> dict[str, Recipe]:
    return {net: replace(RECIPES[net], crops=replace(RECIPES[net].crops, **changes))}  # type: ignore[arg-type]


# ---- the chain


def test_context_of_crops_is_that_of_the_weights(tmp_path: Path) -> None:
    """Crops and weights have keys that depend on it, unless it is 1, and the weights carry it."""
    before, after, both = (
        {node.name: node for node in cascade_nodes(tmp_path, {**RECIPES, **wide}, RECORDS, "data")}
        for wide in ({}, crops("onet", context=1.3), {**crops("rnet", context=1.2), **crops("onet", context=1.3)})
    )
    assert [name for name in CHAIN if before[name].key != after[name].key] == ["crops-48", "onet"]
    assert [name for name in CHAIN if after[name].key != both[name].key] == ["crops-24", "rnet", "crops-48", "onet"]
    actions = [after[name].action for name in ("rnet", "onet")]
    assert all(isinstance(action, TrainOnStores) for action in actions)
    scores = [action.settings.score for action in actions if isinstance(action, TrainOnStores)]
    assert scores == [Scoring(), Scoring(context=1.3)]


@pytest.mark.parametrize("context", [1.0, 1.3])
def test_a_start_of_another_context_is_noted(tmp_path: Path, context: float) -> None:
    start = tmp_path / "start.safetensors"
    write(start, Checkpoint("onet", NETS["onet"]().state_dict(), scoring=Scoring(context=1.3)))
    keep_start(tmp_path, "onet", start)
    nodes = cascade_nodes(tmp_path, {**RECIPES, **crops("onet", context=context)}, RECORDS, "data")
    notes = {node.name: [note for note in node.note.split("; ") if "context" in note] for node in nodes}
    expected = [
        "starts from weights for crops with a context of 1.3, while its recipe makes crops with 1",
        "set crops.context = 1.3 for the best start",
    ]
    assert notes == {name: [] for name in CHAIN} | {"onet": expected if context == 1 else []}


def test_inputs_of_each_node(tmp_path: Path) -> None:
    assert {name: node.needs for name, node in graph(tmp_path).nodes.items()} == {
        "crops-12": (),
        "pnet-draft": ("crops-12",),
        "crops-12-hard": ("pnet-draft",),
        "pnet": ("crops-12", "crops-12-hard"),
        "crops-24": ("pnet",),
        "rnet": ("crops-24",),
        "crops-48": ("pnet", "rnet"),
        "onet": ("crops-48",),
    }


def test_location_of_each_node(tmp_path: Path) -> None:
    found = {name: node.makes.relative_to(tmp_path).as_posix() for name, node in graph(tmp_path).nodes.items()}
    assert found == {
        "crops-12": "crops-12.lmdb",
        "pnet-draft": "draft/models-12/weights-pnet.safetensors",
        "crops-12-hard": "crops-12-hard.lmdb",
        "pnet": "models-12/weights-pnet.safetensors",
        "crops-24": "crops-24.lmdb",
        "rnet": "models-24/weights-rnet.safetensors",
        "crops-48": "crops-48.lmdb",
        "onet": "models-48/weights-onet.safetensors",
    }


def test_without_a_draft_pnet_has_only_sampled_crops(tmp_path: Path) -> None:
    dag = graph(tmp_path, {"pnet": Recipe("pnet")})
    assert list(dag.nodes) == ["crops-12", "pnet", *CHAIN[4:]]
    assert dag.nodes["pnet"].needs == ("crops-12",)


def test_hard_from_pnet_leaves_rnet_out_of_onets_mining(made: Path) -> None:
    dag = graph(made, hard_from="pnet")
    assert dag.nodes["crops-48"].needs == ("pnet",)
    assert reasons(dag) == {"crops-48": "changed: rnet", "onet": "changed: crops-48"}
    assert dag.ensure("onet") == ["crops-48", "onet"]
    assert reasons(graph(made)) == {"crops-48": "changed: rnet", "onet": "changed: crops-48"}, "and back"


def test_only_what_a_target_needs_is_made(tmp_path: Path) -> None:
    said: list[str] = []
    assert graph(tmp_path).ensure("crops-12-hard", say=said.append) == CHAIN[:3]
    assert [line.split(":")[0] for line in said if ": making " in line] == CHAIN[:3]
    assert [line.split(":")[0] for line in said if ": made in 0:00:" in line] == CHAIN[:3]
    assert graph(tmp_path).ensure("rnet") == CHAIN[3:6]
    assert graph(tmp_path).ensure("pnet", "crops-24") == []


def test_unknown_target(tmp_path: Path) -> None:
    with pytest.raises(MtcnnError, match="no stage named znet; expected one of crops-12, pnet-draft"):
        graph(tmp_path).ensure("znet")


# ---- what a change makes stale


def test_fresh_nodes_are_left_alone(made: Path) -> None:
    dag = graph(made)
    assert states(dag) == dict.fromkeys(CHAIN, "fresh")
    assert dag.ensure(*dag.nodes) == []


def test_a_threshold_makes_nothing_stale_and_is_written(made: Path) -> None:
    dag = graph(made, train("rnet", threshold=0.25))
    assert set(states(dag).values()) == {"fresh"}
    assert dag.ensure(*dag.nodes) == []
    assert read_threshold(dag.nodes["rnet"].makes) == 0.25
    assert read_threshold(dag.nodes["onet"].makes) is None


def test_onets_lr_makes_only_onet_stale(made: Path) -> None:
    dag = graph(made, train("onet", lr=1e-4))
    assert reasons(dag) == {"onet": "changed: recipe section [train]"}
    assert dag.ensure(*dag.nodes) == ["onet"]
    assert states(dag) == dict.fromkeys(CHAIN, "fresh")


def test_pnets_training_makes_all_downstream_stale(made: Path) -> None:
    dag = graph(made, train("pnet", epochs=3))
    assert reasons(dag) == {
        "pnet": "changed: recipe section [train]",
        "crops-24": "changed: pnet",
        "rnet": "changed: crops-24",
        "crops-48": "changed: pnet, rnet",
        "onet": "changed: crops-48",
    }
    assert dag.ensure(*dag.nodes) == CHAIN[3:]


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        (train("rnet", seed=1), "rnet"),
        (mine("rnet", max_neg=5), "crops-24"),
        (mine("onet", thresholds=(0.5, 0.5)), "crops-48"),
        (crops("onet", near=9), "crops-48"),
        (mine("pnet", max_pos=1), "crops-12-hard"),
        ({"pnet": replace(RECIPES["pnet"], draft=TrainSettings(epochs=1))}, "pnet-draft"),
        (crops("pnet", val=7.0), "crops-12"),
        ({"rnet": replace(RECIPES["rnet"], seed=5)}, "crops-24"),
    ],
)
def test_a_change_makes_only_downstream_nodes_stale(made: Path, changes: dict[str, Recipe], first: str) -> None:
    dag = graph(made, changes)
    stale = [name for name, state in states(dag).items() if state == "stale"]
    assert stale == CHAIN[CHAIN.index(first) :]


def test_other_labels_make_all_stale(made: Path) -> None:
    dag = graph(made, records=[*RECORDS, ImageRecord(Path("c.jpg"))])
    assert states(dag) == dict.fromkeys(CHAIN, "stale")
    assert reasons(dag)["crops-12"] == "changed: data"
    assert reasons(dag)["crops-24"] == "changed: data, pnet"


def test_the_data_key_sees_names_boxes_points_and_flags() -> None:
    record = ImageRecord(Path("a.jpg"), np.array([[1, 2, 30, 40]]))
    other = [
        replace(record, path=Path("b.jpg")),
        replace(record, boxes=record.boxes + 1),
        replace(record, landmarks=np.zeros((1, 5, 2))),
        replace(record, ignore=np.array([True])),
        replace(record, complete=False),
    ]
    assert len({data_key([one]) for one in [record, *other]}) == 6
    assert data_key([record, other[0]]) != data_key([other[0], record])
    moved = replace(record, path=Path("elsewhere") / "a.jpg")
    assert data_key([moved]) == data_key([record]), "a folder that moved holds the same images"


def test_keys_stay(tmp_path: Path) -> None:
    """A changed key makes everything stale that users have trained. Only change these on purpose."""
    keys = {name: node.key for name, node in graph(tmp_path).nodes.items()}
    assert keys["crops-12"] == "fb8631f6c48787a6"
    assert keys["onet"] == "e86b2c70abb9e247"


def test_actions_pickle(tmp_path: Path) -> None:
    """So that another process or machine can make a node."""
    recipes = [DetectorRecipe(net) for net in ("retinaface", "ssh")]
    nodes = cascade_nodes(tmp_path, RECIPES, RECORDS, "data") + detector_nodes(tmp_path, recipes, RECORDS, "data")
    for node in nodes:
        again = pickle.loads(pickle.dumps(node))
        assert (again.key, again.makes, again.collective) == (node.key, node.makes, node.collective)
        assert type(again.action) is type(node.action)
    assert {node.name for node in nodes if not node.collective} == {
        "crops-12", "crops-12-hard", "crops-24", "crops-48", "photos"
    }  # fmt: skip


def test_a_graph_of_some_nets_has_the_same_keys(tmp_path: Path) -> None:
    whole = graph(tmp_path).nodes
    some = cascade_nodes(tmp_path, {net: RECIPES[net] for net in ("pnet", "rnet")}, RECORDS, data_key(RECORDS))
    assert {node.name: node.key for node in some} == {name: whole[name].key for name in CHAIN[:6]}
    assert (chain("pnet"), chain("onet"), chain("onet", "pnet")) == (
        ("pnet",), ("pnet", "rnet", "onet"), ("pnet", "onet")
    )  # fmt: skip
    assert chain("cnet") == chain("cnet", "pnet") == ("pnet", "rnet", "onet", "cnet")


# ---- the net of ONet's second pass

CNET = {"cnet": Recipe("cnet", mine=MineSettings((0.3, 0.1, 0.05)))}


@pytest.mark.parametrize("hard_from", [None, "pnet"])
def test_cnet_comes_after_the_cascade(tmp_path: Path, hard_from: str | None) -> None:
    """All three nets mine for it; without weights to start from it needs those of ONet. Other keys stay."""
    before, nodes = graph(tmp_path, hard_from=hard_from).nodes, graph(tmp_path, CNET, hard_from=hard_from).nodes
    assert list(nodes) == [*CHAIN, "crops-64", "cnet"]
    assert all(nodes[name].key == before[name].key for name in CHAIN)
    assert (nodes["crops-64"].needs, nodes["cnet"].needs) == (("pnet", "rnet", "onet"), ("crops-64", "onet"))
    found = [nodes[name].makes.relative_to(tmp_path).as_posix() for name in ("crops-64", "cnet")]
    assert found == ["crops-64.lmdb", "models-48/weights-cnet.safetensors"]
    start = tmp_path / "start.safetensors"
    write(start, Checkpoint("cnet", CLASSES["cnet"]().state_dict()))
    keep_start(tmp_path, "cnet", start)
    started = graph(tmp_path, CNET, hard_from=hard_from).nodes["cnet"]
    assert started.needs == ("crops-64",) and started.key != nodes["cnet"].key


def test_a_change_of_onet_makes_cnet_stale(made: Path) -> None:
    assert graph(made, CNET).ensure("cnet") == ["crops-64", "cnet"], "the rest is there"
    dag = graph(made, {**CNET, **train("onet", lr=1e-4)})
    assert reasons(dag) == {
        "onet": "changed: recipe section [train]", "crops-64": "changed: onet", "cnet": "changed: crops-64, onet"
    }  # fmt: skip
    assert dag.ensure("cnet") == ["onet", "crops-64", "cnet"]
    weights = graph(made, CNET).nodes["onet"].makes
    (made / "crops-64.lmdb" / "data.mdb").unlink()
    weights.unlink()
    assert graph(made, {**CNET, **train("onet", lr=1e-4)}).ensure("cnet") == [], "cnet is there"


# ---- what is gone, or half there


def test_an_empty_folder(tmp_path: Path) -> None:
    dag = graph(tmp_path)
    assert states(dag) == dict.fromkeys(CHAIN, "missing")
    assert reasons(dag)["crops-24"].startswith("nothing at ")
    assert reasons(dag)["crops-24"].endswith("crops-24.lmdb")


def test_a_missing_input_is_made_only_if_needed(made: Path) -> None:
    for name in ("data.mdb", "lock.mdb"):
        (made / "crops-24.lmdb" / name).unlink(missing_ok=True)
    dag = graph(made)
    assert states(dag) == {**dict.fromkeys(CHAIN, "fresh"), "crops-24": "missing"}
    assert dag.ensure("rnet", "onet") == [], "rnet is there, and nobody asks for its crops"
    changed = graph(made, train("rnet", lr=1e-4))
    assert changed.ensure("rnet") == ["crops-24", "rnet"]


def test_deleted_weights(made: Path) -> None:
    (made / "models-24" / "weights-rnet.safetensors").unlink()
    dag = graph(made)
    assert reasons(dag) == {"rnet": f"nothing at {made / 'models-24' / 'weights-rnet.safetensors'}"}
    assert dag.ensure("onet") == []
    assert dag.ensure("rnet") == ["rnet"]
    assert states(graph(made)) == dict.fromkeys(CHAIN, "fresh"), "made from the same, so nothing behind it is stale"


def test_incomplete_crops(made: Path) -> None:
    dag = graph(made)
    with CropWriter(dag.nodes["crops-12"].makes, 12, dag.nodes["crops-12"].key + "x"):
        pass
    assert reasons(dag)["crops-12"].endswith("crops-12.lmdb")
    assert reasons(dag)["crops-12"].startswith("not complete at ")
    assert dag.ensure(*dag.nodes) == ["crops-12"]


def test_truncated_weights(made: Path) -> None:
    path = made / "models-12" / "weights-pnet.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    assert states(graph(made))["pnet"] == "missing"
    assert graph(made).ensure("pnet") == ["pnet"]


@pytest.mark.parametrize("note", [None, "{"])
def test_without_its_note_the_reason_is_general(made: Path, note: str | None) -> None:
    path = made / "nodes" / "onet.json"
    path.unlink()
    if note is not None:
        path.write_text(note)
    dag = graph(made, train("onet", lr=1e-4))
    assert reasons(dag) == {"onet": "made by another recipe or from other inputs"}


def test_replaced_weights_make_downstream_nodes_stale(made: Path) -> None:
    """PNet's weights are replaced by those of another recipe."""
    other = graph(made / "other", train("pnet", lr=1e-4))
    other.ensure("pnet")
    (made / "models-12" / "weights-pnet.safetensors").write_bytes(other.nodes["pnet"].makes.read_bytes())
    dag = graph(made)
    assert states(dag)["pnet"] == "stale"
    assert reasons(dag)["crops-24"] == "pnet is stale"
    assert reasons(dag)["onet"] == "crops-48 is stale"


def test_a_failure_is_not_recorded(made: Path) -> None:
    dag = graph(made, train("pnet", lr=1e-4))

    class Fails(Pretend):
        def __call__(self, makes: Path, key: str, options: Options) -> None:
            raise MtcnnError("out of luck")

    dag.nodes["crops-24"] = replace(dag.nodes["crops-24"], action=Fails(dag.nodes["crops-24"]))
    with pytest.raises(MtcnnError, match="out of luck"):
        dag.ensure("onet")
    found = states(dag)
    assert (found["pnet"], found["crops-24"], found["onet"]) == ("fresh", "stale", "stale")


@pytest.mark.parametrize("place", ["Dag._name_sources", "name_sources", "_note_parts"])
@pytest.mark.parametrize("target", ["pnet", "onet"])
def test_what_a_killed_run_left_out_is_written_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, target: str
) -> None:
    """Sources, card and note of weights come after them: of a target, and of its inputs."""

    def run(work: Path) -> None:
        dag = graph(work)
        dag.sources = [SourceNote("drawn", 2, 1, 0, 0)]
        dag.ensure(target)

    def killed(*given: object) -> None:
        if any(each == pnet.makes or (isinstance(each, Node) and each.name == "pnet") for each in given):
            raise KeyboardInterrupt

    def files(work: Path) -> dict[str, object]:
        notes = [*work.glob("*/MODEL_CARD.md"), *work.glob("nodes/*.json")]
        weights = {str(path.relative_to(work)): read(path).recipe for path in work.rglob("*.safetensors")}
        return weights | {str(path.relative_to(work)): path.read_text() for path in notes}

    run(tmp_path / "whole")
    pnet = graph(tmp_path / "broken").nodes["pnet"]
    with monkeypatch.context() as patch:
        patch.setattr(f"stages.graph.dag.{place}", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "broken")
    assert pnet.found() == pnet.key
    run(tmp_path / "broken")
    assert files(tmp_path / "broken") == files(tmp_path / "whole")


def test_notes_that_cannot_be_written(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is fresh may lie in a folder that only others can write to."""
    shutil.rmtree(made / "nodes")
    (made / "nodes").write_text("")
    assert graph(made).ensure("onet") == []


# ---- recipes that cannot work are refused before anything is made


@pytest.mark.parametrize(("hard_from", "nets"), [(None, "pnet, rnet"), ("rnet", "pnet, rnet")])
def test_a_threshold_for_each_net_that_mines(tmp_path: Path, hard_from: str | None, nets: str) -> None:
    with pytest.raises(
        RecipeError, match=rf"recipe-onet.toml: mine.thresholds is \[0.4\]; expected one for each of {nets}"
    ):
        graph(tmp_path, mine("onet", thresholds=(0.4,)), hard_from=hard_from)
    assert graph(tmp_path, mine("onet", thresholds=(0.4,)), hard_from="pnet").nodes
    with pytest.raises(RecipeError, match=r"recipe-cnet.toml: .* expected one for each of pnet, rnet, onet"):
        graph(tmp_path, {"cnet": Recipe("cnet", mine=MineSettings((0.3, 0.1)))}, hard_from=hard_from)


def test_notes_come_before_anything_is_made(tmp_path: Path) -> None:
    """Of the nodes that are made, and of those alone."""
    said: list[str] = []
    graph(tmp_path).ensure("rnet", say=said.append)
    assert not any("landmarks" in line for line in said)
    said.clear()
    graph(tmp_path).ensure("onet", say=said.append)
    note = "onet: trains without landmarks, as no face to train on has five labelled points"
    assert said[0].startswith(note) and sum(line.startswith(note) for line in said) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_nodes_made_beside_each_other(tmp_path: Path, workers: int) -> None:
    """Those that are fresh stay; each has a note of what it was made from, for the status."""
    names = ["a", "b", "c"]
    dag = Dag(tmp_path, [Node(name, (), tmp_path / name, {"of": name}, WriteKey()) for name in names],
              Options(local_workers(workers)))  # fmt: skip
    WriteKey()(tmp_path / "b", dag.nodes["b"].key, Options())  # and was killed before its note
    before, made = (tmp_path / "b").read_text(), list[str]()
    dag.ensure_beside(names, made.append)
    assert made == ["a", "c"]
    assert (tmp_path / "b").read_text() == before
    assert set(states(dag).values()) == {"fresh"}
    assert {path.name for path in (tmp_path / "nodes").iterdir()} == {f"{name}.json" for name in names}
    assert (str(os.getpid()) in (tmp_path / "a").read_text()) is (workers == 1)
    dag.nodes["a"] = replace(dag.nodes["a"], parts={"of": "else"})
    assert reasons(dag)["a"] == "changed: of"


def test_a_fault_among_nodes_beside_each_other_stops_all(tmp_path: Path) -> None:
    nodes = [Node("a", (), tmp_path / "a", {}, WriteKey()), Node("b", (), tmp_path / "b", {}, WriteKey(), fault="odd")]
    with pytest.raises(DataError, match=r"^odd$"):
        Dag(tmp_path, nodes).ensure_beside(["a", "b"])
    assert not (tmp_path / "a").exists()
