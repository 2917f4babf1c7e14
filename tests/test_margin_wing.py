"""The margin and the wing loss of the multibox objective: equal to slow loops; nothing changes where they are off."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mtcnn.detectors.anchors import RETINAFACE
from mtcnn.detectors.decoders import SsdCodes
from prepare.labels import IGNORE
from stages.objectives.multibox import MultiBox, MultiBoxSettings, wing
from stages.objectives.sampling import SampleSettings, sample
from stages.objectives.targets import FACE, NO_FACE, AnchorTargets
from stages.photos.recipe import DetectorRecipe
from stages.recipes import digest

ANCHORS = 7
DECODER = SsdCodes(RETINAFACE)


def batch(seed: int, images: int) -> tuple[dict[str, torch.Tensor], AnchorTargets]:
    """Outputs and targets of small images; some have no faces, some faces no points or only some of them."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([FACE, NO_FACE, NO_FACE, IGNORE], (images, ANCHORS))
    labels[rng.random(images) < 0.3] = NO_FACE
    boxes, points = rng.normal(0, 2, (images, ANCHORS, 4)), rng.normal(0, 4, (images, ANCHORS, 10))
    boxes[labels != FACE] = np.nan
    points[labels != FACE] = np.nan
    points[rng.random((images, ANCHORS)) < 0.3] = np.nan
    points[rng.random((images, ANCHORS)) < 0.3, 4:] = np.nan  # eyes alone, as of faces with a mask
    codes = [torch.from_numpy(values.astype(np.float32)) for values in (boxes, points)]
    levels = torch.tensor([[ANCHORS]] * images)
    scores = torch.from_numpy((labels == FACE).astype(np.float32))
    targets = AnchorTargets(torch.from_numpy(labels.astype(np.int8)), codes[0], codes[1], levels, scores)
    shapes = {"logits": (images, ANCHORS), "boxes": (images, ANCHORS, 4), "landmarks": (images, ANCHORS, 10)}
    # Quarters, so that negatives are equally hard now and then.
    outputs = {name: torch.from_numpy(np.round(rng.normal(0, 8, shape)) / 4).float() for name, shape in shapes.items()}
    return outputs, targets


def slow_wing(x: float, width: float, curvature: float) -> float:
    if abs(x) < width:
        return width * math.log(1 + abs(x) / curvature)
    return abs(x) - width + width * math.log(1 + width / curvature)


def slow_losses(outputs: Any, targets: AnchorTargets, settings: MultiBoxSettings) -> dict[str, float]:
    """Image by image, anchor by anchor. The hardest background is found without the margin."""
    face = box = landmark = 0.0
    faces = pointed = 0
    for n, labels in enumerate(targets.labels.tolist()):
        logits = outputs["logits"][n].tolist()
        mine = [a for a in range(ANCHORS) if labels[a] == FACE]
        others = sorted((a for a in range(ANCHORS) if labels[a] == NO_FACE), key=lambda a: (-logits[a], a))
        wanted = int(len(mine) * settings.sample.negatives) if mine else settings.sample.min_negatives
        faces += len(mine)
        for a in mine:
            face += math.log1p(math.exp(-(logits[a] - settings.margin)))
            for found, code in zip(outputs["boxes"][n, a].tolist(), targets.box_codes[n, a].tolist(), strict=True):
                x = abs(found - code)
                box += x**2 / 2 if x < 1 else x - 0.5
        for a in others[:wanted]:
            face += math.log1p(math.exp(logits[a]))
        for a in range(ANCHORS):
            codes = targets.landmark_codes[n, a].tolist()
            pointed += any(math.isfinite(code) for code in codes)
            for found, code in zip(outputs["landmarks"][n, a].tolist(), codes, strict=True):
                if math.isfinite(code):
                    x = abs(found - code)
                    usual = x**2 / 2 if x < 1 else x - 0.5
                    landmark += slow_wing(x, settings.wing, settings.curvature) if settings.wing else usual
    face, box, landmark = face / max(faces, 1), box / max(faces, 1), landmark / max(pointed, 1)
    return {"total": face + 2 * box + landmark, "face": face, "box": box, "landmark": landmark}


@given(seed=st.integers(0, 10_000), images=st.integers(1, 4), margin=st.sampled_from([0.0, 0.1, 0.5]),
       width=st.sampled_from([0.0, 0.5, 3.0]), curvature=st.sampled_from([0.25, 2.0]))  # fmt: skip
def test_losses_equal_a_slow_loop(seed: int, images: int, margin: float, width: float, curvature: float) -> None:
    settings = MultiBoxSettings(sample=SampleSettings(negatives=2, min_negatives=3), margin=margin, wing=width,
                                curvature=curvature)  # fmt: skip
    outputs, targets = batch(seed, images)
    found = MultiBox(settings, DECODER).loss(outputs, targets)
    assert {name: float(loss) for name, loss in found.items()} == pytest.approx(
        slow_losses(outputs, targets, settings), rel=1e-4, abs=1e-5
    )


