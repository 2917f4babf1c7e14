"""Why a face was found or missed: the inputs, candidates and outputs of each stage of the cascade.

from mtcnn import Detector, read_image
from mtcnn.trace import judge, record

detector, image = Detector(), read_image("photo.jpg")
trace = record(detector, image)
verdict = judge(trace, (100, 80, 160, 150))  # a face that should be found, xyxy pixels
print(verdict.found, verdict.lost_by, verdict.why)
"""

from __future__ import annotations

from ..candidates import Candidates, Step
from .pictures import pictures
from .recording import StageTrace, Trace, look, record
from .verdict import Verdict, judge

__all__ = ["Candidates", "StageTrace", "Step", "Trace", "Verdict", "judge", "look", "pictures", "record"]
