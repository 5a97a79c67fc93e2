"""The Classifier service's calls as pure functions: arguments to requests, responses to results.

Both clients are made of these. Requests are assembled as bytes, so that an image is copied once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from heliograph.errors import InternalError, InvalidArgumentError, InvalidModelNameError
from heliograph.images import LoadedImage
from heliograph.names import check_model_name, check_version, check_version_label
from heliograph.results import ClassScore, Failure, ModelDetails, ModelInfo, Result
from heliograph.v1.classifier_pb2 import (
    BatchClassifyResponse,
    Classification,
    ClassifyOptions,
    ClassifyRequest,
    ClassifyResponse,
    GetModelRequest,
    GetModelResponse,
    ImageResult,
    ListModelsRequest,
    ListModelsResponse,
    Model,
    ModelSelector,
    ServedBy,
    StreamClassifyRequest,
    StreamClassifyResponse,
)
from heliograph.wire_errors import from_status
from heliograph.wire_format import delimited, varint

SERVICE: Final = "heliograph.v1.Classifier"
CLASSIFY: Final = f"/{SERVICE}/Classify"
BATCH_CLASSIFY: Final = f"/{SERVICE}/BatchClassify"
STREAM_CLASSIFY: Final = f"/{SERVICE}/StreamClassify"
GET_MODEL: Final = f"/{SERVICE}/GetModel"
LIST_MODELS: Final = f"/{SERVICE}/ListModels"

DEFAULT_TOP_K: Final = 5


@lru_cache(maxsize=256)
def question(
    model: str | None,
    version: int | None,
    version_label: str | None,
    top_k: int,
    min_score: float,
) -> bytes:
    """Return what is asked about an image: the selector and the options of a serialized request.

    ClassifyRequest and BatchClassifyRequest number these fields alike; so do they their images.

    Args:
        model: Name of the model; None for the only one served.
        version: Exact version; None for the stable one.
        version_label: Name for a version in the routing table, instead of `version`.
        top_k: Classes wanted, at least 1; more than the model has means all.
        min_score: Lowest score wanted, in [0, 1].

    Raises:
        InvalidArgumentError: An argument is out of its range.
    """
    if not 1 <= top_k < 2**31:
        raise InvalidArgumentError(f"top_k is {top_k}; use 1 or more")
    if not 0 <= min_score <= 1:
        raise InvalidArgumentError(f"min_score is {min_score}; use a number from 0 to 1")
    return ClassifyRequest(
        model=selector(model, version, version_label),
        options=ClassifyOptions(top_k=top_k, min_score=min_score),
    ).SerializeToString()


@lru_cache(maxsize=256)
def stream_question(
    model: str | None,
    version: int | None,
    version_label: str | None,
    top_k: int,
    min_score: float,
) -> bytes:
    """Return the same for StreamClassifyRequest, which numbers its fields differently."""
    asked = ClassifyRequest.FromString(question(model, version, version_label, top_k, min_score))
    return StreamClassifyRequest(model=asked.model, options=asked.options).SerializeToString()


def selector(model: str | None, version: int | None, version_label: str | None) -> ModelSelector:
    """Return the selector of a model and perhaps a version.

    Raises:
        InvalidModelNameError: One of them is malformed, or both a version and a label are given.
    """
    named = ModelSelector(name=check_model_name(model) if model is not None else "")
    if version is not None:
        if version_label is not None:
            raise InvalidModelNameError("give either a version or a version label, not both")
        named.version = check_version(version)
    elif version_label is not None:
        named.version_label = check_version_label(version_label)
    return named


def classify_request(asked: bytes, image: LoadedImage) -> bytes:
    """Return a serialized ClassifyRequest.

    Args:
        asked: What `question` returned.
        image: What `load_image` returned.
    """
    prefix, data = image
    return b"".join((asked, delimited(_IMAGE, len(prefix) + len(data)), prefix, data))


def batch_request(asked: bytes, images: Sequence[LoadedImage]) -> bytes:
    """Return a serialized BatchClassifyRequest; arguments as for `classify_request`."""
    parts = [asked]
    for prefix, data in images:
        parts += (delimited(_IMAGE, len(prefix) + len(data)), prefix, data)
    return b"".join(parts)


def stream_request(asked: bytes, correlation_id: int, images: Sequence[LoadedImage]) -> bytes:
    """Return a serialized StreamClassifyRequest.

    Args:
        asked: What `stream_question` returned.
        correlation_id: Number from 0 to 2⁶⁴ − 1 that the response repeats.
        images: At least one.
    """
    parts = [_STREAM_ID, varint(correlation_id), asked]
    number = StreamClassifyRequest.IMAGE_FIELD_NUMBER
    for prefix, data in images:
        parts += (delimited(number, len(prefix) + len(data)), prefix, data)
        number = StreamClassifyRequest.MORE_IMAGES_FIELD_NUMBER
    return b"".join(parts)


def model_request(model: str | None, version: int | None, version_label: str | None) -> bytes:
    """Return a serialized GetModelRequest."""
    return GetModelRequest(model=selector(model, version, version_label)).SerializeToString()


def models_request() -> bytes:
    """Return a serialized ListModelsRequest."""
    return ListModelsRequest().SerializeToString()


def result(response: ClassifyResponse) -> Result:
    """Return the answer that a response holds."""
    return _result(response.classification, response.served_by)


def results(response: BatchClassifyResponse, count: int) -> list[Result | Failure]:
    """Return the answers that a response holds, in its order.

    Args:
        response: What the server sent.
        count: Images that were asked about.

    Raises:
        InternalError: The response has another number of results.
    """
    return _results(response.results, response.served_by, count)


def stream_results(response: StreamClassifyResponse, count: int) -> list[Result | Failure]:
    """Return the answers to one message of a stream; arguments and errors as for `results`."""
    return _results((response.result, *response.more_results), response.served_by, count)


def model_info(model: Model) -> ModelInfo:
    """Return a model as it is served now."""
    return ModelInfo(
        name=model.name,
        serving=model.state == Model.STATE_SERVING,
        reason=model.reason,
        stable_version=model.stable_version,
        versions=tuple(model.versions),
        version_labels=dict(model.version_labels),
        routing_revision=model.routing_revision,
    )


def model_details(response: GetModelResponse) -> ModelDetails:
    """Return a model and the contract of one of its versions."""
    return ModelDetails(model_info(response.model), response.version, response.contract)


def model_infos(response: ListModelsResponse) -> tuple[ModelInfo, ...]:
    """Return every model that a response holds."""
    return tuple(model_info(model) for model in response.models)


def _results(
    items: Sequence[ImageResult], served_by: ServedBy, count: int
) -> list[Result | Failure]:
    if len(items) != count:
        raise InternalError(f"the server sent {len(items)} results for {count} images")
    return [
        _result(item.classification, served_by)
        if item.HasField("classification")
        else Failure(from_status(item.error))
        for item in items
    ]


def _result(classification: Classification, served_by: ServedBy) -> Result:
    classes = tuple(
        [ClassScore(item.index, item.class_name, item.score) for item in classification.classes]
    )
    best_name, best_score = (classes[0].class_name, classes[0].score) if classes else ("", 0.0)
    return Result(
        best_name,
        best_score,
        classes,
        served_by.name,
        served_by.version,
        served_by.routing_revision,
    )


_IMAGE: Final = ClassifyRequest.IMAGE_FIELD_NUMBER
_STREAM_ID: Final = varint(StreamClassifyRequest.CORRELATION_ID_FIELD_NUMBER << 3)
