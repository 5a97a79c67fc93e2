"""Generated from protos/heliograph/v1: the public API and the model contract."""
