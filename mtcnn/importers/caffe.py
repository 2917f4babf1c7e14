"""Caffe's files: the MTCNN authors' det1.caffemodel, det2.caffemodel and det3.caffemodel, and VGG-16.

Source of the field numbers: caffe.proto of BVLC Caffe, messages NetParameter, LayerParameter, V1LayerParameter,
BlobProto and BlobShape.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ..errors import CheckpointError
from ..files.safe_pickle import MAX_DIMS, check_shape
from .layers import Found, LayerArrays, Orientation
from .protobuf import Message
from .single_stage import Ready
from .trunks import read_caffe_vgg

__all__ = ["read_caffe"]

LAYER, BLOBS, SHAPE, DATA, DIM = 100, 7, 7, 5, 1
OLD_LAYER, OLD_BLOBS, OLD_DIMS = 2, 6, (1, 2, 3, 4)  # before 2014, the time of VGG-16

ORIENTATION = Orientation(swapped=True, flattened="cxy")


def read_caffe(data: bytes) -> list[Found] | list[Ready]:
    """The one net in a .caffemodel. Raises CheckpointError when it is damaged, or has no weights."""
    layers = _layers(Message(data))
    vgg = read_caffe_vgg(layers)
    return [Found(layers, ORIENTATION)] if vgg is None else [vgg]


def _layers(net: Message) -> list[LayerArrays]:
    layers: list[LayerArrays] = []
    found = [message.messages(BLOBS) for message in net.messages(LAYER)]
    for messages in found or [message.messages(OLD_BLOBS) for message in net.messages(OLD_LAYER)]:
        blobs = [_array(blob) for blob in messages]
        if len(blobs) == 2:
            layers.append(LayerArrays(blobs[0], blobs[1]))
        elif len(blobs) == 1 and layers:  # PReLU, of the layer before
            layers[-1] = layers[-1]._replace(slope=blobs[0])
        elif blobs:
            raise CheckpointError(
                f"has a layer of {len(blobs)} blobs; expected weight and bias, or the slopes of PReLU"
            )
    if not layers:
        raise CheckpointError("has no layer with weights; expected det1, det2 or det3 of the MTCNN authors, or VGG-16")
    return layers


def _array(blob: Message) -> NDArray[Any]:
    shape = [dim for message in blob.messages(SHAPE) for dim in message.integers(DIM)]
    if not shape:
        shape = [dim for number in OLD_DIMS for dim in blob.integers(number)]  # always four, ones in front
        while len(shape) > 1 and shape[0] == 1:
            shape = shape[1:]
    values = blob.floats(DATA)
    if len(shape) > MAX_DIMS or check_shape(*shape) != len(values):
        raise CheckpointError(f"has {len(values)} values in a blob of shape {shape[:MAX_DIMS]}; copy it again")
    return values.reshape(shape)
