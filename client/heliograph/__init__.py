"""Heliograph: image classifiers from a training run to a production gRPC endpoint."""
