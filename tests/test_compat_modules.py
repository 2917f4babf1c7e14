"""`MTCNN` as an nn.Module: changes to it or to its nets take effect."""

from __future__ import annotations

import copy
import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import published_weights as foreign
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from test_second_pass import models_with_own
from torch import Tensor, nn

from mtcnn import MTCNN
from mtcnn.compat import ONet, PNet, RNet
from mtcnn.compat.modules import CascadeNet
from mtcnn.compat.watch import CalledNet, is_plain
from mtcnn.errors import CheckpointError, MtcnnError
from mtcnn.importers.layers import to_state
from mtcnn.importers.matlab_arithmetic import WholePixelProposer
from mtcnn.importers.state_dict import _layers_of_nets
from mtcnn.nets import module_of, to_input
from mtcnn.scoring import Scoring
from mtcnn.weights import SIZES, Weights

Array = NDArray[Any]

ALL: dict[str, Any] = {"min_face_size": 30, "factor": 0.5, "thresholds": [0.0, 0.0, 0.0]}
KINDS: dict[str, type[CascadeNet]] = {"pnet": PNet, "rnet": RNet, "onet": ONet}


def facenet_state(net: str) -> dict[str, Tensor]:
    """A plain dict as facenet-pytorch names it. Heads are small, so that scores differ and boxes stay in the image."""
    state = foreign.facenet_state(net)
    return {name: values * 0.005 if "_" in name else values for name, values in state.items()}


def image(seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (50, 70, 3), np.uint8)


def same(one: MTCNN, other: MTCNN) -> bool:
    """Whether both find the same, to the last bit."""
    found = one.detect(image(), landmarks=True)
    assert found[0] is not None
    pairs = zip(found, other.detect(image(), landmarks=True), strict=True)
    return all(np.array_equal(first, second) for first, second in pairs)


def near(one: MTCNN, other: MTCNN) -> bool:
    """Whether both find the same within the rounding of float32."""
    pairs = zip(one.detect(image(), landmarks=True), other.detect(image(), landmarks=True), strict=True)
    return all(np.shape(first) == np.shape(second) and np.allclose(first, second, atol=1e-3) for first, second in pairs)


@pytest.fixture
def mtcnn(random_models: Path) -> MTCNN:
    return MTCNN(models=random_models, **ALL)


@pytest.fixture
def original(random_models: Path) -> MTCNN:
    """The same, never touched."""
    return MTCNN(models=random_models, **ALL)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> MTCNN:
    """With weights in facenet-pytorch's format, and its arithmetic."""
    folder = tmp_path_factory.mktemp("facenet")
    for net in SIZES:
        torch.save(facenet_state(net), folder / f"{net}.pt")
    return MTCNN(weights=[folder / f"{net}.pt" for net in SIZES], **ALL)


# ---- a module


def test_it_is_a_module(mtcnn: MTCNN) -> None:
    assert isinstance(mtcnn, nn.Module)
    assert torch.equal(nn.Sequential(mtcnn, nn.Flatten(0))(image()), mtcnn(image()).flatten())
    assert mtcnn.train() is mtcnn and mtcnn.training and mtcnn.eval() is mtcnn and not mtcnn.training
    assert sum(values.numel() for values in mtcnn.parameters()) == 6_632 + 100_178 + 389_040
    assert [name for name, _ in mtcnn.named_children()] == ["pnet", "rnet", "onet"]
    assert not any(values.requires_grad for values in mtcnn.requires_grad_(False).parameters())


def test_an_overridden_forward_takes_effect(random_models: Path) -> None:
    class Own(MTCNN):
        def forward(self, img: Any, save_path: Any = None, return_prob: bool = False) -> Any:
            return "own", super().forward(img, save_path, return_prob)

    word, face = Own(models=random_models, **ALL)(image())
    assert word == "own" and face.shape == (3, 160, 160)


