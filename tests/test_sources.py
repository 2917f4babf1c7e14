"""Resolving names to images, videos and cameras."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from mtcnn.errors import SettingsError
from mtcnn.stream.addresses import Address
from mtcnn.stream.sources import as_source, find_sources, image_files, kind_of


def make(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [folder / name for name in names]


def found_in(folder: Path, *named: Path) -> list[str]:
    sources, problems = find_sources(named or [folder])
    assert not problems
    return [path.relative_to(folder).as_posix() for path in sources if isinstance(path, Path)]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jpg", "image"),
        ("a", "image"),
        ("a.MP4", "video"),
        ("b/a.avi", "video"),
        ("camera:0", "camera"),
        ("camera:12", "camera"),
        ("camera:x", "image"),
        ("./b/camera:0", "image"),
        ("camera:0.mp4", "video"),
    ],
)
def test_kind(name: str, kind: str) -> None:
    assert kind_of(Path(name)) == kind


def test_named_files_are_kept(tmp_path: Path) -> None:
    """With any suffix, and even if they do not exist: reading them reports it."""
    named = [*make(tmp_path, "b.jpg", "a.dat"), tmp_path / "missing.png", Path("camera:3")]
    assert list(image_files(named)) == named
    assert find_sources(named) == (named, [])


def test_folders_are_searched_through(tmp_path: Path) -> None:
    make(tmp_path, "z.JPG", "a.png", "notes.txt", "sub/b.webp", "sub/deep/c.tiff", "sub/readme", "clip.MOV")
    found = ["a.png", "clip.MOV", "sub/b.webp", "sub/deep/c.tiff", "z.JPG"]
    assert found_in(tmp_path) == found
    images = [path.relative_to(tmp_path).as_posix() for path in image_files([tmp_path])]
    assert images == [name for name in found if name != "clip.MOV"]


def test_a_folder_with_the_name_of_an_image(tmp_path: Path) -> None:
    """It is searched like any folder; without any image it is kept as a name, and reading it reports it."""
    make(tmp_path, "full.jpg/a.png", "notes.jpg/readme", "plain/readme")
    assert found_in(tmp_path) == ["full.jpg/a.png", "notes.jpg"]


def test_dangling_links_are_not_skipped(tmp_path: Path) -> None:
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "li[n]k.jpg").symlink_to(tmp_path / "gone.jpg")
    assert found_in(tmp_path) == ["li[n]k.jpg", "link.jpg"]
    assert found_in(tmp_path, tmp_path / "li[n]k.jpg") == ["li[n]k.jpg"]


def test_pipes_are_skipped(tmp_path: Path) -> None:
    """Opening one would block forever."""
    os.mkfifo(tmp_path / "pipe.jpg")
    make(tmp_path, "a.jpg")
    assert found_in(tmp_path) == ["a.jpg"]


def test_unreadable_folders_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.jpg", "secret/b.jpg")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    sources, problems = find_sources([tmp_path])
    assert sources == [tmp_path / "a.jpg"]
    assert problems == [f"{tmp_path / 'secret'}: cannot be searched (Permission denied); check its permissions"]


def test_patterns_are_expanded(tmp_path: Path) -> None:
    make(tmp_path, "a1.png", "a2.png", "b1.png", "sub/a3.png")
    assert found_in(tmp_path, tmp_path / "a*.png") == ["a1.png", "a2.png"]
    assert found_in(tmp_path, tmp_path / "**" / "a?.png") == ["a1.png", "a2.png", "sub/a3.png"]
    assert found_in(tmp_path, tmp_path / "s*") == ["sub/a3.png"]  # a folder, as a shell would give it
    assert list(image_files([tmp_path / "x*"])) == []


def test_a_name_that_looks_like_a_pattern(tmp_path: Path) -> None:
    make(tmp_path, "a[1].png", "a1.png")
    assert found_in(tmp_path, tmp_path / "a[1].png") == ["a[1].png"]


def test_each_source_comes_once_where_it_was_named_first(tmp_path: Path) -> None:
    make(tmp_path, "x/2.png", "x/1.png", "3.png")
    assert found_in(tmp_path, tmp_path / "x/2.png", tmp_path / "3.png", tmp_path / "x") == [
        "x/2.png",
        "3.png",
        "x/1.png",
    ]


def test_a_file_that_is_named_in_several_ways_comes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link is another source: its outputs have its own name."""
    make(tmp_path, "x/1.png")
    (tmp_path / "link.png").symlink_to("x/1.png")
    (tmp_path / "all").symlink_to("x")
    monkeypatch.chdir(tmp_path)
    names = ["x/1.png", "./x/1.png", "x/../x/1.png", f"{tmp_path}/x/1.png", "all/1.png", "link.png", *["gone.png"] * 2]
    assert find_sources([Path(name) for name in names])[0] == [Path("x/1.png"), Path("link.png"), Path("gone.png")]


