"""Compares this project with other face detectors: time, start, memory, folders and accuracy, in one run.

    python benchmarks/bench_peers.py [--part speed ...] [--data FOLDER] [--peer NAME ...] [--threads 1] [--rounds 7]

Each detector runs in an environment (peers.py) and a process of its own, pinned to the same core; they take turns on
the same decoded images. Cascades have the same weights, those of facenet-pytorch, and the same settings.

    speed     composed scenes of four sizes with 1, 9 and 90 faces
    fresh     the first detection of a process, the second, and peak memory
    folder    photos per second over the dev split on two cores (data folder)
    accuracy  AP on the dev split with the time it takes, and a plot (data folder; half an hour)

Without --part the first three. Writes <part>.json, with the machine, to the folder of --to, and report.md of all parts
that lie there; prints the report. A quick look: --rounds 1 --photos 10.
On a busy machine, --clock cpu counts what a process computes and not how long it waits, which is right for one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import peer_accuracy
import peer_folder
import peer_fresh
import peer_speed
from peer_options import add_peer_options, chosen_peers, dev_photos
from peer_packages import Settings
from peer_process import PeerProcess
from peers import DROP_IN, FOLDER, OURS, PEERS
from scenes import Sources

from mtcnn.importers import import_weights
from mtcnn.machine import machine

PARTS: dict[str, Callable[[Any], str]] = {
    "speed": peer_speed.tables,
    "fresh": peer_fresh.tables,
    "folder": peer_folder.tables,
    "accuracy": peer_accuracy.tables,
}
YUNET = "weights/yunet/yunet_n_dynamic.onnx"  # in the data folder


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_peer_options(parser, PEERS)
    parser.add_argument(
        "--part", action="append", choices=list(PARTS), help="repeat for more; default: all but accuracy"
    )
    parser.add_argument("--threads", type=int, default=1, help="of each process, on as many cores; default: 1")
    parser.add_argument("--rounds", type=int, default=7, help="detections that count, of each scene; default: 7")
    parser.add_argument(
        "--photos", type=int, default=300, help="of the dev split, for folder and accuracy; default: 300"
    )
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="for speed; see above; default: wall")
    parser.add_argument("--to", type=Path, default=FOLDER / "results", help="folder for what is written")
    given = parser.parse_args()
    if not hasattr(os, "sched_setaffinity"):
        parser.error("processes cannot be pinned to cores on this system; expected Linux")
    if given.rounds < 1 or not 1 <= given.threads <= len(os.sched_getaffinity(0)):
        parser.error(
            f"--rounds {given.rounds} --threads {given.threads}: expected 1 or more, and as many cores as threads"
        )
    given.part = given.part or [name for name in PARTS if name != "accuracy" and (given.data or name != "folder")]
    needs_photos = {"folder", "accuracy"} & set(given.part)
    given.photos = dev_photos(parser, given.data, given.photos) if needs_photos else []
    return given


def settings_of(given: argparse.Namespace, peers: list[str], models: Path, threads: int) -> dict[str, Settings]:
    """Of this project's two detectors, with the peer's weights, and of each peer."""
    base = Settings(threads=threads)
    found = {name: base._replace(models=str(models)) for name in (OURS, DROP_IN)}
    for name in peers:
        found[name] = base._replace(models=str(given.data / YUNET)) if name == "yunet" else base
    return found


def import_from(peers: list[str], models: Path) -> str:
    """Import the weights of the first cascade among the peers to `models`. All of them hold the same numbers."""
    source = next((name for name in peers if PEERS[name].cascade), None)
    if source is None:
        raise SystemExit(f"{', '.join(peers)}: no cascade to take weights from; name another --peer beside them")
    with PeerProcess(source, Settings()) as process:
        import_weights(process.files, models)
    return source


def run(part: str, given: argparse.Namespace, peers: list[str], models: Path, folder: Path) -> dict[str, Any]:
    """The result of one part."""
    every = sorted(os.sched_getaffinity(0))
    cores = every[-given.threads :]
    settings, sources = settings_of(given, peers, models, given.threads), Sources(given.data)
    if part == "speed":
        return peer_speed.measure(settings, sources, folder, cores, given.rounds, given.clock)
    if part == "fresh":
        return peer_fresh.measure(settings, sources, folder, cores, min(given.rounds, 3))
    if part == "folder":
        two = settings_of(given, peers, models, min(len(every), 2))
        return peer_folder.measure(two, given.photos, folder / "photos", every[:2])
    packaged = {f"{OURS}: packaged weights": Settings(threads=given.threads)}
    return peer_accuracy.measure(packaged | settings, given.data, given.photos, folder, cores)


def report(folder: Path) -> str:
    """The tables of all parts that were measured, each with its machine and time."""
    texts = []
    for part, tables in PARTS.items():
        path = folder / f"{part}.json"
        if path.is_file():
            found: Mapping[str, Any] = json.loads(path.read_text())
            on = found["machine"]
            versions = ", ".join(f"{name} {version}" for name, version in on["versions"].items())
            texts += [f"## {part}", tables(found["result"])]
            texts += [f"{found['time']}, {on['processor']}, {on['cores']} cores; {versions}; commit {on['commit']}"]
    return "\n\n".join(texts) + "\n"


def main() -> None:
    given = options()
    wanted = given.peer or [name for name in PEERS if name != "yunet" or given.data]
    peers = chosen_peers(wanted)
    given.to.mkdir(parents=True, exist_ok=True)
    for part in given.part:
        with TemporaryDirectory() as temporary:
            models = Path(temporary) / "models"
            source = import_from(peers, models)
            result = run(part, given, peers, models, Path(temporary))
        time = datetime.now(UTC).isoformat(" ", "minutes")
        kept = {"part": part, "time": time, "machine": machine(), "weights": source, "result": result}
        (given.to / f"{part}.json").write_text(json.dumps(kept, indent=1) + "\n")
        if part == "accuracy":
            peer_accuracy.plot(result, given.to / "accuracy.png")
        (given.to / "report.md").write_text(report(given.to))
    print(report(given.to))
    print(f"written to {given.to}", file=sys.stderr)


if __name__ == "__main__":
    main()
