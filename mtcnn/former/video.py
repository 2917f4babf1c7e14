"""`mtcnn.video` of version 0.1: `mtcnn.stream.video`."""

import warnings

from mtcnn.stream.video import CODECS, FPS, Frame, Video, VideoFile

__all__ = ["CODECS", "FPS", "Frame", "Video", "VideoFile"]

warnings.warn(
    "mtcnn.video is mtcnn.stream.video now; the old name works until version 0.3", FutureWarning, stacklevel=2
)