def test_names_that_match_nothing_are_reported(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    named = [tmp_path / "empty", tmp_path / "*.jpg", *make(tmp_path, "a.png")]
    sources, problems = find_sources(named)
    assert sources == named[2:]
    assert [problem.split(";")[0] for problem in problems] == [f"no image in {name}" for name in named[:2]]


# ---- lists


def test_a_list_of_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.png", "sub/b.png", "sub/c.png", "größe.png", "a\u2028b.png")
    text = "a.png\r\n\nsub\n  \ngr*.png\ncamera:1\na\u2028b.png\nmissing.png"
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    monkeypatch.chdir(tmp_path)
    names = ["a.png", "sub/b.png", "sub/c.png", "größe.png", "camera:1", "a\u2028b.png", "missing.png"]
    expected = [Path(name) for name in names]
    assert find_sources([Path("@list.txt")]) == (expected, [])
    assert find_sources([Path("@list.txt"), Path("a.png")]) == (expected, [])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert find_sources([Path("-")]) == (expected, [])


def test_undecodable_names_in_a_list(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xff.png\n")
    (path,) = find_sources([Path(f"@{tmp_path}/list.txt")])[0]
    assert os.fsencode(path) == b"\xff.png"


def test_unusable_lists(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\0\n")
    sources, problems = find_sources([Path(f"@{tmp_path}/{name}") for name in ("none.txt", "empty.txt", "photo.jpg")])
    assert sources == []
    assert problems[0].startswith(f"@{tmp_path}/none.txt: cannot be read (No such file or directory); expected")
    assert problems[1].startswith(f"no image in @{tmp_path}/empty.txt")
    assert problems[2].startswith(f"@{tmp_path}/photo.jpg: is no text; expected a text file of names")
    assert len(problems) == 3


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("file:///a/b%20c.jpg", "/a/b c.jpg"),
        ("file://localhost/a/b.jpg", "/a/b.jpg"),
        ("FILE:///a/b.jpg", "/a/b.jpg"),
        ("a://b.jpg", "a:/b.jpg"),
        ("camera:0", "camera:0"),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="paths have drives")
def test_addresses_of_files(text: str, path: str) -> None:
    assert as_source(text) == Path(path)


def test_other_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert as_source("rtmp://x/y") == Address("rtmp://x/y")
    with pytest.raises(SettingsError, match=r"ftp://x/y.mp4: expected a file, or an address of http, https, rtsp or"):
        as_source("ftp://x/y.mp4")
    with pytest.raises(SettingsError, match=r"file://x/y.mp4: is on x; expected a file of this machine"):
        as_source("file://x/y.mp4")
    monkeypatch.chdir(tmp_path)
    make(tmp_path, "odd:/y.mp4")  # such a folder is possible
    assert as_source("odd://y.mp4") == Path("odd:/y.mp4")


def test_an_unknown_address_in_a_list_skips_one_line(tmp_path: Path) -> None:
    (photo,) = make(tmp_path, "a.jpg")
    (tmp_path / "list").write_text(f"ftp://x/y.mp4\n{photo.as_uri()}\n")
    sources, problems = find_sources([Path(f"@{tmp_path / 'list'}")])
    assert sources == [photo]
    assert len(problems) == 1 and problems[0].startswith("ftp://x/y.mp4: expected a file")


@pytest.mark.parametrize("text", ["http://[x/a.mp4", "file://[x/a.jpg", "file:///a%00b.jpg"])
def test_damaged_addresses(text: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="expected"):
        as_source(text)
    (tmp_path / "list").write_text(f"{text}\na.jpg\n")
    sources, problems = find_sources([Path(f"@{tmp_path / 'list'}")])
    assert (sources, len(problems)) == ([Path("a.jpg")], 1)


def test_a_name_that_is_too_long_is_a_source_like_others() -> None:
    """Reading reports it, so that the other sources are still read."""
    names = [Path(name) for name in ("a" * 300, "a" * 300 + ".mp4", "a" * 300 + "/b.jpg", "c.jpg")]
    assert find_sources(names) == (names, [])
    _, problems = find_sources([Path("a" * 300 + "/*.jpg")])
    assert len(problems) == 1
