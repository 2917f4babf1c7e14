"""The model card of trained weights: what they were made of, and by whom the labels are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mtcnn.checkpoint import Checkpoint, read, write
from mtcnn.files.atomic_write import write_whole
from mtcnn.weights import SECOND
from prepare.source_notes import SourceNote

__all__ = ["CARD", "card_of", "name_sources", "teacher_line"]

CARD = "MODEL_CARD.md"
MARK = "Written by `mtcnn train`, and again by the next training; delete this line to keep your own."


def name_sources(path: Path, sources: Sequence[SourceNote], more: Mapping[str, str] | None = None) -> None:
    """Write the sources of a training into its weights at `path`, as `recipe["sources"]`, and a card beside them.

    more  lines of the card's first table.

    A card that somebody wrote, without MARK, stays.
    """
    found, rows = read(path), [source.to_dict() for source in sources]
    if found.recipe.get("sources") != rows:
        found = replace(found, recipe={**found.recipe, "sources": rows})
        write(path, found)
    card = path.with_name(f"MODEL_CARD-{SECOND}.md" if found.net == SECOND else CARD)  # beside that of onet
    text = card_of(found, path.name, sources, more)
    there = card.read_text("utf-8", errors="replace") if card.is_file() else MARK
    if MARK in there and there != text:
        write_whole(card, text.encode())


def card_of(
    checkpoint: Checkpoint, file: str, sources: Sequence[SourceNote], more: Mapping[str, str] | None = None
) -> str:
    """The card as Markdown."""
    figures = ", ".join(f"{name} {value}" for name, value in checkpoint.figures.items())
    train = checkpoint.recipe.get("train", checkpoint.recipe)  # the cascade's nets store that section alone
    steps = f"{train.get('epochs')} epochs of {train.get('steps')} steps, {train.get('batch')} pictures or crops each"
    total = SourceNote("all", *(sum(getattr(each, key) for each in sources) for key in _COUNTS))
    teachers = list({tuple(each.items()): each for source in sources for each in source.teachers}.values())
    about = [
        ["weights", f"`{file}`"],
        ["key", checkpoint.recipe_hash],
        ["training", steps],
        ["figures", figures],
        *(more or {}).items(),
    ]
    photos = _table(["source", *_COUNTS], [_row(source) for source in [*sources, total]])
    parts = [f"# {checkpoint.net}", MARK, _table(["", ""], about), "## Photos", photos]
    if teachers:
        parts += ["## Teachers of the labels", _table(_TEACHER, map(_teacher_row, teachers))]
    parts += ["## Terms", _terms(bool(teachers))]
    return "\n\n".join(parts) + "\n"


def teacher_line(teacher: Path | None) -> dict[str, str]:
    """The line of a card that names the weights from which a net was distilled; none without them."""
    if teacher is None:
        return {}
    digest = hashlib.sha256(teacher.read_bytes()).hexdigest()
    return {"distilled from": f"{read(teacher).net}, SHA-256 {digest}, whose terms apply too"}


_COUNTS = ("photos", "faces", "scored", "ignored")
_TEACHER = ("net", "SHA-256", "from", "licence", "data")


def _row(source: SourceNote) -> list[str]:
    return [source.name, *(f"{getattr(source, key):,}" for key in _COUNTS)]


def _teacher_row(teacher: dict[str, str]) -> list[str]:
    return [teacher[key] for key in ("net", "sha256", "from", "licence", "terms")]


def _terms(taught: bool) -> str:
    text = "The photos of each source have terms of their own, which this program does not know: name them here."
    return f"{text} Labels of teachers also carry the terms of their weights, above." if taught else text


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; names of files cannot end a cell."""
    lines = [head, ["---"] * len(head), *rows]
    cells = ([" ".join(str(cell).split()).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
