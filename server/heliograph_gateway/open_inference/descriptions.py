"""What the protocol can ask about a model, from what the router knows of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from heliograph_gateway.inference.grpc_service_pb2 import (
    DataType,
    InferBatchStatistics,
    InferStatistics,
    ModelConfig,
    ModelDynamicBatching,
    ModelInput,
    ModelMetadataResponse,
    ModelOutput,
    ModelStatistics,
    RepositoryIndexResponse,
    StatisticDuration,
)
from heliograph_gateway.open_inference.requests import BYTES, FP32, IMAGE, LABELS, SCORES
from heliograph_gateway.routing import ServedModel
from heliograph_gateway.servables import ServableVersion
from heliograph_gateway.statistics import Timing

EXTENSIONS = ("classification", "model_configuration", "statistics")
"""The extensions that are served, by the names that Triton gives them."""

PLATFORM = "tensorflow_savedmodel"

_Tensor = ModelMetadataResponse.TensorMetadata


def metadata_of(model: ServedModel) -> ModelMetadataResponse:
    """Return the tensors and versions of a model.

    Prepared pixels are no input of their own here: clients would think that they had to send both.
    """
    return ModelMetadataResponse(
        name=model.name,
        versions=[str(number) for number in sorted(model.versions)],
        platform=PLATFORM,
        inputs=[_Tensor(name=IMAGE, datatype=BYTES, shape=[-1, 1])],
        outputs=[
            _Tensor(name=LABELS, datatype=BYTES, shape=[-1, -1]),
            _Tensor(name=SCORES, datatype=FP32, shape=[-1, -1]),
        ],
    )


def config_of(model: ServedModel, max_batch_images: int) -> ModelConfig:
    """Return the configuration that Triton would have for a model."""
    return ModelConfig(
        name=model.name,
        platform=PLATFORM,
        max_batch_size=max_batch_images,
        input=[ModelInput(name=IMAGE, data_type=DataType.TYPE_STRING, dims=[1])],
        output=[
            ModelOutput(name=LABELS, data_type=DataType.TYPE_STRING, dims=[-1]),
            ModelOutput(name=SCORES, data_type=DataType.TYPE_FP32, dims=[-1]),
        ],
        dynamic_batching=ModelDynamicBatching(),
    )


def statistics_of(version: ServableVersion) -> ModelStatistics:
    """Return what was counted and timed of a version."""
    model, number = version.servable
    statistics = version.statistics
    batches = sorted(statistics.batches.items())
    return ModelStatistics(
        name=model,
        version=str(number),
        last_inference=int(statistics.last_batch * 1000),
        inference_count=sum(rows * timing.count for rows, timing in batches),
        execution_count=sum(timing.count for _, timing in batches),
        inference_stats=InferStatistics(
            success=_duration(statistics.succeeded),
            fail=_duration(statistics.failed),
            queue=_duration(statistics.queued),
            compute_input=_duration(statistics.prepared),
            compute_infer=_duration(statistics.predicted),
            compute_output=_duration(statistics.ranked),
        ),
        batch_stats=[
            InferBatchStatistics(batch_size=rows, compute_infer=_duration(timing))
            for rows, timing in batches
        ],
    )


def index_of(
    models: Iterable[ServedModel], *, ready: bool
) -> Iterator[RepositoryIndexResponse.ModelIndex]:
    """Yield the versions that are served, and the models that are not.

    Args:
        models: In the order of the answer.
        ready: Leave out models that are not served.
    """
    for model in models:
        for number in sorted(model.versions):
            yield RepositoryIndexResponse.ModelIndex(
                name=model.name, version=str(number), state="READY"
            )
        if not (model.serving or ready):
            yield RepositoryIndexResponse.ModelIndex(
                name=model.name, state="UNAVAILABLE", reason=model.reason
            )


def _duration(timing: Timing) -> StatisticDuration:
    return StatisticDuration(count=timing.count, ns=timing.nanoseconds)
