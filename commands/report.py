"""`mtcnn report`: a work folder as one HTML page."""

from __future__ import annotations

from pathlib import Path

import click

from .group import command, say
from .options import DIR, FILE


@command("report")
@click.argument("work", type=DIR, default="work", metavar="[WORK]")
@click.option("--out", type=FILE, help="The page.  [default: WORK/report.html]")
@click.option(
    "--detector",
    metavar="NAME",
    help="What to measure: mtcnn, the cascade, or a single-stage detector.  [default: what the folder has weights of]",
)
@click.option("--quiet", is_flag=True, help="No progress lines.")
def report(work: Path, out: Path | None, detector: str | None, quiet: bool) -> None:
    """Write a training report of a work folder as one HTML page.

    It shows the photos and their labels, crops by kind, the negatives that look hardest, the curves of each training,
    average precision with its curves on validation photos, the worst false alarms and misses as pictures, and all
    settings and versions. The page loads nothing from elsewhere, so it can be sent as it is: mind that it contains
    parts of your photos. The work folder is not changed otherwise.

    \b
    mtcnn report work
    mtcnn report work --out report.html --detector retinaface
    """
    from stages.report.write import write_report

    made = write_report(work, out, detector, (lambda line: None) if quiet else say)
    click.echo(f"{made}: {made.stat().st_size / 1e3:,.0f} kB")
