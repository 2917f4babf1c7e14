"""A work folder: its sources, recipes, and dependency graph."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mtcnn.api.training import Callbacks
from mtcnn.checkpoint import has_weights, packaged_weights, weights_path
from mtcnn.detectors import DETECTORS
from mtcnn.devices import check_device
from mtcnn.errors import RecipeError, SettingsError
from mtcnn.files.atomic_write import atomic_write
from mtcnn.weights import SECOND, SIDES, SIZES
from mtcnn.workers import Here, Workers
from prepare.photo_hashes import EvalHashes, PhotoHashes, packaged_hashes
from prepare.photo_sizes import PhotoSizes
from prepare.source_notes import SourceNote
from prepare.sources import Refused, are_noted, read_sources, remember_sources, remembered_sources

from ..crops.given import check_not_given, given_net, keep_given
from ..crops.nodes import cascade_nodes, chain, check_mining, keep_start
from ..crops.recipe import Recipe
from ..photos.nodes import detector_nodes, keep_inputs
from ..photos.recipe import DetectorRecipe
from ..recipe_edit import with_changes
from ..recipes import LARGEST, read_text, recipe_of, recipe_path
from ..search.nodes import planned_nodes
from .dag import Dag, Options, data_key
from .ddp import is_main
from .reservation import check_unused

__all__ = ["begun_detectors", "cascade_of", "open_project"]

HASHES = "eval-hashes.txt"

R = TypeVar("R", Recipe, DetectorRecipe)


def begun_detectors(work: Path) -> list[str]:
    """The single-stage detectors with a recipe in a work folder, or with weights there and a packaged recipe."""
    _move_in(work)
    return [
        net
        for net in DETECTORS
        if recipe_path(work, net).is_file()
        or (has_weights(work, net) and recipe_path(packaged_weights(), net).is_file())
    ]


def cascade_of(work: Path) -> tuple[str, ...]:
    """The nets of the cascade in a work folder: the three, and cnet once its recipe is there."""
    return (*SIZES, SECOND) if recipe_path(work, SECOND).is_file() else tuple(SIZES)


def open_project(
    work: Path,
    nets: Sequence[str] = tuple(SIZES),
    sources: Sequence[str] = (),
    hard_from: str | None = None,
    start: Path | None = None,
    teacher: Path | None = None,
    before: Path | None = None,
    changes: Mapping[str, Any] | None = None,
    eval_hashes: Sequence[Path] = (),
    workers: Workers | None = None,
    processes: int = 1,
    device: str = "cpu",
    quiet: bool = False,
    remember: bool = True,
    strict: bool = True,
    callbacks: Callbacks | None = None,
) -> Dag:
    """The graph of a work folder, created if missing, for these nets and those that must be trained first.

    nets       of the cascade, and single-stage detectors. Recipes of others are not read.
    sources    image sources; empty: those stored in the folder.
    hard_from  "pnet" or "rnet": mine ONet's hard examples with the cascade up to this net.
    start      initial weights of these nets, of the net or a detector's trunk; Path("packaged"): those that ship. They
               are copied into the folder; None: those already there, or random weights.
    workers    workers for cutting and mining crops; None: this process.
    teacher    weights of a teacher, for objectives that use one: of the same net, or one with the same anchors, or
               the name of one whose weights ship; copied in the same way.
    before     a folder of models, or Path("packaged"): weights of the nets before these, which are not trained then but
               copied into the folder, where later calls find them.
    changes    of the recipe of the one net, by key, as {"train.epochs": 8}; they are kept in the folder.
    eval_hashes  files of hashes of photos that no training may see, beside those that ship; copied in the same way.
    remember   store `sources` in the folder; False: only if it has none.
    strict     raise RecipeError for an unusable recipe; False: its net, and those downstream, go to `Dag.broken`.

    callbacks  of the trainings.

    Recipes are copied from the packaged ones on first use: the copies are the user's to edit.
    """
    check_device(device)  # before any crops are cut
    with suppress(FileNotFoundError):
        (work / "sources.json").stat()  # raises for a work folder that is a file, before photos are read
    _move_in(work)
    specs = list(sources) or remembered_sources(work)
    broken = None if strict else dict[str, str]()
    wanted = {each for net in nets if net in SIDES for each in chain(net, hard_from)}
    earlier = [net for net in SIDES if before is not None and net in wanted and net not in nets]
    if before is not None and not earlier:
        raise SettingsError(f"before is {before}; expected it with rnet, onet or cnet, which come after other nets")
    if remember and len(nets) == 1:
        check_not_given(work, nets[0])
    trained = [net for net in SIDES if net in wanted and net not in earlier and given_net(work, net) is None]
    if changes and len(nets) != 1:
        raise SettingsError(f"`changes` are of one recipe; expected one net, not {', '.join(nets)}")
    recipes = _Recipes(work, {nets[0]: changes} if changes else {})
    cascade = _cascade_recipes(recipes, trained, wanted.difference(trained), hard_from, broken)
    others = _detector_recipes(recipes, [net for net in nets if net not in SIDES], broken)
    check = partial(_check_unused, work, nets, sources, eval_hashes, bool(start or teacher or before or changes))
    if remember and is_main():
        check()
    silent = not sources or quiet or not is_main()  # stored sources were reported by the first command
    sizes = PhotoSizes(work / "photo-sizes.json")
    hashes = PhotoHashes(work / "photo-hashes.json", cached_only=not remember)  # a training will compare the others
    refused, notes = Refused(_eval_hashes(work, eval_hashes, remember), hashes), list[SourceNote]()
    try:
        records = read_sources(specs, _scene_seed(work), silent, sizes, refused, notes)
    finally:
        if remember and is_main():  # a folder that `status` only looks at stays as it is
            sizes.save()
            hashes.save()
    if remember and is_main():
        check()  # again: reading labels takes a while, in which another process may have begun
    for recipe in others:
        if remember or start or teacher:  # `status` changes nothing
            keep_inputs(work, recipe, start, teacher)
    for net in nets:
        if start is not None and net in cascade:
            keep_start(work, net, start)
    if before is not None:
        keep_given(work, earlier, before)
    recipes.keep()
    if sources and is_main() and (remember or not are_noted(work)):
        remember_sources(work, sources)  # only once they could be read
    data, options = data_key(records), Options(workers or Here(), processes, device, quiet, callbacks)
    nodes = cascade_nodes(work, cascade, records, data, hard_from)
    shares = [recipe.crops.val for recipe in cascade.values()] + [recipe.train.val for recipe in others]
    val = [record for record in records if shares and record.complete and record.is_val(min(shares))]
    nodes += detector_nodes(work, others, records, data)
    return Dag(work, [*nodes, *planned_nodes(work, nodes)], options, broken, val, notes, records)


def _check_unused(
    work: Path, nets: Sequence[str], sources: Sequence[str], eval_hashes: Sequence[Path], inputs: bool
) -> None:
    """Raises MtcnnError where these would replace what another process works from, which it needs to resume.

    inputs  whether weights to start from, a teacher, or changes of the recipe are given for `nets`.
    """
    if sources and are_noted(work) and not are_noted(work, sources):
        check_unused(work, "sources")
    if eval_hashes and (work / HASHES).is_file() and _joined(eval_hashes) != _joined([work / HASHES]):
        check_unused(work, "hashes")
    if inputs:
        check_unused(work, "recipe, initial weights or teacher", nets)


def _eval_hashes(work: Path, given: Sequence[Path], remember: bool) -> EvalHashes:
    """Those that ship, and those given; or those that an earlier command was given, which are in the folder."""
    noted = work / HASHES
    found = EvalHashes.read([packaged_hashes(), *(given or ([noted] if noted.is_file() else []))])
    if given and remember and is_main():
        text = _joined(given)
        with atomic_write(noted) as draft:
            draft.write_text(text, encoding="utf-8")
    return found


def _joined(files: Sequence[Path]) -> str:
    """The text of all files that are there: for others reading them as hashes raises."""
    there = [path for path in files if path.is_file()]
    return "".join(f"{path.read_text(encoding='utf-8', errors='replace').rstrip()}\n" for path in there)


def _cascade_recipes(
    recipes: _Recipes,
    nets: Sequence[str],
    given: Collection[str],
    hard_from: str | None,
    broken: dict[str, str] | None,
) -> dict[str, Recipe]:
    """Recipes by net, in order. Errors go into `broken`, or are raised if that is None. given  nets without recipe."""
    found: dict[str, Recipe] = {}
    for net in nets:
        before = chain(net, hard_from)[:-1]
        lacking = [each for each in before if each not in found and each not in given]
        with _noted(net, broken):
            if lacking:
                raise RecipeError(f"needs {lacking[0]}, whose recipe cannot be used")
            recipe = recipes(Recipe, net)
            check_mining(recipe, before, recipes.work)
            found[net] = recipe
    return found


def _detector_recipes(recipes: _Recipes, nets: Sequence[str], broken: dict[str, str] | None) -> list[DetectorRecipe]:
    found = []
    for net in nets:
        with _noted(net, broken):
            found.append(recipes(DetectorRecipe, net))
    return found


@contextmanager
def _noted(net: str, broken: dict[str, str] | None) -> Iterator[None]:
    try:
        yield
    except RecipeError as error:
        if broken is None:
            raise
        broken[net] = str(error)


def _scene_seed(work: Path) -> int:
    """The seed of synthetic scenes: that of PNet's recipe, which need not be valid otherwise."""
    try:
        with recipe_path(work, "pnet").open("rb") as file:
            seed = tomllib.loads(file.read(LARGEST).decode("utf-8-sig")).get("seed", 0)
    except (OSError, ValueError, RecursionError):
        return 0
    return seed if type(seed) is int and seed >= 0 else 0


