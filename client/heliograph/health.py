"""Health checks without grpcio-health-checking.

A generated copy of `grpc.health.v1` would clash with that package's own in a process that has both.
Its two messages have the bytes of protobuf's wrappers: a request is a string in field 1, and a
response is a number in field 1.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from heliograph.names import check_model_name

CHECK: Final = "/grpc.health.v1.Health/Check"

SERVING: Final = 1
"""`HealthCheckResponse.ServingStatus.SERVING`."""


def check_request(model: str | None) -> bytes:
    """Return a serialized HealthCheckRequest: about a model, or about the server when None.

    Raises:
        InvalidModelNameError: The name is malformed.
    """
    service = "" if model is None else f"model/{check_model_name(model)}"
    return StringValue(value=service).SerializeToString()


def is_serving(response: Int32Value) -> bool:
    """Return whether a HealthCheckResponse, parsed as Int32Value, says SERVING."""
    return response.value == SERVING
