"""A bare grpc.aio server that answers every Classify with one message: what gRPC alone costs."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from benchmarks.comparison.servers.network import TOP_K, read_task

from heliograph.v1.classifier_pb2 import ClassifyRequest, ClassifyResponse


def constant(names: list[str]) -> ClassifyResponse:
    """Return an answer of the usual size."""
    response = ClassifyResponse()
    response.served_by.name = "images"
    response.served_by.version = 1
    response.served_by.routing_revision = 1
    for index, name in enumerate(names):
        response.classification.classes.add(index=index, class_name=name, score=0.2)
    return response


async def main() -> None:
    """Serve."""
    task = read_task()
    response = constant(task.class_names[:TOP_K])

    async def classify(request: ClassifyRequest, context: Any) -> ClassifyResponse:
        return response

    handler = grpc.unary_unary_rpc_method_handler(
        classify,
        request_deserializer=ClassifyRequest.FromString,
        response_serializer=ClassifyResponse.SerializeToString,
    )
    service = grpc.method_handlers_generic_handler(
        "heliograph.v1.Classifier", {"Classify": handler}
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((service,))
    server.add_insecure_port(f"127.0.0.1:{task.port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
