"""A work folder: its sources, its recipes, and the graph of what is made from them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from mtcnn.checkpoint import packaged_weights
from mtcnn.nets import SIZES
from prepare.sources import read_sources, remember_sources, remembered_sources

from .dag import Dag, Options
from .launch import is_main
from .recipe import load_recipe

__all__ = ["open_project"]


def open_project(
    work: Path,
    sources: Sequence[str] = (),
    hard_from: str | None = None,
    workers: int = 2,
    processes: int = 1,
    device: str = "cpu",
    quiet: bool = False,
) -> Dag:
    """The graph of a work folder, which is created where missing.

    sources    where the images are; empty takes those that the folder remembers.
    hard_from  "pnet" or "rnet": mine ONet's hard examples with the cascade up to this net.

    Recipes are copied from the packaged ones on first use: the copies are the user's to edit.
    """
    specs = list(sources) or remembered_sources(work)
    _copy_recipes(work)
    recipes = {net: load_recipe(work, net) for net in SIZES}
    records = read_sources(specs, recipes["pnet"].seed)
    if sources and is_main():
        remember_sources(work, sources)  # now that they could be read
    overrides = {"onet": hard_from} if hard_from else {}
    options = Options(workers, processes, device, quiet)
    return Dag(work, recipes, lambda: records, options, overrides)


def _copy_recipes(work: Path) -> None:
    for net, size in SIZES.items():
        target = work / f"models-{size}" / f"recipe-{net}.toml"
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_name(f".{target.name}.{os.getpid()}")  # the processes of torchrun all do this at once
            shutil.copyfile(packaged_weights() / f"models-{size}" / target.name, draft)
            os.replace(draft, target)
