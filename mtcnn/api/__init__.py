"""The functions behind the commands: `mtcnn.train`, `mtcnn.evaluate` and `mtcnn.export`.

Each command of the same name parses its options, calls the function here, and prints the result. What does the work
lies elsewhere: `metrics`, `onnx_export`, and for training the folders `prepare` and `stages`, loaded when it begins.
"""
