"""Writes the page: HTML and scripts, whole detectors as ONNX files, and onnxruntime-web from an npm package."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..api.exporting import WHOLE, export
from ..errors import MtcnnError
from ..files.atomic_write import atomic_write

__all__ = ["FILES", "RUNTIME", "Site", "write_site"]

RUNTIME = "onnxruntime-web@1.30.0"
FILES = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""Of the package's folder dist: the script, and the code that it loads."""

_PAGE = Path(__file__).with_name("page")
_LICENCE = """onnxruntime-web {version}, licence {license}

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


_LICENCE_FILE = "LICENCE.txt"  # in runtime/


@dataclass(frozen=True)
class Site:
    """A written page.

    folder     with index.html.     detectors  that can be chosen, the first by default.
    runtime    version of onnxruntime-web.     size  of all files, bytes.
    """

    folder: Path
    detectors: tuple[str, ...]
    runtime: str
    size: int


def write_site(
    folder: Path, detectors: Sequence[str] = ("best", "fast", "mtcnn"), models: Path | None = None,
    package: Path | None = None,
) -> Site:  # fmt: skip
    """Write the page to a folder.

    detectors  to choose from: "mtcnn", "best", "fast", or single-stage detectors.
    models     folder with their weights; None: the packaged ones.
    package    the file of the npm package onnxruntime-web; None: `npm pack` fetches it.

    Only a page that this function wrote is replaced. Raises SettingsError for an unknown detector, CheckpointError
    without its weights, MtcnnError without npm, without the packages of the extra `export`, or if a file cannot be read
    or written.
    """
    if (folder / "index.html").exists() and not (folder / "runtime" / _LICENCE_FILE).is_file():
        raise MtcnnError(f"{folder} has an index.html that is not of this page; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        version = _runtime(folder / "runtime", package)
        made = [_detector(name, folder, models) for name in detectors]
        for path in sorted(_PAGE.iterdir()):
            with atomic_write(folder / path.name) as draft:
                shutil.copyfile(path, draft)
        with atomic_write(folder / "detectors.json") as draft:
            draft.write_text(json.dumps(made, indent=1), encoding="utf-8")
    except OSError as error:
        raise MtcnnError(f"{folder} cannot be written ({error.strerror}); name another folder") from None
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Site(folder, tuple(detectors), version, size)


def _detector(name: str, folder: Path, models: Path | None) -> dict[str, Any]:
    """Export a detector: its entry in detectors.json."""
    made = export(name, folder / f"{name}.onnx", models, with_nms=name not in WHOLE)
    return {"name": name, "file": made.path.name, "outputs": list(made.outputs)}


def _runtime(folder: Path, package: Path | None) -> str:
    """Unpack the files of onnxruntime-web that the page loads, with the licence: its version."""
    if package is not None:
        return _unpacked(package, folder)
    with TemporaryDirectory() as place:
        command = ["npm", "pack", RUNTIME, "--silent", "--pack-destination", place]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
        except FileNotFoundError:
            raise MtcnnError(
                f"no program npm, which fetches {RUNTIME}; install Node.js, or name its file as `package`"
            ) from None
        except subprocess.SubprocessError as error:
            reason = " ".join(str(getattr(error, "stderr", None) or error).split())[:160]
            raise MtcnnError(f"npm cannot fetch {RUNTIME}: {reason}; name its file as `package`") from None
        return _unpacked(next(Path(place).glob("*.tgz")), folder)


def _unpacked(package: Path, folder: Path) -> str:
    try:
        with tarfile.open(package) as archive:
            facts = json.loads(_content(archive, "package/package.json"))
            contents = {name: _content(archive, f"package/dist/{name}") for name in FILES}
        contents[_LICENCE_FILE] = _LICENCE.format(version=facts["version"], license=facts["license"]).encode()
    except (OSError, EOFError, zlib.error, tarfile.TarError, KeyError, TypeError, ValueError) as error:
        reason = "no tar archive" if isinstance(error, tarfile.ReadError) else error
        raise MtcnnError(f"{package} is no package of onnxruntime-web ({reason}); expected {RUNTIME}") from None
    for name, content in contents.items():
        with atomic_write(folder / name) as draft:
            draft.write_bytes(content)
    return str(facts["version"])


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    return file.read()