def test_hooks_of_mtcnn_run(mtcnn: MTCNN) -> None:
    seen: list[Any] = []
    mtcnn.register_forward_hook(lambda module, given, found: seen.append(found.shape))
    mtcnn(image())
    assert seen == [(3, 160, 160)]


@pytest.mark.parametrize("place", ["to", "cpu", "double", "float", "to both"])
def test_moving_and_casting_keep_the_result(mtcnn: MTCNN, original: MTCNN, place: str) -> None:
    moves: dict[str, Any] = {
        "to": lambda: mtcnn.to("CPU:0"),
        "cpu": mtcnn.cpu,
        "double": mtcnn.double,
        "float": mtcnn.float,
        "to both": lambda: mtcnn.to(torch.device("cpu"), torch.float64),
    }
    assert moves[place]() is mtcnn
    assert mtcnn.device == torch.device("cpu") and same(mtcnn, original)
    wanted = torch.float64 if place in ("double", "to both") else torch.float32
    assert {values.dtype for values in mtcnn.parameters()} == {wanted}


def test_a_net_of_the_second_pass_stays_behind_the_same_onet(random_models: Path, tmp_path: Path) -> None:
    models = models_with_own(random_models, tmp_path / "models")
    first = MTCNN(models=models, **ALL)
    others: list[Any] = [copy.deepcopy(first), pickle.loads(pickle.dumps(first)), MTCNN(models=models, **ALL).double()]
    assert not same(first, MTCNN(models=random_models, **ALL)) and all(same(each, first) for each in others)
    others[0].onet = nn.Sequential(others[0].onet)
    assert others[0]._current().refiners[-1].second is not None
    others[1].onet.load_state_dict(facenet_state("onet"))
    assert others[1]._current().refiners[-1].second is None
    others[1].onet.load_state_dict(first.onet.state_dict())
    assert same(others[1], first)


def test_half_rounds_the_weights(mtcnn: MTCNN, original: MTCNN) -> None:
    rounded = {name: values.half().float() for name, values in original.state_dict().items()}
    original.load_state_dict(rounded)
    assert same(mtcnn.half(), original)
    assert same(mtcnn.to(torch.bfloat16), original) is False  # 8 bits are fewer


def test_missing_device_is_one_line(mtcnn: MTCNN) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    moves: list[Any] = [lambda: mtcnn.to("GPU:0"), lambda: mtcnn.to(device="cuda"), lambda: MTCNN(device="cuda:0")]
    for move in moves:
        with pytest.raises(MtcnnError, match="expected one of those here: cpu"):
            move()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu(mtcnn: MTCNN, original: MTCNN) -> None:
    cuda: Any = mtcnn.cuda
    assert near(cuda(), original) and mtcnn.device.type == "cuda"
    mtcnn.onet.load_state_dict(facenet_state("onet"))
    assert not near(mtcnn, original)
    original.onet.load_state_dict(facenet_state("onet"))
    assert near(mtcnn, original) and same(mtcnn.cpu(), original)


def test_construction_leaves_the_random_state_alone(random_models: Path) -> None:
    before = torch.get_rng_state()
    MTCNN(models=random_models)
    PNet()
    assert torch.equal(torch.get_rng_state(), before)


# ---- the layout


@pytest.mark.parametrize("net", SIZES)
def test_layout_matches_the_importer(net: str) -> None:
    """Round trips are exact, and agree with the importer, which was written independently."""
    weights = Weights(net, {name: value.numpy() for name, value in foreign.random_state(net).items()})
    module = KINDS[net].of(weights)
    assert all(np.array_equal(value, weights.state[name]) for name, value in module.weights().state.items())
    assert list(module.state_dict()) == list(facenet_state(net))
    for name, values in foreign.facenet_state(net).items():
        assert torch.equal(module.state_dict()[name], values)
    (found,) = _layers_of_nets(module.state_dict())
    name, state = to_state(found)
    assert name == net and all(np.array_equal(state[name].numpy(), weights.state[name]) for name in state)


