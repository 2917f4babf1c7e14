"""A static page that detects faces in a browser: `site` writes it, `page` has its HTML and scripts.

Detection runs in onnxruntime-web on files of `onnx_graph`; nothing leaves the machine.
"""
