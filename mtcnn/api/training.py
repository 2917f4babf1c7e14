"""`mtcnn.train`: the training pipeline as a function, and its typed result.

Training lives outside of the library (`prepare`, `stages`), in folders that this function finds as the command does,
and only when it is called: `import mtcnn` loads none of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ..__main__ import app_folder
from ..detectors import DETECTORS
from ..devices import device_name, plain_torch
from ..errors import MtcnnError, SettingsError
from ..settings import Range, as_path, check, check_flag, is_one_of, require, shown
from ..weights import SECOND, SIDES, SIZES
from ..workers import Workers, as_workers

if TYPE_CHECKING:
    from ..cascade import Detector

__all__ = ["Batch", "Callbacks", "Epoch", "TrainResult", "train"]

Location: TypeAlias = str | PathLike[str]
LOWEST_SCORE = 0.05  # minimum score for average precision, which ranks doubtful faces too
MIN_FACE = 20.0  # minimum longer side of the faces that count, pixels: the cascade's default


@dataclass(frozen=True)
class Batch:
    """A step of the optimiser, as `on_batch` gets it.

    net     the training: a net, or "pnet-draft".     epoch, step  counted from 0.
    losses  of the batch by name; "total" is minimised.
    """

    net: str
    epoch: int
    step: int
    losses: Mapping[str, float]


@dataclass(frozen=True)
class Epoch:
    """A finished epoch, as `on_epoch` gets it.

    net      the training: a net, or "pnet-draft".     epoch    counted from 0, of `epochs`.
    metrics  train_<loss> and val_<metric> by name, "seconds" and "samples_per_second": a line of metrics-<net>.jsonl.
    """

    net: str
    epoch: int
    epochs: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Callbacks:
    """The callbacks of a training, or None."""

    on_epoch: Callable[[Epoch], object] | None = None
    on_batch: Callable[[Batch], object] | None = None


class Outcome(NamedTuple):
    """Average precision on validation photos.

    ap  average precision at an IoU of 0.5.    faces, photos  evaluated.    of  photos in the validation part."""

    ap: float
    faces: int
    photos: int
    of: int

    def __str__(self) -> str:
        photos = f"{self.photos}" if self.photos == self.of else f"{self.photos} of {self.of}"
        return (
            f"average precision {self.ap:.3f} on {photos} validation photos, "
            f"{self.faces} faces of {MIN_FACE:g} pixels or more"
        )


@dataclass(frozen=True)
class TrainResult:
    """What a training made.

    work      the work folder: `Detector(models=result.work)`.
    nets      the nets that were asked for.         weights  net -> its file.
    made      the stages that were made, in order; empty if all were fresh.
    epochs    net -> its epochs, those of an earlier run included.
    validation  the photos of the validation part, records of `prepare`.
    """

    work: Path
    nets: tuple[str, ...]
    weights: Mapping[str, Path]
    made: tuple[str, ...]
    epochs: Mapping[str, tuple[Epoch, ...]] = field(repr=False)
    validation: tuple[Any, ...] = field(repr=False)

    def detector(self, **settings: Any) -> Detector:
        """A Detector with these weights, and other settings; with those of the cascade if all its nets are trained.

        Raises MtcnnError for RNet or ONet alone, which find no faces.
        """
        from ..cascade import Detector

        if self.nets[-1] in DETECTORS:
            settings = {"detector": self.nets[-1], **settings}
        elif len(self.nets) < len(SIZES) and SECOND not in self.nets:  # which has trained them all
            raise MtcnnError(f"{', '.join(self.nets)} alone is no detector; expected all of {', '.join(SIZES)}")
        return Detector(self.work, **settings)

    def measure(self) -> Outcome | None:
        """Average precision of the detector on at most 200 validation photos, in less than a minute.

        None without a readable photo, or a face that counts. Raises MtcnnError as `detector` does.
        """
        found: Outcome | None = app_module("stages.outcome").measure(
            self.validation, self.detector(score=LOWEST_SCORE).detect
        )
        return found


@plain_torch()
def train(
    net: str | None = None,
    data: Location | Iterable[Location] = (),
    work: Location = "work",
    *,
    start: Location | None = None,
    teacher: Location | None = None,
    before: Location | None = None,
    hard_from: str | None = None,
    changes: Mapping[str, Any] | None = None,
    eval_hashes: Iterable[Location] = (),
    workers: int | Workers = 1,
    processes: int = 1,
    device: str = "cpu",
    quiet: bool = True,
    on_epoch: Callable[[Epoch], object] | None = None,
    on_batch: Callable[[Batch], object] | None = None,
    say: Callable[[str], object] | None = None,
) -> TrainResult:
    """Make everything that is missing or out of date in a work folder: crops, mining, weights.

        result = mtcnn.train("slim", data="photos", on_epoch=lambda epoch: print(epoch.epoch, epoch.metrics))
        faces = result.detector().detect("photo.jpg")

    An interrupted call, an exception of a callback included, resumes where it stopped, with the same result.

    net         one net, "pnet", "rnet", "onet", "cnet", of ONet's second pass, or one of `detectors.DETECTORS`; None:
                the whole cascade, with cnet once the folder has its recipe.
    data        images and labels, as of --data: folders or FORMAT:PATH[:IMAGES]; empty: those stored in the folder.
    work        the work folder, made if missing. Recipes are files in it: edit them there.
    start       initial weights, a file or "packaged"; teacher likewise, for the objectives distill and distill-cells.
    before      a folder of models, or "packaged": its nets before "rnet", "onet" or "cnet" find the hard examples,
                instead of nets trained here; copied into the folder.
    hard_from   "pnet" or "rnet": mine hard examples with the cascade up to this net.
    changes     of the recipe of one net, by key, as {"train.epochs": 8}; kept in the folder.
    eval_hashes files of hashes of photos that no training may see.
    workers     processes that cut and mine crops, or a `Workers`.      processes  that train.
    device      of torch.       quiet  no bars and lines on stderr.     say  gets a line for each stage.
    on_epoch    called after every epoch with an `Epoch`.       on_batch  after every step with a `Batch`.

    With `processes` above 1 the callbacks run in the first of these, so that they must pickle, and the caller's file
    must be importable (`if __name__ == "__main__":`). Weights do not depend on callbacks.

    Raises SettingsError for settings out of range, RecipeError, DataError and CheckpointError for unusable files,
    TrainingError for a loss that is not finite, LibraryError without torch; SettingsError too if the program has set
    torch's default dtype.
    """
    _check_default_dtype()
    _check_nets(net, hard_from, teacher)
    require(changes is None or isinstance(changes, Mapping), "changes", changes, "values by key of the recipe")
    sources, hashes = _several("data", data), _several("eval_hashes", eval_hashes)
    check("processes", processes, Range(min=1, whole=True))
    device_name(device)  # checks its type
    check_flag("quiet", quiet)
    for name, call in {"on_epoch": on_epoch, "on_batch": on_batch, "say": say}.items():
        require(call is None or callable(call), name, call, "a function")
    folder = as_path("work", work)
    project = app_module("stages.graph.project")
    nets: tuple[str, ...] = project.cascade_of(folder) if net is None else (net,)
    dag = project.open_project(
        folder,
        nets,
        sources,
        hard_from,
        None if start is None else as_path("start", start),
        None if teacher is None else as_path("teacher", teacher),
        None if before is None else as_path("before", before),
        changes,
        [Path(path) for path in hashes],
        as_workers(workers),
        int(processes),
        "cpu" if device is None else str(device),
        quiet,
        callbacks=Callbacks(on_epoch, on_batch),
    )
    made = dag.ensure(*(nets if net else dag.nodes), say=say or (lambda line: None))
    weights = {name: dag.nodes[name].makes for name in nets}
    epochs = {name: _epochs(name, weights[name]) for name in nets}
    return TrainResult(folder, nets, weights, tuple(made), epochs, tuple(dag.val))


def _several(name: str, values: Location | Iterable[Location]) -> list[str]:
    """One or several, as they were written: a source may have its format before it."""
    require(isinstance(values, str | PathLike | Iterable), name, values, "a path or several")
    require(getattr(values, "ndim", 1) > 0, name, values, "a path or several")  # what iterates in name only
    given = [values] if isinstance(values, str | PathLike) else list(values)
    for value in given:
        as_path(name, value)
    return list(map(str, given))


def _check_default_dtype() -> None:
    """Raise SettingsError unless it is float32: all threads share it, so that nobody else may change it for hours."""
    torch: Any = sys.modules.get("torch")
    if hasattr(torch, "get_default_dtype"):
        found = torch.get_default_dtype()
        fix = "torch.float32, in which nets learn; call torch.set_default_dtype(torch.float32) before"
        require(found is torch.float32, "torch's default dtype", found, fix)


def _check_nets(net: str | None, hard_from: str | None, teacher: Location | None) -> None:
    """Raises SettingsError for an unknown net, and for settings that it does not use."""
    require(is_one_of(net, (None, *SIDES, *DETECTORS)), "net", net, f"one of {', '.join([*SIDES, *DETECTORS])}")
    if hard_from is not None and (net in DETECTORS or not is_one_of(hard_from, ("pnet", "rnet"))):
        expected = "none for a detector, which mines its own background" if net in DETECTORS else "pnet or rnet"
        raise SettingsError(f"hard_from is {shown(hard_from)}; expected {expected}")
    if teacher is not None and net not in DETECTORS:
        raise SettingsError(f"teacher is {shown(str(teacher))}; expected none for {net or 'the cascade'}")


def _epochs(net: str, weights: Path) -> tuple[Epoch, ...]:
    """The epochs in the log beside the weights."""
    rows = app_module("stages.run_log").read_rows(weights.with_name(f"metrics-{net}.jsonl"))
    return tuple(
        Epoch(net, row["epoch"], len(rows), {name: value for name, value in row.items() if name != "epoch"})
        for row in rows
    )


def app_module(name: str) -> ModuleType:
    """A module of the folders beside the library, `prepare` or `stages`.

    Raises MtcnnError if a module of that name, of another program, is loaded; LibraryError without torch.
    """
    from ..libraries import library_error

    folder, top = app_folder(), name.partition(".")[0]
    if top not in sys.modules and sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))  # worker processes inherit it
    try:
        module = import_module(name)
    except ImportError as error:
        if (fault := library_error(error)) is not None:
            raise fault from None
        if not _is_ours(top, folder):
            raise _taken(top) from None
        raise
    if not _is_ours(top, folder):
        raise _taken(top)
    return module


def _is_ours(top: str, folder: Path) -> bool:
    found = getattr(sys.modules.get(top), "__file__", None)
    return found is not None and Path(found).resolve().parent.parent == folder


def _taken(top: str) -> MtcnnError:
    found = getattr(sys.modules.get(top), "__file__", None)
    return MtcnnError(
        f"a module named {top} is loaded from {found}; expected that of mtcnn, which trains with it: rename the file, "
        "or call mtcnn.train in a process of its own"
    )
