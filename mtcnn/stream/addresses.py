"""Addresses of videos on the network: `http(s)://` files and streams, `rtsp://` and the like of cameras."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

__all__ = ["Address"]

_SCHEMES = re.compile(r"(https?|rtsps?|rtmps?)://(?=.)", re.IGNORECASE)
_LIVE = ("rtsp", "rtmp")


@dataclass(frozen=True, slots=True)
class Address:
    """An address, kept as it was written: a Path would lose one of its slashes."""

    url: str

    @staticmethod
    def matches(text: str) -> bool:
        """Whether a text is an address of one of the kinds that are opened."""
        return _SCHEMES.match(text) is not None

    @property
    def live(self) -> bool:
        """Whether it is a camera or a broadcast, which has no end and cannot be read again."""
        return self.url.lower().startswith(_LIVE)

    @property
    def stem(self) -> str:
        """A name for what is written of it: the last part of its path, or its host."""
        parts = urlsplit(self.url)
        return PurePosixPath(parts.path).stem or parts.netloc.rpartition("@")[2].replace(":", "-")

    @property
    def suffix(self) -> str:
        return PurePosixPath(urlsplit(self.url).path).suffix

    @property
    def name(self) -> str:
        return f"{self.stem}{self.suffix}"

    def as_posix(self) -> str:
        return self.url

    def __str__(self) -> str:
        return self.url

    def __fspath__(self) -> str:
        return self.url
