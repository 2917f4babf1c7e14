"""`mtcnn.evaluate`: accuracy by the official protocols, and its typed result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias, TypedDict, TypeVar, Unpack, overload

from ..detector_settings import DetectorSettings
from ..errors import SettingsError
from ..metrics import comparison, fddb, landmarks, plots, wider
from ..metrics.detections import DetectorMaker, detect_all
from ..metrics.problems import Problem, Problems
from ..settings import as_path, check_flag, is_one_of, require, shown
from ..types import Faces
from ..workers import Workers, as_workers

if TYPE_CHECKING:
    from ..cascade import Detector

__all__ = ["OWN", "EvaluateOptions", "Evaluation", "Measured", "evaluate"]

OWN = comparison.OWN
"""The name, in results, of the cascade if that was run; other detectors have their own, see
`DetectorSettings.title`."""

Location: TypeAlias = str | PathLike[str]
TABLES: dict[str, Callable[[Any], str]] = {"wider": wider.table, "fddb": fddb.table, "landmarks": landmarks.table}
PLOTS: dict[str, Callable[..., Path]] = {
    "wider": plots.plot_pr, "fddb": plots.plot_roc, "landmarks": plots.plot_landmarks,
}  # fmt: skip


class Measured(Protocol):
    """The figures of one detector: a `WiderResult`, `FddbResult` or `LandmarkResult`."""

    @property
    def label(self) -> str: ...

    def to_dict(self) -> dict[str, Any]: ...


R = TypeVar("R", bound=Measured)


@dataclass(frozen=True, eq=False)
class Evaluation(Generic[R]):
    """Results by the detector's name; that of the detector that was run is `own`.

        print(evaluation)                       the table that `mtcnn eval` prints
        evaluation["mtcnn"].ap["hard"]          on WIDER FACE, of the cascade

    protocol  "wider", "fddb" or "landmarks".
    results   name -> `metrics.wider.WiderResult`, `metrics.fddb.FddbResult` or `metrics.landmarks.LandmarkResult`.
    problems  found in the files.
    settings  of the detector that was run, with scale and flip; None if none was.
    own       its name: "mtcnn" for the cascade, "retinaface", "retinaface+rnet+onet" and so on.
    """

    protocol: str
    results: dict[str, R]
    problems: tuple[Problem, ...] = ()
    settings: dict[str, Any] | None = None
    own: str = OWN

    def __getitem__(self, name: str) -> R:
        return self.results[name]

    def __str__(self) -> str:
        label = next(iter(self.results.values())).label
        run = "" if self.settings is None else f"\n\n{self.own}: {_line(self.settings)}"
        return f"{label}\n\n{TABLES[self.protocol](self.results)}{run}"

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain values by name, for JSON; those of the detector that was run have its settings as "detector"."""
        values = {name: result.to_dict() for name, result in self.results.items()}
        if self.settings is not None:
            values[self.own]["detector"] = self.settings
        return values

    def plot(self, path: Location) -> Path:
        """Draw the curves to a .png, .pdf or .svg. Raises MtcnnError without matplotlib, or if it cannot be written."""
        return PLOTS[self.protocol](self.results, path)


class EvaluateOptions(TypedDict, total=False):
    """The keyword arguments of `evaluate`, documented there."""

    detections: Mapping[str, Location] | Iterable[Location] | Location
    labels: Location | None
    sizes: Location | None
    write: Location | None
    detector: Detector | Mapping[str, Any] | None
    scale: str
    flip: bool
    workers: int | Workers
    strict: bool
    progress: bool


@overload
def evaluate(
    ground_truth: Location,
    photos: Location | None = None,
    protocol: Literal["wider"] = "wider",
    **options: Unpack[EvaluateOptions],
) -> Evaluation[wider.WiderResult]: ...


@overload
def evaluate(
    ground_truth: Location,
    photos: Location | None = None,
    *,
    protocol: Literal["fddb"],
    **options: Unpack[EvaluateOptions],
) -> Evaluation[fddb.FddbResult]: ...


@overload
def evaluate(
    ground_truth: Location,
    photos: Location | None = None,
    *,
    protocol: Literal["landmarks"],
    **options: Unpack[EvaluateOptions],
) -> Evaluation[landmarks.LandmarkResult]: ...