def _move_in(work: Path) -> None:
    """Move detector files from beside PNet's, their old location, to folders of their own."""
    for net in DETECTORS:
        for old in sorted((work / "models-12").glob(f"*-{net}.*")):
            part = old.name.partition("-")[0]
            name = f"{part}{old.suffix}" if part in ("recipe", "weights") else old.name
            new = weights_path(work, net).with_name(name)
            new.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # another torchrun process was faster
                if not new.exists():
                    old.rename(new)


class _Recipes:
    """The recipes of a work folder, and the packaged ones of nets that have none there. changes  of a net's, by key."""

    def __init__(self, work: Path, changes: Mapping[str, Mapping[str, Any]]) -> None:
        self.work, self.changes, self.new = work, changes, dict[str, str]()

    def __call__(self, kind: type[R], net: str) -> R:
        target = recipe_path(self.work, net)
        own = target.is_file()
        path = target if own else recipe_path(packaged_weights(), net)
        if not path.is_file():
            raise RecipeError(f"no recipe for {net}: none is packaged; write one at {target}")
        text = read_text(path)
        changed = with_changes(text, self.changes.get(net, {}), str(path))
        if changed != text or not own:
            self.new[net] = changed
        return recipe_of(kind, net, changed, path)

    def keep(self) -> None:
        """Write the packaged ones that were used, and those with changes, to the folder, once nothing can fail."""
        for net, text in self.new.items():
            with atomic_write(recipe_path(self.work, net)) as draft:  # all torchrun processes do this at once
                draft.write_text(text, "utf-8", newline="")
