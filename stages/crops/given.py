"""Nets of the cascade that a work folder was given trained: they find the hard examples for those after them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mtcnn.checkpoint import load_weights, packaged_weights, weights_file, weights_path
from mtcnn.errors import MtcnnError, SettingsError
from mtcnn.files.atomic_write import atomic_write

from ..graph.dag import FORMAT, Node, Options
from ..inputs import PACKAGED, content_hash, input_of, keep
from ..recipes import digest

__all__ = ["check_not_given", "given_net", "given_node", "keep_given"]

KIND = "before"  # of the input: before-pnet.safetensors beside PNet's weights


def given_net(work: Path, net: str) -> Path | None:
    """The weights that a net of the cascade was given; None for one that is trained in this folder."""
    return input_of(work, net, KIND)


def check_not_given(work: Path, net: str) -> None:
    """Raise SettingsError for a net that is to be trained where it was given."""
    given = given_net(work, net)
    if given is not None:
        raise SettingsError(f"net is {net}, whose weights were given to {work}; delete {given} to train it there")


def keep_given(work: Path, nets: Sequence[str], folder: Path) -> None:
    """Copy the weights of these nets of a folder of models, or with PACKAGED of those that ship, into a work folder.

    Raises CheckpointError for weights that are missing or do not fit, MtcnnError if the folder has trained others.
    """
    models = packaged_weights() if str(folder) == PACKAGED else folder
    paths = {net: weights_file(models, net) for net in nets}
    for net, path in paths.items():
        load_weights(path, net)  # raises now, not after hours of mining
        own = weights_file(work, net)
        if own.is_file() and content_hash(own) != content_hash(path):
            raise MtcnnError(
                f"`before` is {folder}, but {work} has other weights of {net}; expected a work folder without, or "
                "that folder itself, whose nets then stay as they are"
            )
    for net, path in paths.items():
        keep(path, work, net, KIND)


def given_node(work: Path, net: str, given: Path) -> Node:
    """The node of a net that is not trained, only copied to where its weights belong."""
    parts = {"given": content_hash(given)}
    action = CopyWeights(net, given, digest(FORMAT, parts))
    note = "its weights are given, not trained"
    return Node(net, (), weights_path(work, net), parts, action, note=note, trained=False)


@dataclass(frozen=True, eq=False)
class CopyWeights:
    """Copies the weights of a net. Their copy has the key `key`, and any other file none that is right."""

    net: str
    given: Path
    key: str

    def __call__(self, makes: Path, key: str, options: Options) -> None:
        load_weights(self.given, self.net)  # damaged ones must not replace a good copy
        with atomic_write(makes) as draft:
            shutil.copyfile(self.given, draft)

    def read_key(self, makes: Path) -> str | None:
        if not makes.is_file():
            return None
        return self.key if content_hash(makes) == content_hash(self.given) else "other weights"

    def update(self, makes: Path) -> None:
        """A copy has nothing that its key leaves out."""