def evaluate(
    ground_truth: Location,
    photos: Location | None = None,
    protocol: str = "wider",
    *,
    detections: Mapping[str, Location] | Iterable[Location] | Location = (),
    labels: Location | None = None,
    sizes: Location | None = None,
    write: Location | None = None,
    detector: Detector | Mapping[str, Any] | None = None,
    scale: str = "original",
    flip: bool = False,
    workers: int | Workers = 1,
    strict: bool = False,
    progress: bool = False,
) -> Evaluation[Any]:
    """Accuracy of a detector, and of files of detections, by the official protocol of a data set.

        mtcnn.evaluate("dev_bbx_gt.txt", "dev/images", detector={"detector": "fast"})["retinaface"].ap

    ground_truth  wider: a bbx_gt.txt, or the folder of the official .mat files.
                  fddb: the folder FDDB-folds.    landmarks: a CSV, see `metrics.landmarks.COLUMNS`.
    photos        the photos to run the detector on: for wider a folder of <event>/<image>.jpg.
    detections    files of detections: name -> path, or paths, or texts NAME=PATH. Not for landmarks.
    labels        wider: only the images that this list names.      sizes  fddb: a table of image sizes.
    write         wider: folder for the detections of the detector; fddb: prefix of the files of results.
    detector      a Detector, or keyword arguments of one. With the latter `coarse` is False unless given: figures are
                  quoted for one look at each image.
    scale, flip   the sizes to detect at, and whether in the mirror image too, see `metrics.scales.ScaledDetector`.
    workers       processes that detect, or a `Workers`.
    strict        raise DataError for the first problem in a file.        progress  show bars on stderr.

    Raises SettingsError for options that do not fit, DataError for unusable files.
    """
    require(is_one_of(protocol, TABLES), "protocol", protocol, f"one of {', '.join(TABLES)}")
    check_flag("strict", strict)
    check_flag("progress", progress)
    _check_used(protocol, detections, labels, sizes, write)
    own, problems = DetectorMaker(_settings(detector), scale, flip), Problems(strict)
    files = _named(detections)
    if own.title in files and photos is not None:
        raise SettingsError(f"detections are named {own.title!r}, as the detector that is run; expected another name")
    pool = as_workers(workers)

    def detect(images: Mapping[str, Path]) -> dict[str, Faces]:
        return detect_all(images, own, pool, problems, progress)

    results: dict[str, Any]
    truth, folder, target = as_path("ground_truth", ground_truth), _path("photos", photos), _path("write", write)
    if protocol == "wider":
        results = comparison.wider_results(
            files, truth, _path("labels", labels), folder, detect, target, problems, progress
        )
    elif protocol == "fddb":
        prefix = None if write is None else str(write)
        table = _path("sizes", sizes)
        results = comparison.fddb_results(files, truth, table, folder, detect, prefix, problems, progress)
    else:
        results = comparison.landmark_results(truth, folder, detect, problems, progress)
    if OWN not in results:
        return Evaluation(protocol, results, tuple(problems))
    results = {own.title if name == OWN else name: result for name, result in results.items()}
    return Evaluation(protocol, results, tuple(problems), own.to_dict(), own.title)


def _check_used(protocol: str, detections: Any, labels: Any, sizes: Any, write: Any) -> None:
    """Raise SettingsError for an argument that the protocol does not use."""
    used = {"wider": ("detections", "labels", "write"), "fddb": ("detections", "sizes", "write"), "landmarks": ()}
    files = None if isinstance(detections, Sized) and not len(detections) else detections
    given = {"detections": files, "labels": labels, "sizes": sizes, "write": write}
    for name, value in given.items():
        if value is not None and name not in used[protocol]:
            raise SettingsError(f"{name} is {shown(value)}; expected none for the protocol {protocol}")


def _settings(detector: Detector | Mapping[str, Any] | None) -> dict[str, Any]:
    """The keyword arguments of a detector."""
    if detector is None or isinstance(detector, Mapping):
        return dict(detector or {})
    expected = "a Detector or its arguments, such as {'detector': 'fast'}"
    require(isinstance(getattr(detector, "settings", None), DetectorSettings), "detector", detector, expected)
    return {field.name: getattr(detector.settings, field.name) for field in fields(DetectorSettings)}


def _named(detections: Mapping[str, Location] | Iterable[Location] | Location) -> dict[str, Path]:
    if isinstance(detections, str | PathLike):
        detections = (detections,)
    if isinstance(detections, Mapping):
        detections = [f"{name}={as_path('detections', path)}" for name, path in detections.items()]
    require(isinstance(detections, Iterable), "detections", detections, "a path, several, or names and paths")
    return comparison.named_files([str(as_path("detections", each)) for each in detections])


def _path(name: str, value: Location | None) -> Path | None:
    return None if value is None else as_path(name, value)


def _line(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items() if value is not None)
