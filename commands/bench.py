"""`mtcnn bench`: how long detection takes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from .group import Group, command, say
from .options import COUNT, DIR, detector_options


@click.group("bench", cls=Group)
def bench() -> None:
    """Measure how long detection takes."""


def _drawn_photos(count: int) -> Any:
    from mtcnn.timing import FDDB_SIDE, Photos
    from prepare.synthetic import draw_scene

    height = 3 * FDDB_SIDE // 4
    label = f"{count} drawn scenes of {FDDB_SIDE} x {height} pixels, no photos: only to compare settings and machines"
    return Photos([draw_scene(0, index, height, FDDB_SIDE)[0] for index in range(count)], label)


@command("fddb", bench, renamed={"--images": "--photos"})
@click.option("--photos", "images", type=DIR, help="FDDB's originalPics, or any folder.  [default: drawn scenes]")
@click.option("--threads", type=COUNT, multiple=True, default=(1,), show_default=True,
              help="Threads of torch; repeat to compare.")  # fmt: skip
@click.option("--repeats", type=COUNT, default=5, show_default=True, help="Rounds over all images.")
@click.option("--limit", type=COUNT, default=200, show_default=True, help="Maximum number of images.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@detector_options
def bench_fddb(images: Path | None, threads: tuple[int, ...], repeats: int, limit: int, as_json: bool,
               **settings: Any) -> None:  # fmt: skip
    """Milliseconds per image, by stage and thread count.

    Photos are scaled to FDDB's size.

    \b
    mtcnn bench fddb --photos originalPics --threads 1 --threads 2
    mtcnn bench fddb --photos photos --json > bench.json     scaled to FDDB's longest side, 450 pixels
    """
    from mtcnn.cascade import Detector
    from mtcnn.timing import benchmark, load_photos

    detector = Detector(**settings)
    photos = load_photos(images, limit) if images else _drawn_photos(limit)
    for line in photos.skipped:
        say(f"mtcnn: skipped {line}")
    result = benchmark(detector, photos, threads, repeats, detector.settings.to_dict(), sys.stderr.isatty())
    click.echo(json.dumps(result.to_dict()) if as_json else result.table())
