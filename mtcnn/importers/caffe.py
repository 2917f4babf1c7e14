"""The authors' own weights: det1.caffemodel, det2.caffemodel and det3.caffemodel.

Source of the field numbers: caffe.proto of BVLC Caffe, messages NetParameter, LayerParameter, BlobProto and BlobShape.
"""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from ..errors import CheckpointError
from .layers import Found, Layer, Orientation
from .protobuf import Message

__all__ = ["read_caffe"]

LAYER, BLOBS, SHAPE, DATA, DIM = 100, 7, 7, 5, 1

ORIENTATION = Orientation(swapped=True, flattened="cxy")


def read_caffe(data: bytes) -> list[Found]:
    """The layers of the one net in a .caffemodel. Raises CheckpointError when it is damaged, or has no weights."""
    layers: list[Layer] = []
    for message in Message(data).messages(LAYER):
        blobs = [_array(blob) for blob in message.messages(BLOBS)]
        if len(blobs) == 2:
            layers.append(Layer(blobs[0], blobs[1]))
        elif len(blobs) == 1 and layers:  # PReLU, of the layer before
            layers[-1] = layers[-1]._replace(slope=blobs[0])
        elif blobs:
            raise CheckpointError(
                f"has a layer of {len(blobs)} blobs; expected weight and bias, or the slopes of PReLU"
            )
    if not layers:
        raise CheckpointError("has no layer with weights; expected det1, det2 or det3 of the MTCNN authors")
    return [Found(layers, ORIENTATION)]


def _array(blob: Message) -> NDArray[Any]:
    shape = [dim for message in blob.messages(SHAPE) for dim in message.integers(DIM)]
    values = blob.floats(DATA)
    if math.prod(shape) != len(values):
        raise CheckpointError(f"has {len(values)} values in a blob of shape {shape}; copy it again")
    return values.reshape(shape)
