"""Candidates of a stage: what is left of them after the last step."""

from __future__ import annotations

import numpy as np

from mtcnn.candidates import Candidates, Step


def test_what_is_settled_is_what_the_last_step_leaves() -> None:
    boxes = np.arange(16, dtype=np.float64).reshape(4, 4) + np.array([0, 0, 50, 60])
    points = np.arange(40, dtype=np.float64).reshape(4, 5, 2)
    offsets = np.full((4, 4), 0.5)
    group = np.array([0, 0, 1, 1])
    steps = (Step("threshold", np.array([0, 1, 3]), 4, 0.5), Step("NMS", np.array([3, 1]), 4, 0.4, "boxes", group))
    every = Candidates(boxes, boxes, np.array([1.0, 2.0, 0.0, 3.0]), offsets, steps, lambda index: points[index])
    found, faces = every.settled(), every.faces()
    assert len(found.boxes) == len(found.logits) == 2
    for some in (found.faces(), faces):
        np.testing.assert_array_equal(some.boxes, (boxes + 0.5 * np.tile(boxes[:, 2:] - boxes[:, :2], 2))[[3, 1]])
        np.testing.assert_allclose(some.scores, 1 / (1 + np.exp([-3.0, -2.0])), rtol=1e-6)
        np.testing.assert_array_equal(some.landmarks, points[[3, 1]])
    assert [(step.name, step.left.tolist(), step.count, step.limit) for step in found.steps] == [
        ("threshold", [0, 1], 2, 0.5), ("NMS", [0, 1], 2, 0.4),
    ]  # fmt: skip
    assert found.steps[1].group is None
    np.testing.assert_array_equal(found.landmarks(np.array([1])), points[[1]])
    assert every.steps[0].kept.tolist() == [True, True, False, True]


def test_landmarks_may_be_unknown() -> None:
    step = Step("threshold", np.array([1]), 2)
    found = Candidates(np.zeros((2, 4)), np.zeros((2, 4)), np.zeros(2), None, (step,))
    assert found.faces().landmarks is None and found.settled().landmarks(np.array([0])) is None
    assert (step.limit, step.rivals, step.smaller) == (0.0, None, False)
