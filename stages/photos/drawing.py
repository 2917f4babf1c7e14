"""Which photos a training draws: labelled and unlabelled ones, and folders of them by stated shares.

Shares keep a large source, such as thousands of crowds, from swamping the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mtcnn.errors import DataError
from prepare.records import ImageRecord

__all__ = ["Drawing"]

Images = NDArray[np.int64]


class Drawing:
    """Draws images by their rows.

    records     of all images.    labelled, unlabelled  int64, rows of the images to draw.
    unlabelled_share  share of the unlabelled ones.
    shares      name of a folder -> share of the images below it, of either sort; "2024/street" is a folder in another.
                The first name that fits has an image. The others are drawn for the rest of the time; if there are none,
                shares are taken in proportion.

    has_unlabelled  whether a folder holds unlabelled images.

    Raises DataError for a share without images.
    """

    def __init__(
        self,
        records: Sequence[ImageRecord],
        labelled: Images,
        unlabelled: Images,
        unlabelled_share: float,
        shares: Mapping[str, float],
    ) -> None:
        self.folders = {name: _below(name, records, np.concatenate([labelled, unlabelled])) for name in shares}
        taken: set[int] = set()
        for name, share in shares.items():
            self.folders[name] = np.array([i for i in self.folders[name] if i not in taken], np.int64)
            taken.update(self.folders[name].tolist())
            if share and not len(self.folders[name]):
                raise DataError(f"pictures.shares.{name} is {share:g}; expected photos in a folder of that name")
        self.labelled, self.unlabelled = (
            np.array([i for i in images if i not in taken], np.int64) for images in (labelled, unlabelled)
        )
        self.unlabelled_share = unlabelled_share
        self.shares = np.array(list(shares.values()), np.float64)
        if shares and not len(self.labelled) and not (unlabelled_share and len(self.unlabelled)):
            if not self.shares.sum():
                raise DataError("pictures.shares are all 0, and no other photo is drawn; expected a share above 0")
            self.shares /= self.shares.sum()
        self.has_unlabelled = any(np.isin(images, unlabelled).any() for images in self.folders.values())

    def images(self, rng: np.random.Generator) -> Iterator[int]:
        """Rows without end. Each sort is drawn in random order, all of it before any image comes again."""
        labelled, unlabelled = _endless(self.labelled, rng), _endless(self.unlabelled, rng)
        folders = [_endless(images, rng) for images in self.folders.values()]
        steps = self.shares.cumsum()
        steps[steps > 1 - 1e-9] = 1.0  # rounding must not leave a chance to photos of which there are none
        while True:
            chosen = int(np.searchsorted(steps, rng.random(), side="right")) if folders else 0
            if chosen < len(folders):
                yield next(folders[chosen])
            elif not len(self.labelled) or (
                self.unlabelled_share and len(self.unlabelled) and rng.random() < self.unlabelled_share
            ):
                yield next(unlabelled)
            else:
                yield next(labelled)


def _below(name: str, records: Sequence[ImageRecord], images: Images) -> Images:
    part = f"/{name.strip('/')}/"
    return np.array([i for i in images if part in f"/{records[i].path.parent.as_posix()}/"], np.int64)


def _endless(images: Images, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(images).tolist()
