"""What a run came to, in one line."""

from __future__ import annotations

from dataclasses import dataclass

from .items import Item

__all__ = ["Summary"]


@dataclass
class Summary:
    """Counts of a run: images and frames that were looked at, faces, problems, and sources that were done before."""

    images: int = 0
    frames: int = 0
    faces: int = 0
    bad: int = 0
    done_before: int = 0

    def add(self, item: Item) -> None:
        if item.frame is None:
            self.images += 1
        else:
            self.frames += 1
        self.faces += len(item.faces)

    def line(self, seconds: float) -> str:
        """Such as "12 images, 30 faces in 1.4 s; 1 problem"."""
        seen = [count for count in (_count(self.images, "image"), _count(self.frames, "frame")) if count]
        line = f"{' and '.join(seen) or '0 images'}, {_count(self.faces, 'face') or '0 faces'} in {seconds:.1f} s"
        before = [f"{self.done_before:,} done before"] if self.done_before else []
        bad = [_count(self.bad, "problem")] if self.bad else []
        return "; ".join([line, *before, *bad])


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}" if number else ""
