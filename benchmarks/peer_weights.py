"""Weights for the `MTCNN` of a peer's test: those that the environment variable PEER_WEIGHTS lists, if any.

A plugin of pytest as well: importing it is all that it does.
"""

from __future__ import annotations

import os
from typing import Any

import mtcnn.compat
import mtcnn.mtcnn

FILES = [name for name in os.environ.get("PEER_WEIGHTS", "").split(os.pathsep) if name]


class MTCNN(mtcnn.compat.MTCNN):
    """With those files."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **{"weights": FILES, **settings})


if FILES:
    vars(mtcnn.compat)["MTCNN"] = vars(mtcnn.mtcnn)["MTCNN"] = MTCNN
