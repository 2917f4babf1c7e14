"""Untrusted names and texts: escaped on terminals, and read back unchanged."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_command import run

from mtcnn.pictures.draw import save_image
from mtcnn.stream.items import Item
from mtcnn.stream.resume import read_listing
from mtcnn.stream.sinks.listing import COLUMNS, Listing, Style, name_of_csv, open_listing, text_name
from mtcnn.terminal import printable
from mtcnn.types import Faces
from prepare.synthetic import draw_scene

EVIL = "\x1b]0;OWNED\x07\nmtcnn: forged\r\x9b31m\u202e"
NAMES = [
    "a\rb.png", "a\nb.png", "a\r\nb.png", "\n.png", " a.png", "\ta.png", "'a.png", '"a".png', "a\\nb.png", "=1+1.png",
    "+a.png", "-a.png", "@a.png", "'=a.png", "a, b.png", "a: 2 faces.png", "b.mp4 frame 3 (0.120 s)", "größe.png",
    "a\u2028b.png", "\x1b[31mred\x9b5m.png", "\x7f.png", "a\udcffb.png", "名前.png", EVIL,
]  # fmt: skip


def test_control_characters_are_escaped() -> None:
    assert printable("größe, 名前 a b") == "größe, 名前 a b"
    assert printable(EVIL) == r"\x1b]0;OWNED\x07\nmtcnn: forged\r\x9b31m\u202e"
    assert printable("\t\x7f\u2028\u2066") == r"\t\x7f\u2028\u2066"


@given(st.text())
def test_printable_names_are_unchanged(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable() or not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in shown)
    assert printable(shown) == shown
    assert len(shown.splitlines()) <= 1


def item(name: str, count: int = 1) -> Item:
    faces = Faces(np.array([[1, 2, 20, 22]] * count, np.float32), np.full(count, 0.5, np.float32))
    return Item(Path(name), np.zeros((40, 32, 3), np.uint8), faces)


def printed(style: Style, *names: str) -> str:
    out = io.StringIO()
    listing = Listing(out, style)
    for name in names:
        listing.write(item(name))
    return out.getvalue()


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_listings_read_back_any_name(name: str) -> None:
    text = printed("json", name)
    assert json.loads(text)["image"] == name
    assert text.count("\n") == 1 and len(text.splitlines()) == 1
    text.encode()  # UTF-8 without exception
    _, row = csv.reader(io.StringIO(printed("csv", name), newline=""))
    assert name_of_csv(row[0]) == name
    assert not row[0].startswith(("=", "+", "-", "@", "\t", "\r"))
    assert printed("text", name).count("\n") == 2


def test_no_two_names_are_one_in_the_text_style() -> None:
    texts = [text_name(Path(name)) for name in NAMES]
    assert len(set(texts)) == len(NAMES)
    assert all(printable(text) == text for text in texts)


@given(st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1))
def test_the_text_style_distinguishes_names(name: str) -> None:
    shown = text_name(Path(name))
    assert printable(shown) == shown
    assert json.loads(shown.replace("\\x", "\\u00")) == str(Path(name)) if shown[0] == '"' else shown == str(Path(name))


@pytest.mark.parametrize("style", ["json", "csv", "text"])
def test_resume_knows_any_name(tmp_path: Path, style: Style) -> None:
    sources = [Path(name) for name in NAMES]
    listing = open_listing(tmp_path / "out", style, COLUMNS)
    for source in sources:
        listing.write(item(str(source)))
    listing.close()
    done = read_listing(tmp_path / "out", style, COLUMNS, sources)
    # The last of text and CSV may lack rows.
    assert done.sources == set(sources if style == "json" else sources[:-1])


def test_tables_on_a_terminal_are_escaped() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    Listing(out, "csv").write(item(EVIL))
    assert "\x1b" not in out.getvalue() and "\\x1b]0;" in out.getvalue()


def test_no_command_prints_escape_sequences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_image("\x1b[31mred\x9b5m.png", draw_scene(0, 3)[0])
    Path(f"{EVIL}.png").write_bytes(b"no image")
    Path("truth.txt").write_text("e/x.jpg\n1\n1 2 30 40\n")
    Path("found/e").mkdir(parents=True)
    Path("found/e/\x1b[41mx.txt").write_text("x\nnope\n")
    commands: list[tuple[Any, ...]] = [
        ("detect", ".", "--min-face", 40),
        ("detect", ".", "--min-face", 40, "--json"),
        ("detect", ".", "--min-face", 40, "--crop", "faces", "--trace", "why", "--quiet"),
        ("detect", "a.png", "--\x1b[31m"),
        ("detect", "a.png", "--models", EVIL),
        ("eval", "wider", "found", "--ground-truth", "truth.txt"),
        ("eval", "wider", "found", "--ground-truth", EVIL),
        ("train", "--net", EVIL),
        ("status", "--work", "w", "--data", EVIL),
    ]
    for words in commands:
        done = run(*words)
        text = done.stdout + done.stderr
        assert not {"\x1b", "\x9b", "\x07", "\u202e"} & set(text), words
        assert not [line for line in text.split("\n") if line.startswith("mtcnn: forged")], words
