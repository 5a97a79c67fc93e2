"""The Open Inference Protocol, version 2: images in, class names and scores out, as tensors.

It is another way to say what `heliograph.v1.Classifier` says; the path of a request is the same.
"""
