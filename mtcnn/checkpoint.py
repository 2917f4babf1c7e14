"""Checkpoints: weights together with the input they expect.

A checkpoint names its net, the colour order and scaling of the input, the training recipe, and the measured figures. It
is a safetensors file with all but the arrays in its metadata; the torch.save files of version 0.1 are read too. Loading
converts the colour order or raises. Reading needs no torch. `nets.load_net` and `detectors.load` build nets from
checkpoints.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import CheckpointError
from .files.atomic_write import atomic_write
from .files.tensors import read_record, read_tensors, write_tensors
from .files.torch_file import read_saved
from .scoring import Scoring
from .settings import Range, is_finite
from .terminal import short
from .weights import SCALING, SECOND, SIZES, Scaling, Weights, check_numbers

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "SUFFIX", "Checkpoint", "check_models", "has_weights", "load_weights", "packaged_weights", "read", "read_for",
    "read_threshold", "save_atomic", "set_threshold", "weights_file", "weights_path", "write",
]  # fmt: skip

FORMAT = 1  # of the record
SUFFIX = ".safetensors"
_SHARE = Range(min=0, max=1)
_EXPECTED = "expected a file written by `mtcnn train`"


@dataclass(frozen=True)
class Checkpoint:
    """The content of a weights file.

    net      "pnet", "rnet", "onet", "cnet", or a name of `detectors.DETECTORS`.
    state    parameter name -> tensor or NumPy array; `read` gives arrays.
    model    settings of the recipe's [model], from which a single-stage detector is rebuilt; None in older files.
    colour   "rgb" or "bgr".              scaling  (mean, divisor) of the input, see `nets.to_input`.
    recipe   the recipe section as plain values; `recipe_hash` is its digest.
    figures  metrics on the validation part, for the model card.
    scoring  how the scores of RNet, ONet and the net of its second pass are computed; the default if the file has none.
    has_landmarks  False if no label has trained the net's landmarks; True if the file does not say.
    threshold  minimum score of a face unless a user names another; None: that of `thresholds.published_threshold`.
    """

    net: str
    state: Mapping[str, Any]
    colour: str = "rgb"
    scaling: Scaling = SCALING
    recipe: dict[str, Any] = field(default_factory=dict)
    recipe_hash: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    scoring: Scoring = field(default_factory=Scoring)
    model: dict[str, Any] | None = None
    has_landmarks: bool = True
    threshold: float | None = None

    def arrays(self) -> dict[str, Any]:
        """The state as NumPy arrays."""
        return {
            name: value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
            for name, value in self.state.items()
        }

    def tensors(self) -> dict[str, Tensor]:
        """The state as tensors that share no memory with it."""
        import torch

        return {name: torch.as_tensor(value).detach().cpu().contiguous().clone() for name, value in self.state.items()}


def weights_path(models: Path, net: str) -> Path:
    """Path of the weights of `net` in a folder of models.

    models-12/weights-pnet.safetensors and so on for the cascade, models-48 for the net of ONet's second pass too;
    models-full/<net>/weights.safetensors for single-stage detectors.
    """
    if net in SIZES or net == SECOND:
        return models / f"models-{SIZES.get(net, SIZES['onet'])}" / f"weights-{net}{SUFFIX}"
    return models / "models-full" / net / f"weights{SUFFIX}"


def check_models(models: Path) -> None:
    """Raises CheckpointError if a folder of models that a user named does not exist, where others could stand in."""
    if not models.is_dir():
        what = "is a file" if models.exists() else "no such folder"
        raise CheckpointError(
            f"no weights at {models}: {what}; train them or import them, or name another folder as `models`"
        )


def packaged_weights() -> Path:
    """The folder of the weights that ship with the project: in a wheel below mtcnn/_app, in a checkout its root."""
    here = Path(__file__).resolve().parent
    return here / "_app" if (here / "_app").is_dir() else here.parent


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically.

    Raises CheckpointError, and leaves the old file, if `recipe` or `figures` hold anything but plain values or the file
    cannot be written.
    """
    record = {name: value for name, value in vars(checkpoint).items() if name != "state" and value is not None}
    record |= {"format": FORMAT, "scoring": asdict(checkpoint.scoring)}
    if checkpoint.has_landmarks:
        del record["has_landmarks"]
    arrays = checkpoint.arrays()
    try:
        with atomic_write(path) as draft:
            write_tensors(draft, arrays, record)
            found, _ = read_tensors(draft)  # before it replaces the old file
            if not all(found[name].tobytes() == value.tobytes() for name, value in arrays.items()):
                raise OSError("what was written reads differently")
    except TypeError as error:
        raise CheckpointError(f"{path} cannot be written: {_fault(error)}; expected plain values") from error
    except OSError as error:
        raise _unwritten(path, error) from error


