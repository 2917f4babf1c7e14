"""What nets learn in short trainings: hard AP on the validation part of the training photos, by recipe and seed.

    python benchmarks/short_trainings.py --data SOURCE --to FOLDER --seeds 0 1 --val 10 [--teacher FILE] RECIPE...

Each recipe trains for its own epochs and steps from each seed, one after the other, and is evaluated as `mtcnn search`
ranks its candidates. Called again, it resumes. `--teacher` is for recipes whose objective is distill. Prints a Markdown
table: hard AP by seed, and CPU time of a picture.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch

from mtcnn.files.atomic_write import write_whole
from prepare.sources import read_sources
from stages.objectives import TAUGHT
from stages.photos.recipe import DetectorRecipe
from stages.photos.store import PhotoStore, build_photos, photos_key
from stages.photos.task import new_net, train_detector
from stages.recipes import digest, read_recipe
from stages.search.ranking import hard_ap


def result(
    recipe: DetectorRecipe, photos: PhotoStore, folder: Path, teacher: Path | None, max_side: int
) -> list[float]:
    """Hard AP and milliseconds of a picture, from the folder if it has them."""
    key, file = digest(recipe), folder / "result.json"
    if file.is_file() and (body := json.loads(file.read_text()))["key"] == key:
        return [body["ap"], body["ms"]]
    folder.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    weights = folder / "weights.safetensors"
    train_detector(recipe, new_net(recipe), photos, weights, key, quiet=True, teacher=teacher)
    schedule = recipe.train
    spent = 1000 * (time.process_time() - began) / (schedule.epochs * schedule.steps * schedule.batch)
    found = hard_ap(weights, recipe.net, photos, schedule.val, max_side, "cpu")
    write_whole(file, json.dumps({"key": key, "ms": spent, **found._asdict()}).encode())
    return [found.ap, spent]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="+", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--val", type=float, default=10.0)
    parser.add_argument("--max-side", type=int, default=640)
    parser.add_argument("--longest", type=int, default=1280, help="longer side to which photos are stored")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.to.mkdir(parents=True, exist_ok=True)
    records, path = read_sources([given.data], quiet=True), given.to / "photos.raw"
    if photos_key(path) != f"{len(records)} {given.longest}":
        build_photos(records, path, f"{len(records)} {given.longest}", given.longest)
    photos = PhotoStore(path, records)
    print(f"| recipe | {' | '.join(f'seed {seed}' for seed in given.seeds)} | ms a picture |")
    print(f"|---|{'---:|' * (len(given.seeds) + 1)}")
    for file in given.recipes:
        base = read_recipe(DetectorRecipe, file)
        teacher = given.teacher if base.objective.name in TAUGHT else None
        rows = []
        for seed in given.seeds:
            recipe = replace(base, train=replace(base.train, seed=seed, val=given.val))
            rows.append(result(recipe, photos, given.to / f"{file.stem}-{seed}", teacher, given.max_side))
        aps = " | ".join(f"{ap:.4f}" for ap, _ in rows)
        print(f"| `{file.stem}` | {aps} | {sum(ms for _, ms in rows) / len(rows):.1f} |", flush=True)


if __name__ == "__main__":
    main()