def before(outputs: Any, targets: AnchorTargets, settings: MultiBoxSettings) -> dict[str, torch.Tensor]:
    """The losses as they were computed before there were a margin and a wing loss, in the same operations."""
    truth = (targets.labels == FACE).to(outputs["logits"].dtype)
    each = F.binary_cross_entropy_with_logits(outputs["logits"], truth, reduction="none")
    weights = sample(each, targets.labels, [ANCHORS], settings.sample)
    parts = []
    for name, codes in (("boxes", targets.box_codes), ("landmarks", targets.landmark_codes)):
        known = codes.isfinite()
        loss = F.smooth_l1_loss(outputs[name], codes.nan_to_num(0.0), reduction="none") * known
        parts.append((loss.sum(dim=-1), known.any(dim=-1)))
    (boxes, _), (points, known) = parts
    count = known.sum().float()
    face, box = (each * weights.face).sum(), (boxes * weights.box).sum()
    landmark = points.sum() / torch.where(count > 0, count, torch.ones_like(count))
    total = settings.face * face + settings.box * box + settings.landmark * landmark
    return {"total": total, "face": face, "box": box, "landmark": landmark}


@pytest.mark.parametrize("anchors", [0, 4])
@pytest.mark.parametrize("seed", range(8))
def test_off_by_default_to_the_last_bit(seed: int, anchors: int) -> None:
    settings = MultiBoxSettings(sample=SampleSettings(negatives=2, min_negatives=3, anchors=anchors))
    outputs, targets = batch(seed, 3)
    gradients = []
    for compute in (MultiBox(settings, DECODER).loss, lambda out, wanted: before(out, wanted, settings)):
        given = {name: value.clone().requires_grad_() for name, value in outputs.items()}
        losses = compute(given, targets)
        losses["total"].backward()  # type: ignore[no-untyped-call]
        gradients.append([*(loss.detach() for loss in losses.values()), *(value.grad for value in given.values())])
    assert all(torch.equal(one, two) for one, two in zip(*gradients, strict=True))


def test_keys_of_weights_trained_before() -> None:
    """The digest of a recipe without the settings, as it was computed before they existed."""
    recipe = DetectorRecipe("ssh")
    assert digest(recipe) == "6484dd771280159f"
    for change in ({"margin": 0.1}, {"wing": 3.0}, {"curvature": 1.0}):
        other = replace(recipe, objective=replace(recipe.objective, **change))
        assert digest(other) != digest(recipe)


def test_the_margin_does_not_change_which_anchors_are_sampled() -> None:
    """SSH's sampling takes the hardest faces too: with a margin far above all logits the same ones."""
    outputs, targets = batch(3, 2)
    used = []
    for margin in (0.0, 50.0):
        settings = MultiBoxSettings(sample=SampleSettings(anchors=4), margin=margin)
        logits = outputs["logits"].clone().requires_grad_()
        MultiBox(settings, DECODER).loss({**outputs, "logits": logits}, targets)["face"].backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        used.append(logits.grad != 0)
    assert torch.equal(*used)


def test_the_margin_pushes_faces_up() -> None:
    """A face is as expensive as one whose logit is lower by the margin; background costs what it did."""
    outputs, targets = batch(5, 2)
    plain, other = (MultiBox(MultiBoxSettings(margin=m), DECODER) for m in (0.0, 0.3))
    lower = outputs["logits"] - 0.3 * (targets.labels == FACE)
    wanted = plain.loss({**outputs, "logits": lower}, targets)["face"]
    torch.testing.assert_close(other.loss(outputs, targets)["face"], wanted)


@pytest.mark.parametrize(("width", "curvature"), [(3.0, 2.0), (10.0, 2.0), (1.0, 0.1)])
def test_wing_is_continuous_and_steep_near_zero(width: float, curvature: float) -> None:
    x = torch.tensor([width - 1e-4, width, width + 1e-4, 0.0, -width / 2], dtype=torch.float64, requires_grad=True)
    found = wing(x, width, curvature)
    assert float((found[2] - found[0]).detach()) == pytest.approx(0, abs=5e-4 / curvature * width)
    assert found.tolist() == pytest.approx([slow_wing(v, width, curvature) for v in x.tolist()])
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    slopes = x.grad.tolist()
    assert slopes[0] == pytest.approx(width / (curvature + width), rel=1e-3) and slopes[2] == 1
    assert slopes[3] == 0 and slopes[4] == pytest.approx(-width / (curvature + width / 2))
