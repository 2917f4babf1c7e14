"""`mtcnn web`: a page that detects faces in a browser."""

from __future__ import annotations

from pathlib import Path

import click

from mtcnn.detector_settings import CASCADE, PRESETS
from mtcnn.detectors import DETECTORS

from .group import command
from .options import DIR, FILE

NAMES = [*PRESETS, CASCADE, *DETECTORS]


@command("web")
@click.argument("folder", type=DIR)
@click.option("--detector", "detectors", type=click.Choice(NAMES), multiple=True, metavar="NAME",
              help="A detector to choose from; may be repeated.  [default: best, fast, mtcnn]")  # fmt: skip
@click.option("--models", type=DIR, help="Folder with the weights.  [default: the packaged ones]")
@click.option("--package", type=FILE, help="File of the npm package onnxruntime-web.  [default: npm fetches it]")
def web(folder: Path, detectors: tuple[str, ...], models: Path | None, package: Path | None) -> None:
    """Write a page that detects faces in a browser.

    FOLDER is all that the page needs: photos, dropped files and the camera are searched in the browser, and nothing
    leaves the machine. It shows boxes, landmarks and milliseconds, and can hide faces. Any web server can serve it.

    \b
    mtcnn web page
    python -m http.server --directory page
    """
    from mtcnn.web.site import write_site

    site = write_site(folder, detectors or ("best", "fast", "mtcnn"), models, package)
    megabytes = f"{site.size / 1e6:.0f} MB with onnxruntime-web {site.runtime}"
    click.echo(f"{site.folder / 'index.html'}: {', '.join(site.detectors)}; {megabytes}")
    click.echo(f"python -m http.server --directory {site.folder}", err=True)
