"""Generated from protos/heliograph/tfserving/v1: what we call of TensorFlow Serving's API."""