def save_atomic(content: dict[str, Any], path: Path) -> None:
    """torch.save of a running training, atomically.

    Raises CheckpointError where it cannot be written.
    """
    import torch

    try:
        with atomic_write(path) as draft:
            torch.save(content, draft)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as stream positions
        raise _unwritten(path, error) from error


def _unwritten(path: Path, error: Exception) -> CheckpointError:
    why = getattr(error, "strerror", None) or "the disk may be full"
    return CheckpointError(f"{path} cannot be written ({why}); expected room for it; the file before it stays")


def _fix(path: Path) -> str:
    """What to do about missing weights: a folder of models may have those of another detector, that was not named."""
    others = sorted(each.parent.name for each in path.parent.parent.glob(f"models-full/*/weights{SUFFIX}"))
    if others and path.parent.parent != packaged_weights():
        return f"the folder has those of {', '.join(others[:3])}: name one as `detector`, or train or import these too"
    return "train them or import them, or name another folder as `models`"


def read(path: Path) -> Checkpoint:
    """Read a file made by `write`. Raises CheckpointError, in one line, for any other file."""
    former = None if path.is_file() else _former(path)
    if former is not None:
        warnings.warn(f"{former} is read instead of {path}, until version 0.3", FutureWarning, stacklevel=2)
        path = former
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise CheckpointError(f"no weights at {path}: {what}; {_fix(path)}")
    try:
        body = _body(path)
    except (CheckpointError, OSError) as error:
        fix = "copy it again, or import it with `mtcnn weights import` if it is another project's"
        raise CheckpointError(f"{path} is truncated, or no checkpoint at all; {_EXPECTED}; {fix}") from error
    if not isinstance(body, dict) or "format" not in body:
        raise CheckpointError(f"{path} holds no checkpoint of this project; {_EXPECTED}")
    if body["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has format {_short(body['format'])}; expected {FORMAT}: train again, or update mtcnn"
        )
    known = {name: body[name] for name in Checkpoint.__dataclass_fields__ if name in body}
    missing = {"net", "state", "colour", "scaling"} - known.keys()
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(sorted(missing))}; {_EXPECTED}")
    for name, kind in _KINDS.items():
        if name in known and not isinstance(known[name], kind):
            raise CheckpointError(f"{path} has a {name} of {_short(known[name])}; expected a {kind.__name__}")
    for name in ("net", "colour"):  # whoever expects another quotes them
        known[name] = short(known[name], 60)
    if known.get("threshold") is not None and not _SHARE.holds(known["threshold"]):
        raise CheckpointError(f"{path} has a threshold of {_short(known['threshold'])}; expected {_SHARE}")
    try:
        check_numbers(known["state"])
        scaling = _scaling(known["scaling"])
    except ValueError as error:
        raise CheckpointError(f"{path} {_fault(error)}; copy it again") from error
    try:
        scoring = Scoring(**known.get("scoring", {}))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} has no scoring that is known here: {_fault(error)}; update mtcnn") from error
    return Checkpoint(**{**known, "scaling": scaling, "scoring": scoring})


def _body(path: Path) -> Any:
    """All that a file holds; what it begins with tells its form."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    if zipped:  # by torch.save, in version 0.1
        return read_saved(path)
    arrays, record = read_tensors(path)
    if isinstance(record.get("model"), dict):
        record["model"] = _as_tuples(record["model"])
    return {**record, "state": arrays}


def _as_tuples(value: Any) -> Any:
    """JSON's rows as the tuples that settings of a net are."""
    if isinstance(value, dict):
        return {name: _as_tuples(each) for name, each in value.items()}
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


_KINDS: dict[str, type] = {
    "net": str, "state": dict, "colour": str, "recipe": dict, "recipe_hash": str, "figures": dict, "scoring": dict,
    "model": dict, "has_landmarks": bool,
}  # fmt: skip


