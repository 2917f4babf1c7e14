"""Shared command line options of the scripts that run peers: peers and photos."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from peers import PEERS, available


def add_peer_options(parser: argparse.ArgumentParser, default: Iterable[str]) -> None:
    """--peer, repeated, and --data."""
    parser.add_argument(
        "--peer", action="append", choices=list(PEERS), help=f"repeat for more; default: {', '.join(default)}"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("MTCNN_DATA"),
        help="folder laid out as CONTRIBUTING.md says; default: MTCNN_DATA",
    )


def chosen_peers(names: Iterable[str]) -> list[str]:
    """Those that can be installed, each once. Raises SystemExit when there is none."""
    found = available(dict.fromkeys(names))
    if not found:
        raise SystemExit("no peer could be installed; pip tells above why")
    return found


def evenly(files: Sequence[Path], count: int) -> list[Path]:
    """At most `count` of the files, at equal distances."""
    return [files[i * len(files) // count] for i in range(count)] if len(files) > count else list(files)


def dev_photos(parser: argparse.ArgumentParser, data: Path | None, count: int) -> list[Path]:
    """At most `count` photos of the dev split, evenly taken. A usage error when there are none."""
    if data is None:
        parser.error("no photos; name the data folder with --data, or set MTCNN_DATA")
    found = sorted((data / "wider" / "dev" / "images").rglob("*.jpg"))
    if not found:
        parser.error(f"{data}: no .jpg below wider/dev/images; expected a folder laid out as CONTRIBUTING.md says")
    if count < 1:
        parser.error(f"--count is {count}; expected 1 or more")
    return evenly(found, count)
