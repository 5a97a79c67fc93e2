"""Generated from protos/heliograph/tfserving/v1: the part of TensorFlow Serving's wire format that we call."""