@pytest.mark.parametrize("net", SIZES)
def test_nets_compute_as_in_facenet_pytorch(net: str) -> None:
    weights = Weights(net, {name: value.numpy() for name, value in foreign.random_state(net).items()})
    ours, theirs = module_of(weights), KINDS[net].of(weights).eval()
    pixels = np.random.default_rng(1).integers(0, 256, (3, SIZES[net], SIZES[net], 3), np.uint8)
    with torch.no_grad():
        x = to_input(pixels)
        wanted, (offsets, *points, pair) = ours(x), theirs(x)
    assert torch.allclose(offsets, wanted.offsets, rtol=1e-4, atol=1e-4)
    assert torch.allclose(pair[:, 1], wanted.face_logits.sigmoid(), atol=1e-4)
    assert torch.allclose(pair.sum(1), torch.ones_like(pair[:, 0]))
    assert len(points) == (net == "onet")
    for five in points:  # five x, then five y
        assert torch.allclose(five[:, :5], wanted.landmarks[:, :, 0], rtol=1e-4, atol=1e-4)
        assert torch.allclose(five[:, 5:], wanted.landmarks[:, :, 1], rtol=1e-4, atol=1e-4)


def test_nets_by_themselves() -> None:
    """PNet(), as from facenet_pytorch: with weights, or without."""
    assert torch.equal(PNet().conv1.weight, MTCNN().pnet.conv1.weight)
    assert not torch.equal(PNet().conv1.weight, PNet(pretrained=False).conv1.weight)
    assert ONet().scoring == Scoring(
        0.4, 3.0, 2.0, detector_temperature=4.0, detector_offsets=0.4, context=1.3, second=0.5
    )


# ---- weights


def test_load_state_dict_takes_effect(mtcnn: MTCNN, imported: MTCNN) -> None:
    assert not same(mtcnn, imported)
    for net in SIZES:
        getattr(mtcnn, net).load_state_dict(facenet_state(net))
    assert same(mtcnn, imported)
    assert isinstance(mtcnn._detector.proposer, WholePixelProposer)


@pytest.mark.parametrize("net", SIZES)
def test_changes_to_each_net_take_effect(mtcnn: MTCNN, original: MTCNN, net: str) -> None:
    getattr(mtcnn, net).load_state_dict(facenet_state(net))
    assert not same(mtcnn, original)


def saved(state: Any) -> Any:
    stream = io.BytesIO()
    torch.save(state, stream)
    return torch.load(io.BytesIO(stream.getvalue()), weights_only=True)


@pytest.mark.parametrize(
    "through", [lambda state: state, saved, lambda state: {k: v.clone() for k, v in state.items()}]
)
def test_state_dict_round_trip(mtcnn: MTCNN, imported: MTCNN, through: Any, random_models: Path) -> None:
    """With arithmetic and scoring, even if only a plain dict of the tensors is loaded back into the same nets."""
    for source in (imported, mtcnn, MTCNN(**ALL)):
        again = copy.deepcopy(source)
        again.load_state_dict(through(source.state_dict()))
        assert same(again, source)
    if through is not saved:
        return
    other = MTCNN(models=random_models, **ALL)
    other.load_state_dict(saved(imported.state_dict()))
    assert same(other, imported)
    other.load_state_dict(saved(MTCNN().state_dict()))
    expected = MTCNN(**ALL)
    expected._detector.refiners[-1].second = None  # type: ignore[attr-defined]  # a state has three nets, not that of the second pass
    assert same(other, expected) and other.onet.scoring == ONet().scoring


def test_an_unknown_state_without_metadata_is_facenet_pytorchs(mtcnn: MTCNN) -> None:
    assert mtcnn.pnet.arithmetic == ""
    mtcnn.pnet.load_state_dict(OrderedDict(facenet_state("pnet")))
    assert mtcnn.pnet.arithmetic == "facenet-pytorch" and mtcnn.rnet.arithmetic == ""


