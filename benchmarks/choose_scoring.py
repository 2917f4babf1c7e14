"""AP with different weights of the previous stage's logit in a net's score, to tune [train.score] and recall.

    python benchmarks/choose_scoring.py DATA [--models FOLDER] [--stage1 retinaface] [--net rnet]
        [--weights 0 0.5 0.75 1] [--temperatures 1 2] [--offsets 0 0.75 1] [--alarms 1.25]

DATA is laid out as CONTRIBUTING.md says, with the official ground truth. The photos are the validation part of
WIDER FACE's training list, unused in training the cascade (`ImageRecord.is_val`). The other net keeps its own scoring.

Adding the previous stage's logit raises all scores. After PNet, `shift` is subtracted from the net's own logit so that
the default thresholds give --alarms false positives per photo; AP and counts include this shift. A recipe's `recall`
shifts scores in the same way, so that this share of the validation faces has a logit of 0 or more. After a single-stage
detector, logits are not shifted, since PNet needs them, and AP is measured from a score of 0.02.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for prepare, which an installation puts elsewhere

from mtcnn.cascade import Detector
from mtcnn.images import read_image
from mtcnn.metrics.wider import GroundTruth, WiderResult, evaluate, faces_to_rows
from mtcnn.metrics.wider_truth import image_key
from mtcnn.refiner import NetRefiner
from mtcnn.runtimes.cascade import Net
from mtcnn.scoring import Scoring, logits_of, scoring_of
from mtcnn.types import Faces
from prepare.readers import read_source

VAL = 5.0  # percent, as in the recipes
ALARMS = 1.25  # those of the first packaged weights, which counted nothing of what was before
STEPS = 7  # of halving the interval of the shift
Array = NDArray[Any]


@dataclass
class Remembering(NetRefiner):
    """A refiner that asks its net about each square of a photo once, whatever its scoring is then.

    shift  is taken off the net's own logits.    known  by photo and square: logit, offsets and landmarks.
    """

    scoring: Scoring = field(default_factory=Scoring)
    shift: float = 0.0
    known: dict[tuple[int, bool], dict[bytes, tuple[Any, ...]]] = field(default_factory=dict)

    def fused(self, own: Array, given: Array) -> Array:
        return self.scoring.fused(own - self.shift, given, self.behind_detector)

    def passed(self, first: Array, own: Array) -> Array:
        if self.second is not None:
            return super().passed(first, own - self.shift)
        return self.scoring.passed(logits_of(first), own - self.shift)

    def shared(self, offsets: Array, squares: Array, boxes: Array) -> Array:
        return self.scoring.shared(offsets, squares, boxes.astype(np.float64)) if self.behind_detector else offsets

    def raw(
        self,
        image: NDArray[np.uint8],
        squares: Array,
        mirrored: NDArray[np.bool_] | None = None,
        net: Net | None = None,
    ) -> tuple[Any, Any, Any]:
        turned = np.zeros(len(squares), bool) if mirrored is None else mirrored
        table = self.known.setdefault((id(image), net is None), {})
        keys = [square.tobytes() + turn.tobytes() for square, turn in zip(squares, turned, strict=True)]
        new = [i for i, key in enumerate(keys) if key not in table]
        logits, offsets, points = super().raw(image, squares[new], turned[new], net)
        rows = zip(logits, offsets, logits if points is None else points, strict=True)
        table.update((keys[i], row) for i, row in zip(new, rows, strict=True))
        if not keys:
            return logits, offsets, points
        columns = [np.stack(column) for column in zip(*(table[key] for key in keys), strict=True)]
        return columns[0], columns[1], None if points is None else columns[2]


class Cascade:
    """A detector over the photos, of which one net's scoring is changed again and again."""

    def __init__(self, photos: dict[str, NDArray[np.uint8]], net: str, **settings: Any) -> None:
        detector = Detector(**settings)
        self.photos = photos
        self.proposals = {name: detector.proposer(image) for name, image in photos.items()}
        self.stages = [
            Remembering(**vars(stage), scoring=scoring_of(stage.net))
            for stage in detector.refiners
            if isinstance(stage, NetRefiner)
        ]
        self.changed = next(stage for stage in self.stages if stage.name == net)

    def found(self, scoring: Scoring, shift: float) -> Iterator[tuple[str, Faces]]:
        self.changed.scoring, self.changed.shift = scoring, shift
        for name, image in self.photos.items():
            faces = self.proposals[name]
            for stage in self.stages:
                faces = stage(image, faces)
            yield name, faces.sorted()

    def measure(self, truth: GroundTruth, scoring: Scoring, shift: float = 0.0) -> WiderResult:
        rows = {name: faces_to_rows(faces) for name, faces in self.found(scoring, shift)}
        return evaluate(truth, rows, list(self.photos))


