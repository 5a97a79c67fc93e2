"""`inference.GRPCInferenceService`: decode, ask the pipeline or the router, encode the answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from heliograph.errors import ModelNotServingError, NotFoundError, UnimplementedError
from heliograph.version import __version__
from heliograph_gateway.calls import Context, current_call, deadline_of
from heliograph_gateway.inference import grpc_service_pb2, grpc_service_pb2_grpc
from heliograph_gateway.open_inference.descriptions import (
    EXTENSIONS,
    config_of,
    index_of,
    metadata_of,
    statistics_of,
)
from heliograph_gateway.open_inference.requests import (
    options_for,
    read_images,
    read_outputs,
    selector_of,
    timeout_of,
)
from heliograph_gateway.open_inference.responses import respond
from heliograph_gateway.pipeline import Pipeline, all_of
from heliograph_gateway.routing import Route, Router

INFERENCE = grpc_service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


def _refusal(message: str) -> Any:
    """Return a method that is declared and not served."""

    def refuse(self: InferenceServicer, request: object, context: Context) -> None:
        raise UnimplementedError(message)

    return refuse


class InferenceServicer(grpc_service_pb2_grpc.GRPCInferenceServiceServicer):
    """The service."""

    def __init__(
        self,
        pipeline: Pipeline,
        router: Router,
        is_ready: Callable[[], bool],
        *,
        longest_call: float,
    ) -> None:
        """Make a servicer.

        Args:
            pipeline: Answers images.
            router: Knows the models.
            is_ready: Says whether the gateway takes requests.
            longest_call: Deadline in seconds of a call whose caller set none.
        """
        self._pipeline = pipeline
        self._router = router
        self._is_ready = is_ready
        self._longest_call = longest_call

    async def ServerLive(  # noqa: N802
        self, request: grpc_service_pb2.ServerLiveRequest, context: Context
    ) -> grpc_service_pb2.ServerLiveResponse:
        """Say that the gateway runs."""
        return grpc_service_pb2.ServerLiveResponse(live=True)

    async def ServerReady(  # noqa: N802
        self, request: grpc_service_pb2.ServerReadyRequest, context: Context
    ) -> grpc_service_pb2.ServerReadyResponse:
        """Say whether the gateway takes requests."""
        return grpc_service_pb2.ServerReadyResponse(ready=self._is_ready())

    async def ModelReady(  # noqa: N802
        self, request: grpc_service_pb2.ModelReadyRequest, context: Context
    ) -> grpc_service_pb2.ModelReadyResponse:
        """Say whether a version answers."""
        try:
            self._resolve(request.name, request.version)
        except (NotFoundError, ModelNotServingError):
            return grpc_service_pb2.ModelReadyResponse(ready=False)
        return grpc_service_pb2.ModelReadyResponse(ready=True)

    async def ServerMetadata(  # noqa: N802
        self, request: grpc_service_pb2.ServerMetadataRequest, context: Context
    ) -> grpc_service_pb2.ServerMetadataResponse:
        """Describe the gateway."""
        return grpc_service_pb2.ServerMetadataResponse(
            name="heliograph", version=__version__, extensions=EXTENSIONS
        )

    async def ModelMetadata(  # noqa: N802
        self, request: grpc_service_pb2.ModelMetadataRequest, context: Context
    ) -> grpc_service_pb2.ModelMetadataResponse:
        """Describe a model."""
        self._resolve(request.name, request.version)
        return metadata_of(self._router.model(request.name))

    async def ModelConfig(  # noqa: N802
        self, request: grpc_service_pb2.ModelConfigRequest, context: Context
    ) -> grpc_service_pb2.ModelConfigResponse:
        """Describe a model as Triton's configuration would."""
        self._resolve(request.name, request.version)
        model = self._router.model(request.name)
        return grpc_service_pb2.ModelConfigResponse(
            config=config_of(model, self._pipeline.max_batch_images)
        )

    async def ModelStatistics(  # noqa: N802
        self, request: grpc_service_pb2.ModelStatisticsRequest, context: Context
    ) -> grpc_service_pb2.ModelStatisticsResponse:
        """Say what was counted and timed, of one version, one model or all."""
        if request.version:
            versions = [self._resolve(request.name, request.version).version]
        else:
            self._note_model(request.name)
            models = [self._router.model(request.name)] if request.name else self._router.models()
            versions = [model.versions[n] for model in models for n in sorted(model.versions)]
        return grpc_service_pb2.ModelStatisticsResponse(
            model_stats=[statistics_of(version) for version in versions]
        )

    async def RepositoryIndex(  # noqa: N802
        self, request: grpc_service_pb2.RepositoryIndexRequest, context: Context
    ) -> grpc_service_pb2.RepositoryIndexResponse:
        """List models and versions."""
        if request.repository_name:
            raise UnimplementedError("there is one repository; leave repository_name empty")
        return grpc_service_pb2.RepositoryIndexResponse(
            models=index_of(self._router.models(), ready=request.ready)
        )

    async def ModelInfer(  # noqa: N802
        self, request: grpc_service_pb2.ModelInferRequest, context: Context
    ) -> grpc_service_pb2.ModelInferResponse:
        """Classify images."""
        deadline = min(
            deadline_of(context, self._longest_call), time.monotonic() + timeout_of(request)
        )
        # Nothing waits between here and the pipeline, so that it finds the same version.
        route = self._resolve(request.model_name, request.model_version)
        outputs = read_outputs(request)
        images = read_images(request, route.version, self._pipeline.check_count)
        answer = await self._pipeline.answer(
            selector_of(request.model_name, request.model_version),
            images,
            options_for(outputs),
            deadline,
        )
        current_call.get().answered(answer.served_by)
        return respond(request, answer.served_by, all_of(answer.outcomes), outputs)

    ModelStreamInfer = _refusal("ModelStreamInfer is not served; use ModelInfer")
    RepositoryModelLoad = _refusal("models are not loaded by calls: the repository says which")
    RepositoryModelUnload = _refusal("models are not unloaded by calls: the repository says which")
    SystemSharedMemoryStatus = _refusal("shared memory is not served; send tensors in the messages")
    SystemSharedMemoryRegister = SystemSharedMemoryStatus
    SystemSharedMemoryUnregister = SystemSharedMemoryStatus
    CudaSharedMemoryStatus = SystemSharedMemoryStatus
    CudaSharedMemoryRegister = SystemSharedMemoryStatus
    CudaSharedMemoryUnregister = SystemSharedMemoryStatus
    TraceSetting = _refusal("tracing is not set by calls")
    LogSettings = _refusal("logging is not set by calls; see --log-level and --access-log")

    def _resolve(self, name: str, version: str) -> Route:
        self._note_model(name)
        return self._router.resolve(selector_of(name, version))

    def _note_model(self, name: str) -> None:
        current_call.get().model = self._router.known_name(name)