def test_a_trained_state_keeps_its_arithmetic() -> None:
    fresh = MTCNN()
    fresh.load_state_dict({name: values * 1.1 + 0.001 for name, values in fresh.state_dict().items()})
    assert fresh.pnet.arithmetic == "" and fresh.onet.scoring == ONet().scoring


def test_a_partial_state_leaves_the_rest(mtcnn: MTCNN) -> None:
    part = {name: values for name, values in facenet_state("pnet").items() if name.startswith("conv1")}
    mtcnn.load_state_dict({f"pnet.{name}": values for name, values in part.items()}, strict=False)
    assert mtcnn.pnet.arithmetic == "facenet-pytorch"
    assert mtcnn.rnet.arithmetic == "" and mtcnn.onet.arithmetic == ""


def test_a_state_of_another_shape_is_rejected(mtcnn: MTCNN) -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        mtcnn.pnet.load_state_dict({**facenet_state("pnet"), "conv1.weight": torch.zeros(2, 3, 3, 3)})


def new_data(net: nn.Module) -> None:
    for values in net.parameters():
        values.data = values.data * 0.5


def new_parameters(net: nn.Module) -> None:
    for layer in net.children():
        for name, values in list(layer.named_parameters()):
            setattr(layer, name, nn.Parameter(values * 0.5))


WRITES: dict[str, Any] = {
    "under no_grad": lambda net: [values.mul_(0.5) for values in net.parameters()],
    "through .data": lambda net: [values.data.mul_(0.5) for values in net.parameters()],
    "a new .data": new_data,
    "a new parameter": new_parameters,
    "assign": lambda net: net.load_state_dict({k: v * 0.5 for k, v in net.state_dict().items()}, assign=True),
    "NumPy": lambda net: [np.multiply(v.detach().numpy(), 0.5, out=v.detach().numpy()) for v in net.parameters()],
    "another net": lambda net: None,
}


@pytest.mark.parametrize("how", WRITES)
@pytest.mark.parametrize("net", SIZES)
def test_all_ways_to_change_a_net_take_effect(mtcnn: MTCNN, original: MTCNN, net: str, how: str) -> None:
    halved = {name: values * 0.5 for name, values in getattr(original, net).state_dict().items()}
    getattr(original, net).load_state_dict(halved)
    assert not same(mtcnn, original)  # and mtcnn has now looked
    with torch.no_grad():
        if how == "another net":
            setattr(mtcnn, net, copy.deepcopy(getattr(original, net)))
        WRITES[how](getattr(mtcnn, net))
    assert same(mtcnn, original)


def test_a_training_step_takes_effect(mtcnn: MTCNN, original: MTCNN) -> None:
    optimiser = torch.optim.SGD(mtcnn.pnet.parameters(), lr=0.1)
    offsets, pair = mtcnn.pnet(torch.ones(1, 3, 12, 12))
    (offsets.sum() + pair[:, 1].sum()).backward()
    optimiser.step()
    assert not same(mtcnn, original)


def test_under_inference_mode(random_models: Path, original: MTCNN) -> None:
    """Its tensors do not count writes."""
    with torch.inference_mode():
        mtcnn = MTCNN(models=random_models, **ALL)
        assert same(mtcnn, original)
        mtcnn.onet.dense6_1.bias.data.add_(torch.tensor([0.0, 1.0]))
        assert not same(mtcnn, original)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_with_nan_are_rejected(mtcnn: MTCNN, value: float) -> None:
    with torch.no_grad():
        mtcnn.rnet.conv1.bias[0] = value
    with pytest.raises(CheckpointError, match="rnet holds NaN or infinity"):
        mtcnn.detect(image())


def test_an_unknown_arithmetic_is_one_line(mtcnn: MTCNN) -> None:
    mtcnn.pnet.arithmetic = "roman"
    with pytest.raises(CheckpointError, match="pnet needs the arithmetic of roman; expected facenet-pytorch, matlab"):
        mtcnn.detect(image())


