"""The nets as published: sizes, parameter counts and layouts, and two optimisations that must not change values."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mtcnn import boxes as box
from mtcnn.nets import CLASSES, NETS, CNet, ONet, PNet, PooledPReLU, parameter_count, to_input
from mtcnn.prelu import PReLU
from mtcnn.weights import SIZES
from stages.crops.start import cnet_of_onet


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        yield


def one_net(name: str) -> nn.Module:
    """With random biases and slopes, some negative, so that a mistake in any of them is noticed."""
    net = NETS[name]().eval()
    for weight in net.parameters():
        if weight.dim() == 1:
            weight.uniform_(-0.5, 0.5)
    return net


def pixels(*shape: int) -> Tensor:
    return torch.rand(shape) * 2 - 1


@pytest.mark.parametrize(("name", "count"), [("pnet", 6_632), ("rnet", 100_178), ("onet", 389_040), ("cnet", 913_328)])
def test_parameter_counts(name: str, count: int) -> None:
    assert parameter_count(CLASSES[name]()) == count


# Zhang et al. 2016, figure 2. Every convolution and the first fully connected layer end in a PReLU.
LAYERS = {
    "pnet": "conv pool2 conv conv",
    "rnet": "conv pool3 conv pool3 conv full",
    "onet": "conv pool3 conv pool3 conv pool2 conv full",
}


@pytest.mark.parametrize("name", list(NETS))
def test_layers_as_published(name: str) -> None:
    net, x = one_net(name), pixels(2, 3, SIZES[name], SIZES[name])
    output = net(x)
    values = iter([value for key, value in net.state_dict().items() if key.startswith("trunk.")])
    for layer in LAYERS[name].split():
        if layer.startswith("pool"):
            x = nn.functional.max_pool2d(x, int(layer[-1]), stride=2, ceil_mode=True)
            continue
        apply = nn.functional.conv2d if layer == "conv" else nn.functional.linear
        x = apply(x if layer == "conv" else x.flatten(1), next(values), next(values))
        x = nn.functional.prelu(x, next(values))
    assert next(values, None) is None
    assert x.shape[1:].numel() == {"pnet": 32, "rnet": 128, "onet": 256}[name]
    pair = net.face(x)  # type: ignore[operator]
    torch.testing.assert_close(output.face_logits, pair[:, 1] - pair[:, 0])
    torch.testing.assert_close(output.offsets, net.offsets(x))  # type: ignore[operator]


def test_one_list_of_nets() -> None:
    assert list(NETS) == list(SIZES) == ["pnet", "rnet", "onet"]
    assert list(SIZES.values()) == [12, 24, 48]


@pytest.mark.parametrize("name", ["rnet", "onet"])
def test_outputs_of_crops(name: str) -> None:
    output = one_net(name)(pixels(3, 3, SIZES[name], SIZES[name]))
    assert output.face_logits.shape == (3,)
    assert output.offsets.shape == (3, 4)
    assert (None if output.landmarks is None else output.landmarks.shape) == ((3, 5, 2) if name == "onet" else None)


@pytest.mark.parametrize("height", [*range(12, 26), 97, 98])
def test_map_size(height: int) -> None:
    """ceil((H - 2) / 2) - 4 for odd and even H: pooling rounds up."""
    net, width = PNet(), 80 - height // 2
    output = net(pixels(2, 3, height, width))
    h, w = math.ceil((height - 2) / 2) - 4, math.ceil((width - 2) / 2) - 4
    assert output.face_logits.shape == (2, h, w)
    assert output.offsets.shape == (2, 4, h, w)
    assert output.landmarks is None


@pytest.mark.parametrize("shape", [(12, 12), (30, 24), (23, 31)])
def test_map_is_the_net_at_windows_of_12_at_stride_2(shape: tuple[int, int]) -> None:
    net, image = one_net("pnet"), pixels(1, 3, *shape)
    output = net(image)
    seen = 0
    for r in range(output.face_logits.shape[1]):
        for c in range(output.face_logits.shape[2]):
            window = image[:, :, 2 * r : 2 * r + 12, 2 * c : 2 * c + 12]
            if window.shape[2:] != (12, 12):
                continue  # the last cell of an odd side sees 11 pixels
            alone = net(window)
            assert alone.face_logits.shape == (1, 1, 1)
            torch.testing.assert_close(output.face_logits[0, r, c], alone.face_logits[0, 0, 0])
            torch.testing.assert_close(output.offsets[0, :, r, c], alone.offsets[0, :, 0, 0])
            seen += 1
    assert seen == ((shape[0] - 10) // 2) * ((shape[1] - 10) // 2)


@pytest.mark.parametrize("name", list(NETS))
def test_logit_is_that_of_a_softmax_over_two(name: str) -> None:
    net = one_net(name)
    image = pixels(4, 3, SIZES[name], SIZES[name])
    pair = net.face(net.trunk(image))  # type: ignore[operator]
    expected = torch.softmax(pair, dim=1)[:, 1]
    torch.testing.assert_close(torch.sigmoid(net(image).face_logits), expected)


def test_landmarks_are_pairs_of_x_and_y() -> None:
    net = ONet().eval()
    net.landmarks.weight.zero_()
    net.landmarks.bias.copy_(torch.arange(10.0))
    points = net(pixels(2, 3, 48, 48)).landmarks
    assert points[0].tolist() == points[1].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]


@pytest.mark.parametrize("name", list(NETS))
def test_images_of_a_batch_are_independent(name: str) -> None:
    net, images = one_net(name), pixels(3, 3, SIZES[name], SIZES[name])
    together = net(images)
    for i in range(3):
        torch.testing.assert_close(net(images[i : i + 1]).face_logits[0], together.face_logits[i])


def test_the_net_of_the_second_pass_is_onet_with_more_around() -> None:
    """As it starts its training, on a crop 8 pixels wider on each side, it is ONet: same scores, boxes and points."""
    small, large = one_net("onet"), CNet().eval()
    large.load_state_dict(cnet_of_onet(small.state_dict()))
    crops = pixels(2, 3, 64, 64)
    crops[:, :, -11:] = crops[:, :, :, -11:] = 0.1  # ONet's first pooling rounds up and sees one row less
    found, expected = large(crops), small(crops[:, :, 8:56, 8:56])
    squares = np.array([[100.0, 50, 164, 114], [0, 0, 64, 64]])
    inner = squares + np.array([8, 8, -8, -8])
    boxes = box.decode_offsets(squares, found.offsets.numpy()), box.decode_offsets(inner, expected.offsets.numpy())
    points = (
        box.decode_landmarks(squares, found.landmarks.numpy()),
        box.decode_landmarks(inner, expected.landmarks.numpy()),
    )
    torch.testing.assert_close(found.face_logits, expected.face_logits, atol=1e-4, rtol=0)
    np.testing.assert_allclose(boxes[0], boxes[1], atol=1e-4 * 64)  # pixels of a crop of 64
    np.testing.assert_allclose(points[0], points[1], atol=1e-4 * 64)


# ---- pooling before PReLU


@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("slopes", [(0.25, 0.1, 0.0), (1.5, 0.25, 1.0), (0.25, -1.03, 0.1), (-0.5, -0.1, -2.0)])
def test_prelu_and_pooling_in_either_order(slopes: tuple[float, ...], kernel: int) -> None:
    """The values are those of PReLU first, also where a negative slope keeps the two from commuting."""
    layer = PooledPReLU(3, kernel)
    layer.prelu.weight.copy_(torch.tensor(slopes))
    maps = pixels(2, 3, 11, 14)
    expected = nn.functional.max_pool2d(nn.functional.prelu(maps, torch.tensor(slopes)), kernel, 2, ceil_mode=True)
    assert torch.equal(layer(maps), expected)
    pooled_first = nn.functional.prelu(nn.functional.max_pool2d(maps, kernel, 2, ceil_mode=True), torch.tensor(slopes))
    assert torch.equal(pooled_first, expected) is (min(slopes) >= 0)  # or the test would show nothing


def test_slopes_are_checked_at_each_call() -> None:
    """Training changes them."""
    layer, maps = PooledPReLU(1, 2), pixels(1, 1, 6, 6)
    layer(maps)
    layer.prelu.weight.fill_(-1)
    assert torch.equal(layer(maps), nn.functional.max_pool2d(maps.abs(), 2, 2, ceil_mode=True))


# ---- training PReLU


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5, 7), (0, 3, 5, 7)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_prelu_learns_as_torch_has_it(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Same values, gradients of x and of the slopes, which stay float32 under autocast; zeros of both signs among x."""
    x, given = pixels(*shape).to(dtype), pixels(*shape).to(dtype)
    x.flatten()[: min(2, x.numel())] = torch.tensor([0.0, -0.0], dtype=dtype)[: x.numel()]
    slopes = torch.tensor([0.25, -1.5, 1.0], dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    found = []
    for layer in (PReLU(3), nn.PReLU(3)):
        layer.weight = nn.Parameter(slopes.clone())
        own = x.clone().requires_grad_()
        with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            values = layer.train()(own)
            values.backward(given)
        assert own.grad is not None and layer.weight.grad is not None
        assert values.dtype == dtype and layer.weight.grad.dtype == slopes.dtype
        found.append((values.detach(), own.grad, layer.weight.grad))
    (values, moved, sums), (expected, gradient, slope_sums) = found
    assert torch.equal(values, expected)
    close = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(moved, gradient, rtol=close, atol=close)
    torch.testing.assert_close(sums, slope_sums, rtol=close, atol=4 * close)


def test_prelu_is_differentiated_twice() -> None:
    """As for a penalty on gradients; and for each image by itself, by torch.func."""
    x, found = pixels(4, 3, 5).double().requires_grad_(), []
    for layer in (PReLU(3).double().train(), nn.PReLU(3).double()):
        with torch.enable_grad():
            (first,) = torch.autograd.grad((layer(x) ** 3).sum(), x, create_graph=True)
            found.append(torch.autograd.grad((first**2).sum(), (x, layer.weight)))
    for own, expected in zip(*found, strict=True):
        torch.testing.assert_close(own, expected)


def test_gradients_of_each_image_by_torch_func() -> None:
    layer, maps = PReLU(3).train(), pixels(2, 3, 5)
    with torch.enable_grad():
        found = torch.func.vmap(torch.func.grad(lambda one: layer(one[None]).sum()))(maps)
    torch.testing.assert_close(found, torch.where(maps > 0, 1.0, 0.25))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_prelu_in_training_is_traced() -> None:
    layer, maps, file = PReLU(3).train(), pixels(2, 3, 5), io.BytesIO()
    with torch.enable_grad():
        torch.jit.save(torch.jit.trace(layer, maps, check_trace=False), file)  # type: ignore[no-untyped-call]
    file.seek(0)
    traced = torch.jit.load(file)  # type: ignore[no-untyped-call]
    assert torch.equal(traced(maps), layer(maps))


# ---- input


def test_to_input_scales_and_turns() -> None:
    images = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    images[0, 0, 0] = (0, 255, 127)
    before = images.copy()
    tensor = to_input(images)
    assert tensor.dtype == torch.float32
    assert tensor.shape == (2, 3, 4, 5)
    expected = (images.astype(np.float64).transpose(0, 3, 1, 2) - 127.5) / 128
    np.testing.assert_array_equal(tensor.numpy(), expected)  # 1/128 is exact
    assert tensor[0, :, 0, 0].tolist() == [-127.5 / 128, 127.5 / 128, -0.5 / 128]
    assert tensor.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(images, before)


def test_to_input_of_one_strip() -> None:
    """A slice of rows, as PNet sees a large level."""
    image = np.random.default_rng(0).integers(0, 256, (20, 9, 3), dtype=np.uint8)
    assert torch.equal(to_input(image[None, 4:16]), to_input(image[None])[:, :, 4:16])


@pytest.mark.filterwarnings("error")
def test_read_only_pixels() -> None:
    pixels = np.full((1, 2, 2, 3), 255, np.uint8)
    pixels.flags.writeable = False
    assert to_input(pixels).max() == 127.5 / 128
