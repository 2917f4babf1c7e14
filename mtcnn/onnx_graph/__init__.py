"""Whole detectors as one ONNX graph: image in; boxes, scores and landmarks out.

`builder` adds nodes, `resampling` and `suppression` are the parts that all detectors share, `cascade` is the cascade,
`single_stage` and `decoding` are single-stage detectors.
`whole` compares a graph with the detector that it stands for and writes it, `formats` as ONNX or for OpenVINO, `int8`
quantised. Nothing here decides how detection works:
each part cites the module whose rule it repeats.
"""
