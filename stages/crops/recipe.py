"""Recipes of the cascade's nets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from mtcnn.scoring import Scoring
from mtcnn.settings import Settings, require, setting
from mtcnn.weights import SECOND, SIDES
from prepare.labels import IouBands, Kind
from prepare.mine import MineSettings
from prepare.sample import CropSettings

from ..recipes import Schedule, check

__all__ = ["Mix", "Recipe", "TrainSettings"]


@dataclass(frozen=True)
class Mix(Settings):
    """Shares of a batch by kind of crop, not necessarily normalised. The paper has 3 : 1 : 1 : 2 for three tasks."""

    neg: float = setting(3.0, above=0)
    part: float = setting(1.0, min=0)
    pos: float = setting(1.0, above=0)
    landmark: float = setting(0.0, min=0)

    def counts(self, batch: int) -> dict[Kind, int]:
        """Crops of each kind in a batch of `batch`; the rounding remainder is background."""
        total = self.neg + self.part + self.pos + self.landmark
        counts = {Kind[name.upper()]: round(batch * share / total) for name, share in vars(self).items()}
        counts[Kind.NEG] += batch - sum(counts.values())
        return counts


@dataclass(frozen=True)
class TrainSettings(Schedule):
    """Section [train] of a recipe: the schedule, and

    mix               kinds of crops in a batch.
    hard              share of the face losses used, hardest first (online hard example mining).
    face box landmark weights of the three losses.
    iou               weight of 1 - DIoU of the boxes, besides smooth L1 of their offsets; 0 for none.
    nme               weight of the distance of landmarks over that of the eyes (the normalised mean error), besides
                      smooth L1; 0 for none.
    quality           two numbers: the face score of a POS or PART crop is to rise from 0 to its score, 1 for a face,
                      with the IoU of the predicted box and the face, from the first number to the second. Empty: it is
                      1 for POS, whatever the box, and PART crops do not train it.
    soft              weight in the face loss of crops of faces that teachers scored, see `mtcnn label`.
    colour            strength of random brightness, contrast and saturation, 0 for none.
    blur              share of crops that are halved in size and enlarged again.
    shift             largest shift, over its side, of the window through which a crop is seen, drawn each time.
    scale             largest change of that window's side: 0.1 for 1 / 1.1 to 1.1 times.
    recall            after training, the face bias is shifted so that this share of validation faces scores 0.5 or
                      more; 0 for no change. Training on hard examples lowers all scores; this corrects them. Here the
                      score is the net's own, without the previous stage's logit.
    score             how the scores of RNet and ONet include the previous stage's; stored with the weights.
    """

    mix: Mix = field(default_factory=Mix)
    hard: float = setting(0.7, above=0, max=1)
    face: float = setting(1.0, min=0)
    box: float = setting(0.5, min=0)
    landmark: float = setting(0.5, min=0)
    colour: float = setting(0.3, min=0, max=1)
    blur: float = setting(0.0, min=0, max=1)
    recall: float = setting(0.0, min=0, max=1)
    score: Scoring = field(default_factory=Scoring)
    soft: float = setting(1.0, min=0, added=True)
    iou: float = setting(0.0, min=0, added=True)
    nme: float = setting(0.0, min=0, added=True)
    shift: float = setting(0.0, min=0, max=0.5, added=True)
    scale: float = setting(0.0, min=0, max=1, added=True)
    quality: tuple[float, ...] = field(default=(), metadata={"added": True})

    @property
    def trains_landmarks(self) -> bool:
        """Whether crops of the mix train the landmarks."""
        return self.landmark > 0 and self.mix.counts(self.batch)[Kind.LANDMARK] > 0

    def without_landmarks(self) -> TrainSettings:
        """The same settings for photos whose labels have no landmarks."""
        return replace(self, mix=replace(self.mix, landmark=0.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        rising = not self.quality or (len(self.quality) == 2 and 0 <= self.quality[0] < self.quality[1] <= 1)
        require(rising, "quality", list(self.quality), "two rising numbers from 0 to 1, or none")
        counts = self.mix.counts(self.batch)
        require(min(counts.values()) >= 0 and counts[Kind.NEG] > 0 and counts[Kind.POS] > 0, "batch", self.batch,
                "one large enough for some neg and some pos crops of the mix")  # fmt: skip


@dataclass(frozen=True)
class Recipe(Settings):
    """All settings of one net: how its crops are sampled and mined, and how it is trained.

    draft  a shorter training whose net mines hard examples for the final one: PNet, the first stage, finds its own
           false positives this way. None for no draft.
    """

    net: str
    seed: int = setting(0, min=0)
    bands: IouBands = field(default_factory=IouBands)
    crops: CropSettings = field(default_factory=CropSettings)
    mine: MineSettings | None = None
    draft: TrainSettings | None = None
    train: TrainSettings = field(default_factory=TrainSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.net in SIDES, "net", self.net, f"one of {', '.join(SIDES)}")
        check(self.draft is None or (self.net == "pnet" and self.mine is not None), "draft", "given",
               "it for pnet alone, together with [mine]")  # fmt: skip
        for name in ("draft", "train"):
            settings = getattr(self, name)
            wants = settings is not None and settings.mix.landmark > 0
            check(not wants or self.net in ("onet", SECOND), f"{name}.mix.landmark", "above 0",
                  f"0: only onet and {SECOND} have landmarks")  # fmt: skip
            check(not wants or self.crops.landmarks > 0, "crops.landmarks", 0, "1 or more, as the mix wants some")
            own = settings is None or settings.score == Scoring()
            check(settings is None or settings.score.context == 1, f"{name}.score.context", "given",
                  "none: it is that of [crops]")  # fmt: skip
            check(own or self.net != "pnet", f"{name}.score", "given", "none: there is no stage before pnet")
        check(self.crops.context == 1 or self.net != "pnet", "crops.context", self.crops.context,
              "1: pnet sees its window alone")  # fmt: skip
        if self.net == SECOND:
            self._check_second()

    def _check_second(self) -> None:
        """What the net of ONet's second pass takes from ONet."""
        train = self.train
        check(self.mine is not None, "mine", "missing", f"it: {self.net} learns from what onet leaves")
        check(train.recall == 0, "train.recall", train.recall, "0: its score is a sum with onet's, which has its own")
        check(train.threshold is None, "train.threshold", train.threshold, "none: it is that of onet")
