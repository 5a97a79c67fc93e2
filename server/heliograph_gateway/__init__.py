"""The gateway: images in, class names out, TensorFlow Serving behind it.

The path of one request is in `pipeline.py`; `application.py` puts the parts together. TensorFlow
is never imported.
"""
