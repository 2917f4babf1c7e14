"""Imports published weights, in their various formats, as this project's checkpoints.

    from mtcnn.importers import import_weights
    import_weights(["det1.caffemodel", "det2.caffemodel", "det3.caffemodel"], "models")

All differences between the projects are handled here: transposed images, the order in which the last map is
flattened, the order of landmarks and heads. The checkpoints hold nets for upright RGB images, like those that
`mtcnn train` writes. No code in a file is ever executed. Readers need torch and are imported when used; detection with
imported weights does not.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..checkpoint import Checkpoint, has_weights, weights_path, write
from ..errors import CheckpointError
from ..files.torch_file import LARGEST
from ..terminal import printable
from ..weights import SECOND

if TYPE_CHECKING:
    from .layers import Found
    from .single_stage import Ready

__all__ = ["FORMS", "Form", "Imported", "import_weights", "read_weights"]

# Exceptions from reading a damaged file, besides a CheckpointError with the reason.
_BROKEN = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError)


class Form(NamedTuple):
    """A file format of weights: its source, its magic bytes, its reader, and the arithmetic that its nets expect.

    Formats are recognised by their first bytes; suffixes are ambiguous: a .pt may be a zip or a series of pickles.
    """

    name: str
    start: bytes
    reader: str  # module.function of this folder
    arithmetic: str

    def read(self, data: bytes) -> list[Found] | list[Ready]:
        """The nets in a file of this form. Raises CheckpointError."""
        module, function = self.reader.split(".")
        read = getattr(import_module(f".{module}", __name__), function)
        try:
            found: list[Found] | list[Ready] = read(data)
        except _BROKEN as error:
            raise CheckpointError("is truncated or damaged; copy it again") from error
        if not found:
            raise CheckpointError("holds no net; expected weights")
        return found


# Magic bytes of torch.save before it wrote zips.
_OLD_TORCH = rb"\x80[\x02-\x05]\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"

FORMS = (
    Form("a .pt or .pth of torch", rb"PK\x03\x04|" + _OLD_TORCH, "state_dict.read_state_dict", "facenet-pytorch"),
    Form("the .lz4 of ipazc's mtcnn 1", rb"\x04\x22\x4d\x18|\x80[\x03-\x05]", "keras.read_joblib", "ipazc-1"),
    Form("the .npy of ipazc's mtcnn 0.1", rb"\x93NUMPY", "keras.read_npy", "matlab"),
    Form("an .onnx", rb"\x08[\x01-\x7f][\x12\x1a]", "onnx.read_onnx", "matlab"),
    Form("the authors' .caffemodel", rb"\x0a|\xa2\x06", "caffe.read_caffe", "matlab"),
)


def _or(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}"


_FORMS = _or(form.name for form in FORMS)


class Imported(NamedTuple):
    """A net that was written: its name, the checkpoint, the file that it came from, and the form of that file."""

    net: str
    path: Path
    source: Path
    form: str


def read_weights(path: str | PathLike[str], colour: str = "rgb", net: str | None = None) -> list[Checkpoint]:
    """The nets in a weights file of another project: usually one, all three in a .npy.

    A checkpoint's `recipe` records its source: {"imported": {"file", "form", "sha256", "arithmetic"}}; the arithmetic
    is a key of `arithmetic.ARITHMETICS`, or "" for this project's own.

    colour  the colour order of the net's training, which no file records. Published weights expect "rgb".
    net     the detector of the file, if several have the same parameters; None: the most common one.

    Raises CheckpointError for a file that is missing, truncated, of unknown format or of another net.
    """
    path = Path(path)
    data = _content(path)
    form = next((form for form in FORMS if re.match(form.start, data)), None)
    if form is None and data[8:9] == b"{":
        raise CheckpointError(f"{path} is a safetensors file; expected {_FORMS}; one of this project: use it as it is")
    if form is None:
        raise CheckpointError(f"{path} is no weights file that is known here; expected {_FORMS}")
    try:
        return [_checkpoint(found, form, colour, net, path.name, data) for found in form.read(data)]
    except CheckpointError as error:
        raise CheckpointError(f"{path}, taken for {form.name}, {printable(_short(str(error)))}") from error


def _checkpoint(
    found: Found | Ready, form: Form, colour: str, wanted: str | None, file: str, data: bytes
) -> Checkpoint:
    from ..detectors import DETECTORS
    from ..detectors.load import model_of
    from ..thresholds import published_threshold
    from ..weights import MEAN_COLOUR
    from .layers import Found, to_state

    source = {"file": file, "form": found.form or form.name, "sha256": hashlib.sha256(data).hexdigest()}
    if isinstance(found, Found):
        net, state = to_state(found)
        if wanted not in (None, net):
            raise CheckpointError(f"holds {net}; expected {wanted}")
        recipe = {"imported": {**source, "arithmetic": form.arithmetic}}
        return Checkpoint(net, state, colour, recipe=recipe, threshold=published_threshold(net))
    if colour != "rgb":
        raise CheckpointError(f"holds {found.net}, whose colour order is known; leave out {colour}")
    recipe = {"imported": {**source, "arithmetic": ""}}
    if wanted not in (None, found.net):
        found = _for(found, str(wanted))
    if found.net not in DETECTORS:
        return Checkpoint(found.net, found.state, scaling=MEAN_COLOUR, recipe=recipe)
    scaling, model = DETECTORS[found.net].scaling, model_of(found.net, found.model)
    threshold = published_threshold(found.net)
    return Checkpoint(found.net, found.state, scaling=scaling, recipe=recipe, model=model, threshold=threshold)


def _for(found: Ready, net: str) -> Ready:
    """The parameters as those of another detector with the same net and input. Raises CheckpointError otherwise."""
    from ..detectors import DETECTORS
    from ..detectors.load import build
    from .single_stage import fitted

    alike = [DETECTORS.get(name) for name in (found.net, net)]
    if any(spec is None for spec in alike) or len({(spec.build, spec.scaling) for spec in alike if spec}) != 1:
        raise CheckpointError(f"holds {found.net}; expected {net}")
    state = {name: value for name, value in found.state.items() if not name.endswith("num_batches_tracked")}
    return found._replace(net=net, state=fitted(build(net), state), model=None)


def _short(text: str, length: int = 400) -> str:
    """Shorten a line that quotes the file, whose names may have any length."""
    return text if len(text) <= length else f"{text[:length]} ..."


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            data = file.read(LARGEST + 1 if size <= LARGEST else 0)  # a device has no size, and may be endless
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); expected a weights file") from None
    if max(size, len(data)) > LARGEST:
        raise CheckpointError(f"{path} is too large; expected weights of a detector, at most {LARGEST} bytes")
    if not data:
        raise CheckpointError(f"{path} is empty; expected a weights file; copy it again")
    return data


def import_weights(
    files: Iterable[str | PathLike[str]], models: str | PathLike[str], colour: str = "rgb", net: str | None = None
) -> list[Imported]:
    """Write the nets in `files` below the folder `models`, as models-12/weights-pnet.safetensors and so on.

    files        weights files of other projects, in any of FORMS. Nothing is written unless all of them can be read.
    colour, net  see `read_weights`.

    Raises CheckpointError for a file that cannot be used, for two files of one net, and for an ONet where a net of its
    second pass would stay, which has learned from the errors of another.
    """
    found: dict[str, tuple[Checkpoint, Imported]] = {}
    for source in map(Path, files):
        for checkpoint in read_weights(source, colour, net):
            name, form = checkpoint.net, checkpoint.recipe["imported"]["form"]
            if name in found:
                other = found[name][1].source
                raise CheckpointError(f"{source} holds {name}, and so does {other}; expected one of each")
            found[name] = checkpoint, Imported(name, weights_path(Path(models), name), source, form)
    if "onet" in found and has_weights(Path(models), SECOND):
        stays = weights_path(Path(models), SECOND)
        raise CheckpointError(f"{stays} is for the ONet that would be replaced; delete it, or name another folder")
    for checkpoint, imported in found.values():
        try:
            write(imported.path, checkpoint)
            _write_graph(imported)
        except OSError as error:
            raise CheckpointError(
                f"{imported.path} cannot be written ({error.strerror}); name another folder"
            ) from None
    return [imported for _, imported in found.values()]


def _write_graph(imported: Imported) -> None:
    """Beside the weights of a detector, for installations without torch."""
    from ..detectors import DETECTORS

    if imported.net in DETECTORS:
        from ..runtimes.plans import write_graph

        write_graph(imported.path, imported.net)
