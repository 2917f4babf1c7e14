"""Sampling of anchors, compared with slow loops and by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from prepare.labels import IGNORE
from stages.objectives.sampling import SampleSettings, hard_negatives, sample, two_sided
from stages.objectives.targets import FACE, NO_FACE


def slow_hardest(losses: list[float], labels: list[int], kind: int, wanted: int) -> set[int]:
    mine = [i for i, label in enumerate(labels) if label == kind]
    return set(sorted(mine, key=lambda i: -losses[i])[:wanted])  # a stable sort: of equals the earlier


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """losses, with ties, and labels (N, A)."""
    shape = draw(st.integers(1, 3)), draw(st.integers(1, 14))
    count = shape[0] * shape[1]
    losses = draw(st.lists(st.sampled_from([0.0, 0.1, 0.5, 2.0, 9.0]), min_size=count, max_size=count))
    labels = draw(st.lists(st.sampled_from([FACE, NO_FACE, NO_FACE, IGNORE]), min_size=count, max_size=count))
    return torch.tensor(losses).reshape(shape), torch.tensor(labels, dtype=torch.int8).reshape(shape)


@given(batches(), st.sampled_from([0.0, 1.0, 3.0, 7.0]), st.integers(0, 3))
def test_hard_negatives_equal_the_loop(batch: tuple[Tensor, Tensor], ratio: float, least: int) -> None:
    losses, labels = batch
    taken = hard_negatives(losses, labels, ratio, least)
    for row, each, kinds in zip(taken, losses.tolist(), labels.tolist(), strict=True):
        faces = kinds.count(FACE)
        wanted = int(faces * ratio) if faces else least
        assert set(row.nonzero().flatten().tolist()) == slow_hardest(each, kinds, NO_FACE, wanted)


@given(batches(), st.integers(1, 9), st.sampled_from([0.25, 0.5, 1.0]))
def test_two_sided_equals_the_loop(batch: tuple[Tensor, Tensor], anchors: int, share: float) -> None:
    losses, labels = batch
    taken = two_sided(losses, labels, anchors, share)
    for row, each, kinds in zip(taken, losses.tolist(), labels.tolist(), strict=True):
        faces = slow_hardest(each, kinds, FACE, int(anchors * share))
        background = slow_hardest(each, kinds, NO_FACE, anchors - len(faces))
        assert set(row.nonzero().flatten().tolist()) == faces | background


def test_weights_by_ratio() -> None:
    """Two faces in the batch: each of their anchors, and each hard negative, counts a half."""
    labels = torch.tensor([[FACE, NO_FACE, NO_FACE, NO_FACE, FACE], [IGNORE, NO_FACE, NO_FACE, NO_FACE, NO_FACE]])
    losses = torch.tensor([[1.0, 3.0, 2.0, 5.0, 1.0], [9.0, 1.0, 4.0, 1.0, 1.0]])
    face, box = sample(losses, labels, [5], SampleSettings(negatives=1, min_negatives=1))
    assert face.tolist() == [[0.5, 0.5, 0, 0.5, 0.5], [0, 0, 0.5, 0, 0]]
    assert box.tolist() == [[0.5, 0, 0, 0, 0.5], [0, 0, 0, 0, 0]]


def test_weights_by_level() -> None:
    """Each level gives its own hardest, and its weights add up to 1, however many it gives."""
    labels = torch.tensor([[FACE, FACE, NO_FACE, NO_FACE, NO_FACE, FACE, NO_FACE]])
    losses = torch.tensor([[1.0, 2.0, 5.0, 4.0, 1.0, 1.0, 1.0]])
    face, box = sample(losses, labels, [5, 2], SampleSettings(anchors=4, faces=0.25))
    assert face.tolist() == [[0, 0.25, 0.25, 0.25, 0.25, 0.5, 0.5]]
    assert box.tolist() == [[0, 0.25, 0, 0, 0, 0.5, 0]]


def test_no_face_in_a_batch() -> None:
    labels, losses = torch.full((2, 6), NO_FACE), torch.rand(2, 6)
    face, box = sample(losses, labels, [6], SampleSettings(negatives=3, min_negatives=2))
    assert int(face.sum()) == 4
    assert not box.any()


@pytest.mark.parametrize("wrong", [{"negatives": -1.0}, {"min_negatives": -1}, {"anchors": -5}, {"faces": 0.0}])
def test_invalid_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is {next(iter(wrong.values()))}; expected"):
        SampleSettings(**wrong)  # type: ignore[arg-type]


def test_settings_at_the_ends_of_their_range() -> None:
    assert SampleSettings(negatives=0.0, min_negatives=0, anchors=0, faces=1.0).negatives == 0
    assert SampleSettings(negatives=0.5).negatives == 0.5