def test_importing_a_state_knows_its_arithmetic(mtcnn: MTCNN, imported: MTCNN, tmp_path: Path) -> None:
    """Treated as facenet-pytorch's, our own weights would silently give other boxes."""
    torch.save(imported.state_dict(), tmp_path / "theirs.pt")
    assert same(MTCNN(weights=tmp_path / "theirs.pt", **ALL), imported)
    torch.save(mtcnn.state_dict(), tmp_path / "ours.pt")
    torch.save({"state_dict": mtcnn.onet.state_dict()}, tmp_path / "onet.pt")
    for file in ("ours.pt", "onet.pt"):
        with pytest.raises(CheckpointError, match=r"load it by MTCNN\(\)\.load_state_dict"):
            MTCNN(weights=tmp_path / file)


# ---- copies


@pytest.mark.parametrize("through", [copy.deepcopy, lambda mtcnn: pickle.loads(pickle.dumps(mtcnn))])
def test_copies_are_independent(mtcnn: MTCNN, imported: MTCNN, through: Any) -> None:
    other = through(mtcnn)
    assert same(other, mtcnn) and same(through(imported), imported)
    with torch.no_grad():
        other.onet.dense6_1.bias[1] += 1
    assert not same(other, mtcnn)


# ---- nets that are not ours


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("net", SIZES)
@pytest.mark.parametrize("weights", ["ours", "facenet-pytorch's"])
@pytest.mark.parametrize("wrap", ["hook", "subclass", "DataParallel", "trace", "script"])
def test_a_modified_net_is_called(random_models: Path, imported: MTCNN, net: str, weights: str, wrap: str) -> None:
    """It uses the arithmetic of the module that it replaces."""
    source = imported if weights != "ours" else MTCNN(models=random_models, **ALL)
    mtcnn = copy.deepcopy(source)
    mtcnn.detect(image())
    module: Any = getattr(mtcnn, net)
    calls: list[Any] = []
    if wrap == "hook":
        module.register_forward_hook(lambda *given: calls.append(1))
    elif wrap == "subclass":
        module.__class__ = type("Own", (KINDS[net],), {})
    elif wrap == "DataParallel":
        setattr(mtcnn, net, nn.DataParallel(module))
    elif wrap == "trace":
        trace: Any = torch.jit.trace
        setattr(mtcnn, net, trace(module, torch.zeros(1, 3, SIZES[net], SIZES[net])))
    else:
        setattr(mtcnn, net, torch.jit.script(module))
    assert not is_plain(getattr(mtcnn, net))
    assert near(mtcnn, source)
    stages: list[Any] = [mtcnn._detector.proposer, *mtcnn._detector.refiners]
    assert isinstance(stages[list(SIZES).index(net)].net, CalledNet)
    assert wrap != "hook" or calls


def test_a_net_of_another_kind(mtcnn: MTCNN) -> None:
    class Blind(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return torch.zeros(len(x), 4), torch.tensor([[1.0, 0.0]]).expand(len(x), 2)

    mtcnn.thresholds = [0, 0.5, 0]
    assert mtcnn.detect(image())[0] is not None
    mtcnn.rnet = Blind()
    assert mtcnn.detect(image())[0] is None


def test_a_layer_of_another_shape_is_one_line(mtcnn: MTCNN) -> None:
    mtcnn.pnet.conv3 = nn.Conv2d(16, 30, 3)
    with pytest.raises(CheckpointError, match="pnet does not fit: size mismatch: trunk"):
        mtcnn.detect(image())


@pytest.mark.parametrize("image_of", [lambda: image(), lambda: Image.fromarray(image())])
def test_gradients_stay_off(mtcnn: MTCNN, image_of: Any) -> None:
    assert not mtcnn(image_of()).requires_grad
