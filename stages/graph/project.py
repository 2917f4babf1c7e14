"""A work folder: its sources, its recipes, and the graph of what is made from them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mtcnn.checkpoint import packaged_weights, weights_path
from mtcnn.detectors import DETECTORS
from mtcnn.devices import check_device
from mtcnn.errors import RecipeError
from mtcnn.files.atomic_write import draft_of
from mtcnn.weights import SIZES
from prepare.sources import are_noted, read_sources, remember_sources, remembered_sources

from ..crops.nodes import cascade_nodes
from ..crops.recipe import Recipe
from ..photos.nodes import detector_nodes, keep_start
from ..photos.recipe import DetectorRecipe
from ..recipes import load_recipe, recipe_path
from .dag import Dag, Options, data_key
from .launch import is_main

__all__ = ["begun_detectors", "open_project"]


def begun_detectors(work: Path) -> list[str]:
    """The single-stage detectors of which a work folder holds a recipe, or weights that a packaged recipe is for."""
    _move_in(work)
    return [
        net
        for net in DETECTORS
        if recipe_path(work, net).is_file()
        or (weights_path(work, net).is_file() and recipe_path(packaged_weights(), net).is_file())
    ]


def open_project(
    work: Path,
    sources: Sequence[str] = (),
    hard_from: str | None = None,
    detectors: Sequence[str] = (),
    start: Path | None = None,
    workers: int = 2,
    processes: int = 1,
    device: str = "cpu",
    quiet: bool = False,
    remember: bool = True,
) -> Dag:
    """The graph of a work folder, which is created where missing: the cascade, and single-stage detectors.

    sources    where the images are; empty takes those that the folder remembers.
    hard_from  "pnet" or "rnet": mine ONet's hard examples with the cascade up to this net.
    detectors  names of those to be in the graph.
    start      weights that these start from, of the net or its trunk. They are copied into the folder; None takes those
               that are there, and without any the start is random.
    remember   note `sources` in the folder; False notes them only where none are.

    Recipes are copied from the packaged ones on first use: the copies are the user's to edit.
    """
    check_device(device)  # now, and not after the crops have been cut
    _move_in(work)
    specs = list(sources) or remembered_sources(work)
    for net in (*SIZES, *detectors):
        _copy_recipe(work, net)
    recipes = {net: load_recipe(Recipe, work, net) for net in SIZES}
    others = [load_recipe(DetectorRecipe, work, net) for net in detectors]
    told = not sources or quiet or not is_main()  # of sources that are remembered the first command has told
    records = read_sources(specs, recipes["pnet"].seed, told)
    for recipe in others:
        if start is not None:
            keep_start(work, recipe, start)
    if sources and is_main() and (remember or not are_noted(work)):
        remember_sources(work, sources)  # now that they could be read
    data, options = data_key(records), Options(workers, processes, device, quiet)
    overrides = {"onet": hard_from} if hard_from else {}
    nodes = cascade_nodes(work, recipes, records, data, options, overrides)
    return Dag(work, [*nodes, *detector_nodes(work, others, records, data, options)], device)


def _move_in(work: Path) -> None:
    """Give detectors folders of their own where their files lie beside PNet's, as they once did."""
    for net in DETECTORS:
        for old in sorted((work / "models-12").glob(f"*-{net}.*")):
            part = old.name.partition("-")[0]
            name = f"{part}{old.suffix}" if part in ("recipe", "weights") else old.name
            new = weights_path(work, net).with_name(name)
            new.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # another process of torchrun was faster
                if not new.exists():
                    old.rename(new)


def _copy_recipe(work: Path, net: str) -> None:
    target, packaged = recipe_path(work, net), recipe_path(packaged_weights(), net)
    if target.is_file():
        return
    if not packaged.is_file():
        raise RecipeError(f"no recipe for {net}: none is packaged; write one at {target}")
    with draft_of(target) as draft:  # the processes of torchrun all do this at once
        shutil.copyfile(packaged, draft)