def counts(result: WiderResult) -> tuple[int, int]:
    """Faces found and false alarms, among those of the setting hard."""
    curve = result.curves["hard"]
    found = float(curve.recall[-1]) * curve.faces
    alarms = found / float(curve.precision[-1]) - found if found else 0.0
    return round(found), round(alarms)


def shift_of(cascade: Cascade, truth: GroundTruth, scoring: Scoring, alarms: float) -> float:
    """What to take off the own logits for so many false alarms."""
    low, high = -4.0, 12.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        if counts(cascade.measure(truth, scoring, middle))[1] > alarms:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def table(
    usual: Cascade, sought: Cascade, truth: GroundTruth, scorings: Sequence[Scoring], alarms: float | None
) -> Iterator[str]:
    """Markdown rows. `usual` has the default thresholds, `sought` those that AP is measured with.

    alarms  false alarms of all photos together to place the scores by; None leaves them.
    """
    yield "| before | detector | temperature | offsets | shift | easy | medium | hard | faces | false alarms |"
    yield "| --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |"
    for scoring in scorings:
        shift = 0.0 if alarms is None else shift_of(usual, truth, scoring, alarms)
        ap = sought.measure(truth, scoring, shift).ap
        found = counts(usual.measure(truth, scoring, shift))
        numbers = [scoring.before, scoring.detector, scoring.temperature, scoring.detector_offsets, round(shift, 2)]
        cells = [f"{value:g}" for value in numbers] + [f"{value:.4f}" for value in ap.values()] + [*map(str, found)]
        yield f"| {' | '.join(cells)} |"


def val_photos(data: Path, truth: GroundTruth, most: int | None, percent: float) -> dict[str, NDArray[np.uint8]]:
    """The validation photos by their name in the ground truth."""
    records, _ = read_source(f"wider:{data / 'wider' / 'wider_face_train_bbx_gt.txt'}")
    chosen = [
        record.path for record in records if record.is_val(percent) and image_key(str(record.path)) in truth.boxes
    ]
    return {image_key(str(path)): read_image(path) for path in chosen[:most]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--stage1", default="pnet")
    parser.add_argument("--net", choices=("rnet", "onet"), default="onet")
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 0.5, 0.75, 1.0, 1.25])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--offsets", type=float, nargs="+", default=[1.0], help="behind a detector")
    parser.add_argument("--alarms", type=float, default=ALARMS, help="a photo, at the default thresholds")
    parser.add_argument("--most", type=int, help="photos")
    parser.add_argument("--val", type=float, default=VAL, help="percent of the list, where a detector used the others")
    given = parser.parse_args()
    truth = GroundTruth.load(given.data / "wider" / "ground_truth")
    photos = val_photos(given.data, truth, given.most, given.val)
    settings = {"models": given.models, "stage1": given.stage1, "refine": "rnet,onet"}
    usual = Cascade(photos, given.net, **settings)
    behind_pnet = given.stage1 == "pnet"
    if behind_pnet:
        sought = Cascade(photos, given.net, **settings, min_face=10, scale_factor=0.79, thresholds=(0.5, 0.5, 0.3))
    else:
        sought = Cascade(photos, given.net, **settings, thresholds=(0.02, 0.02, 0.02))
    weight, own = "before" if behind_pnet else "detector", scoring_of(sought.changed.net)
    scorings = [
        replace(
            Scoring(temperature=heat, detector_offsets=share, context=own.context, second=own.second), **{weight: value}
        )
        for value in given.weights
        for heat in given.temperatures
        for share in given.offsets
    ]
    print(f"{len(photos)} photos, {given.net} behind {given.stage1}")
    for line in table(usual, sought, truth, scorings, given.alarms * len(photos) if behind_pnet else None):
        print(line, flush=True)


if __name__ == "__main__":
    main()
