"""Problems in evaluation files: collected by default, raised at once if strict.

Every reader and evaluator here takes `problems`. One collector can serve a whole command:

    problems = Problems(strict=False)
    truth = GroundTruth.load_text("bbx_gt.txt", problems)
    result = evaluate(truth, load_detections("found.zip", problems), problems=problems)
    print(problems.summary())

Without a collector each problem becomes a Python warning, so that none is lost.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mtcnn.errors import DataError
from mtcnn.terminal import printable

__all__ = ["Problem", "Problems"]


@dataclass(frozen=True)
class Problem:
    """Something that does not follow its format: where (file, and line where known), and what it means."""

    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"


class Problems:
    """A collector of problems. With `strict` the first one raises DataError instead."""

    def __init__(self, strict: bool = False, warn: bool = False) -> None:
        self.strict = strict
        self._warn = warn
        self._found: list[Problem] = []

    @classmethod
    def default(cls, given: Problems | None) -> Problems:
        """The collector that was given, or one that warns."""
        return cls(warn=True) if given is None else given

    def add(self, where: object, why: str, line: int | None = None) -> None:
        """Adds a problem in the file `where`, lines counted from 1. Raises DataError if strict."""
        problem = Problem(str(where) if line is None else f"{where}:{line}", why)
        if self.strict:
            raise DataError(str(problem))
        if self._warn:
            warnings.warn(str(problem), stacklevel=4)
        self._found.append(problem)

    def add_all(self, images: Sequence[str], why: str) -> None:
        """One problem for all images with the same fault: thousands of lines would hide the others."""
        if images:
            self.add(images[0], why if len(images) == 1 else f"{why} (the first of {len(images)} images)")

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found)

    def __getitem__(self, index: int) -> Problem:
        return self._found[index]

    def summary(self, most: int | None = None) -> str:
        """One problem a line, all of them or the first `most` and how many were left out; empty without problems."""
        lines = [printable(str(problem)) for problem in self._found[:most]]
        if most is not None and len(self) > most:
            lines.append(f"... and {len(self) - most} more problems")
        return "\n".join(lines)