def _scaling(value: Any) -> Scaling:
    """A mean, one number or three, and a divisor, as plain values say them. Raises ValueError for anything else."""
    mean, divisor = value if isinstance(value, list | tuple) and len(value) == 2 else (None, None)
    means = mean if isinstance(mean, list | tuple) and len(mean) == 3 else [mean]
    if not all(isinstance(number, int | float) and is_finite(number) for number in (*means, divisor)):
        raise ValueError(f"has a scaling of {_short(value)}; expected a mean and a divisor")
    return (mean if means == [mean] else tuple(means), divisor)  # type: ignore[return-value]  # of three, as checked


def _short(value: Any) -> str:
    """An unexpected value of a file, shortened for a message."""
    return repr(value)[:60] if isinstance(value, int | float | str | None) else f"a {type(value).__name__}"


def _fault(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


def _checked(path: Path, net: str, scaling: Scaling) -> Checkpoint:
    found = read(path)
    if found.net != net:
        raise CheckpointError(f"{path} holds weights of {found.net}; expected {net}")
    if found.scaling != scaling or found.colour not in ("rgb", "bgr"):
        raise CheckpointError(
            f"{path} wants {found.colour} scaled by {found.scaling}; expected rgb or bgr scaled by {scaling}"
        )
    return found


def _former(path: Path) -> Path | None:
    """The location of `path` in version 0.1: a .pt, for detectors beside PNet's. None if there is no such file."""
    formers = [path.with_suffix(".pt")]
    if path.parent.parent.name == "models-full":
        beside = path.parents[2] / "models-12" / f"weights-{path.parent.name}{path.suffix}"
        formers += [beside, beside.with_suffix(".pt")]
    return next((former for former in formers if former.is_file()), None)


def has_weights(models: Path, net: str) -> bool:
    """Whether a folder of models has weights of `net`, at the current location or that of version 0.1."""
    path = weights_path(models, net)
    return path.is_file() or _former(path) is not None


def weights_file(models: Path, net: str) -> Path:
    """The file of `has_weights`, at either location; the current one if there is none."""
    path = weights_path(models, net)
    return path if path.is_file() else _former(path) or path


def read_threshold(path: Path) -> float | None:
    """The `threshold` of a weights file, from its header alone.

    None for files that lack one, as those of version 0.1 do, and for all that `read` refuses, where that says why.
    """
    if not path.is_file():  # a pipe would never end
        return None
    try:
        value = read_record(path).get("threshold")
    except (CheckpointError, OSError):
        return None
    return float(value) if value is not None and _SHARE.holds(value) else None


def set_threshold(path: Path, threshold: float | None, scoring: Scoring | None = None) -> None:
    """Write another threshold into a weights file, and those settings of `scoring` that no key of weights depends on;
    None leaves them as they are."""
    found = read(path)
    changed = found if threshold is None else replace(found, threshold=threshold)
    if scoring is not None:
        free = [each.name for each in fields(scoring) if not each.metadata.get("hashed", True)]
        changed = replace(changed, scoring=replace(found.scoring, **{name: getattr(scoring, name) for name in free}))
    if (changed.threshold, changed.scoring) != (found.threshold, found.scoring):
        write(path, changed)


def read_for(path: Path, net: str, scaling: Scaling) -> Checkpoint:
    """What `read` gives of a single-stage detector, for RGB input scaled by `scaling`. Shapes are not checked.

    Raises CheckpointError when the file is broken, of another net, or wants another scaling.
    """
    found = _checked(path, net, scaling)
    if found.colour == "rgb":
        return found
    first, kernel = next(iter(found.state.items()), ("", np.zeros(0)))
    if np.ndim(kernel) != 4:
        raise CheckpointError(f"{path} begins with {first or 'nothing'}; expected a kernel of {net}'s first layer")
    state = {**found.state, first: np.ascontiguousarray(kernel[:, ::-1])}  # (out, colour, y, x)
    return replace(found, colour="rgb", state=state)


def load_weights(path: Path, net: str) -> Weights:
    """The weights of "pnet", "rnet", "onet" or "cnet" at `path`, for RGB input scaled by SCALING.

    Raises CheckpointError when the file is broken, of another net, or wants another scaling.
    """
    found = _checked(path, net, SCALING)
    try:
        weights = Weights(net, found.state, found.scoring, found.has_landmarks)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path} does not fit {net}: {_fault(error)}") from error
    return weights.turned() if found.colour == "bgr" else weights
