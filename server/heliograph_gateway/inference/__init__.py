"""Generated from protos/inference: the Open Inference Protocol, version 2."""
