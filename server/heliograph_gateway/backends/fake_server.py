"""A backend behind TensorFlow Serving's wire protocol: what a gateway reaches by `tfs://`.

For tests and measurements of everything in front of a model server, without a model server.
"""

from __future__ import annotations

from typing import Any

import grpc

from heliograph.errors import HeliographError
from heliograph.tfserving import from_tensor_proto, to_tensor_proto
from heliograph.tfserving.v1.prediction_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    PredictRequest,
    PredictResponse,
    SignatureDefMap,
)
from heliograph_gateway.backends import Backend
from heliograph_gateway.servables import Servable

Context = grpc.aio.ServicerContext[Any, Any]
_LONGEST = 60.0
"""Seconds for a call without a deadline."""


class FakeTensorFlowServing:
    """Answers Predict and GetModelMetadata with what a backend says."""

    def __init__(self, backend: Backend) -> None:
        """Make a server that does not listen yet."""
        self.address = ""
        """`tfs://…`, once it has started."""
        self.time_given: list[float] = []
        """Seconds until the deadline of every Predict, as it came in."""
        self._backend = backend
        self._server = grpc.aio.server(
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)]
        )
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Predict": grpc.unary_unary_rpc_method_handler(
                self._predict, PredictRequest.FromString, PredictResponse.SerializeToString
            ),
            "GetModelMetadata": grpc.unary_unary_rpc_method_handler(
                self._metadata,
                GetModelMetadataRequest.FromString,
                GetModelMetadataResponse.SerializeToString,
            ),
        }
        service = "tensorflow.serving.PredictionService"
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, handlers),)
        )

    async def start(self, listen: str = "127.0.0.1:0") -> None:
        """Listen on HOST:PORT, where port 0 takes a free one, or on unix:PATH."""
        port = self._server.add_insecure_port(listen)
        await self._server.start()
        host, _, _ = listen.rpartition(":")
        path = listen.removeprefix("unix:")
        self.address = f"tfs://{path}" if path != listen else f"tfs://{host}:{port}"

    async def stop(self) -> None:
        """Break off every call and stop to listen."""
        await self._server.stop(None)

    async def _predict(self, request: PredictRequest, context: Context) -> PredictResponse:
        given = context.time_remaining()
        self.time_given.append(_LONGEST if given is None else given)
        spec = request.model_spec
        try:
            outputs = await self._backend.predict(
                Servable(spec.name, spec.version.value),
                {name: from_tensor_proto(tensor) for name, tensor in request.inputs.items()},
                signature=spec.signature_name,
                timeout=self.time_given[-1],
            )
        except HeliographError as error:
            await context.abort(grpc.StatusCode[error.status], error.message)
        tensors = {name: to_tensor_proto(array) for name, array in outputs.items()}
        return PredictResponse(outputs=tensors, model_spec=spec)

    async def _metadata(
        self, request: GetModelMetadataRequest, context: Context
    ) -> GetModelMetadataResponse:
        spec = request.model_spec
        try:
            signatures = await self._backend.signatures(
                Servable(spec.name, spec.version.value), timeout=_LONGEST
            )
        except HeliographError as error:
            await context.abort(grpc.StatusCode[error.status], error.message)
        response = GetModelMetadataResponse(model_spec=spec)
        response.metadata["signature_def"].Pack(SignatureDefMap(signature_def=signatures))
        return response
