"""Trains single-stage detectors with the same CPU budget each, and makes one table of their average precision.

    python benchmarks/train_table.py --data FOLDER --work FOLDER [--minutes 40] [--seeds 2] [--photos N] [--dev N]
        [RUN ...]

A RUN is a net, with changes of its packaged recipe: slim, or slim,objective.margin=0.1,train.lr=4e-3. Without any, RUNS
below. FOLDER is laid out as CONTRIBUTING.md says: nets train on wider/train (N photos from all over it), from random
weights, in bfloat16 where the CPU has it, and are measured on wider/dev at its original size. A few steps of each run,
timed first, say how many fit into its budget of core-minutes; the schedule has this length. So a slow net takes fewer.

Prints a Markdown table. <work>/results.jsonl gets a line for each run and seed. The command may be killed at any point:
the same one resumes, in the middle of a training from its last checkpoint, of which there are EPOCHS; finished runs are
not repeated. Use one core: OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from mtcnn.api.training import Batch, Callbacks, Epoch
from mtcnn.checkpoint import packaged_weights, weights_path
from mtcnn.compare import choose
from mtcnn.compare.cache import detections
from mtcnn.files.atomic_write import write_whole
from mtcnn.metrics import wider
from mtcnn.metrics.detections import event_photos
from mtcnn.metrics.problems import Problems
from mtcnn.metrics.tables import markdown_table
from mtcnn.progress import progress
from mtcnn.workers import Here
from prepare.readers import read_source
from prepare.records import ImageRecord
from stages.photos.recipe import DetectorRecipe
from stages.photos.store import PhotoStore, build_photos, photos_key
from stages.photos.task import new_net, train_detector
from stages.recipes import build, recipe_path

Item = TypeVar("Item")

RUNS = ("slim", "rfb", "lightface-1", "lightface-2", "lightface-3", "yunet-n", "yunet-s", "centerface", "vgg-light",
        "retinaface", "scrfd-0.5g", "slim,objective.margin=0.1", "retinaface,objective.margin=0.1")  # fmt: skip
EPOCHS = 10  # checkpoints of a training
TIMED, SKIPPED = 12, 4  # steps that are timed, and the first of them, which also allocate
LONGEST = 1024


@dataclass(frozen=True)
class Run:
    """A training: a net with changes of its recipe, a seed, a budget in core-minutes, and the photos."""

    text: str
    seed: int
    minutes: float
    photos: str
    dev: int | None = None

    @property
    def net(self) -> str:
        return self.text.partition(",")[0]

    @property
    def key(self) -> str:
        """Names its folder, and its line in the results."""
        plain = json.dumps([self.text, self.seed, self.minutes, self.photos, self.dev])
        return f"{re.sub(r'[^a-z0-9.=-]', '_', self.text)}-{self.seed}-{hashlib.sha256(plain.encode()).hexdigest()[:8]}"

    def recipe(self, steps: int) -> DetectorRecipe:
        """The packaged recipe with the changes, for a schedule of so many steps."""
        values = tomllib.loads(recipe_path(packaged_weights(), self.net).read_text("utf-8"))
        warmup = values["train"].get("warmup", 0)
        changes = ["train.mixed=true", f"train.seed={self.seed}", "train.val=0.0", *self.text.split(",")[1:]]
        changes += [f"train.epochs={min(EPOCHS, steps)}", f"train.steps={max(1, steps // EPOCHS)}"]
        for change in [*changes, f"train.warmup={min(warmup, steps // 10)}"]:
            name, _, value = change.partition("=")
            table, _, key = name.rpartition(".")
            values.setdefault(table, {})[key] = tomllib.loads(f"x = {value}")["x"]
        return build(DetectorRecipe, values, "", [])


def seconds_a_step(run: Run, photos: PhotoStore, folder: Path) -> float:
    """CPU seconds of a step, a mean of a few."""
    times: list[float] = []

    def note(_: Batch) -> None:
        times.append(time.process_time())

    recipe = run.recipe(TIMED)
    probe = folder / "probe"
    try:
        train_detector(recipe, new_net(recipe), photos, weights_path(probe, run.net), "probe", quiet=True,
                       callbacks=Callbacks(on_batch=note))  # fmt: skip
    finally:
        shutil.rmtree(probe, ignore_errors=True)
    first = min(SKIPPED, len(times) - 2)
    return (times[-1] - times[first]) / (len(times) - 1 - first)


def trained(run: Run, photos: PhotoStore, folder: Path) -> dict[str, Any]:
    """Train, or resume. Returns steps and CPU seconds."""
    plan = folder / "plan.json"
    if not plan.is_file():
        each = seconds_a_step(run, photos, folder)
        steps = max(1, round(60 * run.minutes / each / EPOCHS)) * EPOCHS  # whole epochs
        write_whole(plan, json.dumps({"seconds_a_step": round(each, 4), "steps": steps}).encode())
    found = json.loads(plan.read_text("utf-8"))
    recipe, began = run.recipe(found["steps"]), time.process_time()

    def note(epoch: Epoch) -> None:
        nonlocal began
        now = time.process_time()
        append(folder / "epochs.jsonl", {"epoch": epoch.epoch, "seconds": round(now - began, 2)})
        began = now

    target = weights_path(folder, run.net)
    if not target.is_file():
        train_detector(recipe, new_net(recipe), photos, target, run.key, quiet=True, callbacks=Callbacks(on_epoch=note))
    spent = {row["epoch"]: row["seconds"] for row in lines(folder / "epochs.jsonl")}
    train = recipe.train
    return {"steps": train.epochs * train.steps, "cpu_seconds": round(sum(spent.values()), 1)}


def measured(run: Run, folder: Path, data: Path) -> dict[str, float]:
    """AP on the dev photos, or so many of them as the run says."""
    names = every_so_many(wider.load_image_list(data / "wider" / "wider_face_dev_bbx_gt.txt"), run.dev)
    photos = event_photos(data / "wider" / "dev" / "images", names)
    (entry,), problems = choose([f"{folder}/{run.net}"]), Problems()
    with progress(name=run.key, total=len(photos)) as bar:
        found = detections(folder / "found.jsonl", photos, entry, Here(), problems, bar)
    truth = wider.GroundTruth.load(data / "wider" / "ground_truth", problems)
    result = wider.evaluate(truth, found, list(photos), problems)
    return {name: round(float(result.ap[name]), 4) for name in ("easy", "medium", "hard")}


def append(path: Path, row: dict[str, Any]) -> None:
    """Add a line, which a kill may cut off but never mixes with the next."""
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps(row))
        file.flush()
        os.fsync(file.fileno())


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file of `append`."""
    for line in path.read_text("utf-8").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        yield row


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, the best hard AP first."""
    ap = ("easy", "medium", "hard")
    head = ["run", "seed", "core-minutes", "steps", *ap]
    cells = [
        [row["run"], str(row["seed"]), f"{row['cpu_seconds'] / 60:.1f}", f"{row['steps']:,}"]
        + [f"{row[name]:.3f}" for name in ap]
        for row in sorted(rows, key=lambda row: -row["hard"])
    ]
    return markdown_table(head, cells)


def chosen_photos(data: Path, count: int | None) -> list[ImageRecord]:
    records, _ = read_source(f"wider:{data / 'wider' / 'wider_face_train_bbx_gt.txt'}")
    return list(every_so_many(records, count))


def every_so_many(items: Sequence[Item], count: int | None) -> Sequence[Item]:
    """`count` items from all over; None for all."""
    return items if count is None else items[:: max(1, len(items) // count)][:count]


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--photos", type=int, help="photos to train on; default: all")
    parser.add_argument("--dev", type=int, help="photos to measure on; default: all")
    given = parser.parse_args()
    torch.set_num_threads(1)
    records = chosen_photos(given.data, given.photos)
    key = hashlib.sha256(json.dumps([str(record.path.name) for record in records]).encode()).hexdigest()[:16]
    runs = [
        Run(text, seed, given.minutes, key, given.dev) for seed in range(given.seeds) for text in given.runs or RUNS
    ]
    for run in runs:
        run.recipe(EPOCHS)  # a wrong name or change ends the command now
    given.work.mkdir(parents=True, exist_ok=True)
    results, store = given.work / "results.jsonl", given.work / f"photos-{key}.raw"
    done = {row["key"]: row for row in lines(results)}
    if any(run.key not in done for run in runs) and photos_key(store) != key:
        build_photos(records, store, key, LONGEST)
    for run in runs:
        if run.key in done:
            continue
        folder, photos = given.work / run.key, PhotoStore(store, records)
        folder.mkdir(exist_ok=True)
        row = {"key": run.key, "run": run.text, "seed": run.seed, "minutes": run.minutes, "photos": len(records)}
        row |= trained(run, photos, folder)
        done[run.key] = row | measured(run, folder, given.data)
        append(results, done[run.key])
        print(json.dumps(done[run.key]), file=sys.stderr, flush=True)
    print(table([done[run.key] for run in runs]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
