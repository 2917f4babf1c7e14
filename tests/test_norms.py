"""Batch norms that keep their statistics while the net is trained."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from mtcnn.checkpoint import Checkpoint, write
from mtcnn.detectors import DETECTORS
from mtcnn.detectors.load import build, model_of
from mtcnn.errors import RecipeError
from stages.photos.norms import FixedNorm, FoldedLayers, fix_norms
from stages.photos.recipe import DetectorRecipe, PhotoSchedule
from stages.photos.task import new_net

X = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def random_net(name: str = "retinaface") -> torch.nn.Module:
    """A net whose norms have statistics, scales and shifts of all kinds."""
    torch.manual_seed(4)
    net = build(name)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, -1, 1)
            torch.nn.init.normal_(module.bias)
    return net


@pytest.mark.parametrize("name", ["retinaface", "yunet-n", "slim", "scrfd-0.5g"])
def test_a_net_in_training_computes_what_it_computes_in_evaluation(name: str) -> None:
    net = random_net(name)
    fixed = copy.deepcopy(net)
    fix_norms(fixed)
    wanted, found = net.eval()(X), fixed.train()(X)
    for key, values in wanted.items():
        torch.testing.assert_close(found[key], values, rtol=1e-4, atol=1e-4)


def test_gradients_are_those_of_a_norm_in_evaluation() -> None:
    net = random_net().double()
    fixed = copy.deepcopy(net)
    fix_norms(fixed)
    for module in (net.eval(), fixed.train()):
        sum(values.square().mean() for values in module(X.double()).values()).backward()
    wanted = dict(net.named_parameters())
    for key, parameter in fixed.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[key].grad, rtol=1e-6, atol=1e-9)


def test_statistics_stay_names_too_and_copies_follow_their_own_weights() -> None:
    net = random_net()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    fix_norms(net)
    assert any(isinstance(module, FixedNorm) for module in net.modules())
    assert any(isinstance(module, FoldedLayers) for module in net.modules())
    other = copy.deepcopy(net.train())
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
    assert not torch.allclose(other(X)["boxes"], net(X)["boxes"])
    assert before.keys() == net.state_dict().keys()
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_a_recipe_asks_for_it_and_needs_initial_weights(tmp_path: Path) -> None:
    recipe = DetectorRecipe("ssh", {"width": 0.0625}, train=PhotoSchedule(fixed_norms=True))
    with pytest.raises(
        RecipeError, match=r"train\.fixed_norms is true without initial weights; name some as its start"
    ):
        new_net(recipe)
    recipe = DetectorRecipe("retinaface", train=PhotoSchedule(fixed_norms=True))
    start = tmp_path / "start.safetensors"
    write(start, Checkpoint("retinaface", random_net().state_dict(), scaling=DETECTORS["retinaface"].scaling,
                            model=model_of("retinaface")))  # fmt: skip
    assert sum(isinstance(module, FixedNorm) for module in new_net(recipe, start).modules()) == 47
