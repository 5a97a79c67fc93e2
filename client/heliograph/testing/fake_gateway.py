"""A gateway without models: a real gRPC server whose answers are written in the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NoReturn, Self

import grpc
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from heliograph.classifier_calls import DEFAULT_TOP_K, SERVICE
from heliograph.errors import (
    HeliographError,
    ModelNotFoundError,
    NotFoundError,
    UnauthenticatedError,
    VersionLabelNotFoundError,
    VersionNotFoundError,
)
from heliograph.testing.script import Script
from heliograph.v1.classifier_pb2 import (
    BatchClassifyRequest,
    BatchClassifyResponse,
    Classification,
    ClassifyOptions,
    ClassifyRequest,
    ClassifyResponse,
    ClassScore,
    GetModelRequest,
    GetModelResponse,
    Image,
    ImageResult,
    ListModelsRequest,
    ListModelsResponse,
    Model,
    ModelSelector,
    ServedBy,
    StreamClassifyRequest,
    StreamClassifyResponse,
)
from heliograph.v1.contract_pb2 import ModelContract
from heliograph.wire_errors import to_abort, to_status

Outcome = Mapping[str, float] | HeliographError
"""Scores by class name, or why there are none."""

_SERVING = 1
_NOT_SERVING = 2
_NEVER = 1e9
"""Seconds: more is what gRPC says when there is no deadline."""


@dataclass(frozen=True)
class RecordedCall:
    """A call that reached the gateway."""

    method: str
    """`Classify`, `BatchClassify`, `StreamClassify`, `GetModel`, `ListModels` or `Check`."""
    request: Message
    """The request's message. Every message of a StreamClassify is recorded as a call."""
    metadata: Mapping[str, str | bytes]
    """The call's metadata, keys in lower case."""
    peer: str
    """Where the caller's connection comes from, as gRPC writes it."""
    time_remaining: float | None
    """Seconds until the deadline when the call arrived; None without a deadline."""
    _context: grpc.ServicerContext = field(repr=False)

    @property
    def images(self) -> tuple[Image, ...]:
        """The images that the request is about, in order; none for other calls than to classify."""
        request = self.request
        if isinstance(request, ClassifyRequest):
            return (request.image,)
        if isinstance(request, BatchClassifyRequest):
            return tuple(request.images)
        if isinstance(request, StreamClassifyRequest):
            return (request.image, *request.more_images)
        return ()

    @property
    def active(self) -> bool:
        """Whether the caller still waits: no answer yet, no cancellation, no deadline passed."""
        return self._context.is_active()


class FakeGateway:
    """Answers as it is told, and remembers what it was asked.

    Until it is told otherwise, the first class scores 0.9 and the others share the rest. What it is
    told with a number of times is used up first, in order; then what it was last told without one
    holds.
    """

    def __init__(
        self,
        *,
        model: str = "fake",
        class_names: Sequence[str] = ("cat", "dog", "fish"),
        versions: Sequence[int] = (1,),
        version_labels: Mapping[str, int] | None = None,
        address: str = "127.0.0.1:0",
        credentials: grpc.ServerCredentials | None = None,
        token: str | None = None,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """Describe the gateway; it listens between `start` and `stop`, or inside a `with` block.

        Args:
            model: Name of its only model.
            class_names: Classes of the model, in order of index.
            versions: Versions that may be asked for; the last one is stable.
            version_labels: Names for versions; `stable` is always there.
            address: Where to listen; port 0 takes a free one.
            credentials: For TLS; None speaks plain text.
            token: Bearer token that every call must carry; None asks for none.
            options: Further arguments of the gRPC server.
        """
        self.model = model
        self.class_names = tuple(class_names)
        self.versions = tuple(versions)
        self.version_labels = {**(version_labels or {}), "stable": self.versions[-1]}
        self.serving = True
        """What health checks and ListModels say of the model."""
        self._address = address
        self._credentials = credentials
        self._token = token
        self._options = options
        self._lock = threading.Lock()
        self._calls: list[RecordedCall] = []
        self._images = Script[Outcome]()
        self._whole_calls = Script[HeliographError]()
        self._stream_ends = Script[tuple[int, HeliographError]]()
        self._delay = 0.0
        self._stopping = threading.Event()
        self._server: grpc.Server | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._port = 0

    @property
    def target(self) -> str:
        """GRPC target of the gateway, for a client."""
        host, _, port = self._address.rpartition(":")
        return f"{host}:{self._port}" if port == "0" else self._address

    @property
    def calls(self) -> tuple[RecordedCall, ...]:
        """Calls that have arrived so far, in order."""
        with self._lock:
            return tuple(self._calls)

    def answer(self, scores: Mapping[str, float], *, times: int | None = None) -> None:
        """Answer images with these scores.

        Args:
            scores: Score in [0, 1] by class name; classes left out score 0.
            times: Images to answer so; None for all from then on.
        """
        unknown = scores.keys() - set(self.class_names)
        if unknown:
            raise ValueError(f"the fake model has no class {', '.join(sorted(unknown))}")
        self._images.add(dict(scores), times)

    def fail(self, error: HeliographError, *, times: int | None = 1) -> None:
        """Fail images with an error: it fails Classify, and takes one place where there are more.

        Args:
            error: What to answer; its reason, request id and retry delay reach the caller.
            times: Images to fail so; None for all from then on.
        """
        self._images.add(error, times)

    def fail_calls(self, error: HeliographError, *, times: int | None = 1) -> None:
        """Fail calls of any method as a whole, before their images are looked at.

        Args:
            error: What to answer.
            times: Calls to fail so, retries counted; None for all from then on.
        """
        self._whole_calls.add(error, times)

    def fail_streams(
        self, error: HeliographError, *, after: int = 0, times: int | None = 1
    ) -> None:
        """End calls of StreamClassify with an error.

        Args:
            error: What to end with.
            after: Images that are answered on the stream before.
            times: Streams to end so; None for all from then on.
        """
        self._stream_ends.add((after, error), times)

    def delay(self, seconds: float) -> None:
        """Wait this long before each answer from now on."""
        self._delay = seconds

    def start(self) -> None:
        """Listen.

        Raises:
            RuntimeError: The address cannot be listened on.
        """
        self._executor = ThreadPoolExecutor(16, thread_name_prefix="fake-gateway")
        self._server = grpc.server(
            self._executor,
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                *self._options,
            ],
        )
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    SERVICE,
                    {
                        "Classify": _method(self._classify, ClassifyRequest),
                        "BatchClassify": _method(self._batch_classify, BatchClassifyRequest),
                        "StreamClassify": _stream_method(
                            self._stream_classify, StreamClassifyRequest
                        ),
                        "GetModel": _method(self._get_model, GetModelRequest),
                        "ListModels": _method(self._list_models, ListModelsRequest),
                    },
                ),
                grpc.method_handlers_generic_handler(
                    "grpc.health.v1.Health", {"Check": _method(self._check, StringValue)}
                ),
            )
        )
        if self._credentials is None:
            self._port = self._server.add_insecure_port(self._address)
        else:
            self._port = self._server.add_secure_port(self._address, self._credentials)
        self._server.start()

    def stop(self) -> None:
        """Stop listening; calls under way end with CANCELLED or UNAVAILABLE."""
        self._stopping.set()
        if self._server is not None:
            self._server.stop(None).wait()
        if self._executor is not None:
            self._executor.shutdown()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _admit(self, method: str, request: Message, context: grpc.ServicerContext) -> None:
        """Record a call, wait as told, and fail it when it should fail as a whole."""
        metadata = self._record(method, request, context)
        if self._token is not None and metadata.get("authorization") != f"Bearer {self._token}":
            raise UnauthenticatedError("the call carries no valid token")
        outcome = self._whole_calls.next()
        if outcome is not None:
            raise outcome

    def _record(
        self, method: str, request: Message, context: grpc.ServicerContext
    ) -> Mapping[str, str | bytes]:
        """Record a call, wait as told, and return its metadata."""
        metadata = {key.lower(): value for key, value in context.invocation_metadata()}
        remaining: float | None = context.time_remaining()
        if remaining is not None and remaining > _NEVER:
            remaining = None
        call = RecordedCall(method, request, metadata, context.peer(), remaining, context)
        with self._lock:
            self._calls.append(call)
        self._stopping.wait(self._delay)
        return metadata

    def _resolve(self, selector: ModelSelector) -> ServedBy:
        if selector.name not in ("", self.model):
            raise ModelNotFoundError(f"no model is called {selector.name!r}")
        version = self.versions[-1]
        chosen = selector.WhichOneof("selector")
        if chosen == "version":
            version = selector.version
        elif chosen == "version_label":
            if selector.version_label not in self.version_labels:
                label = selector.version_label
                raise VersionLabelNotFoundError(f"no version is labelled {label!r}")
            version = self.version_labels[selector.version_label]
        if version not in self.versions:
            raise VersionNotFoundError(f"there is no version {version}")
        return ServedBy(name=self.model, version=version, routing_revision=0 if chosen else 1)

    def _result(self, options: ClassifyOptions) -> ImageResult:
        outcome = self._rank(options)
        if isinstance(outcome, HeliographError):
            return ImageResult(error=to_status(outcome))
        return ImageResult(classification=outcome)

    def _rank(self, options: ClassifyOptions) -> Classification | HeliographError:
        outcome = self._images.next()
        if isinstance(outcome, HeliographError):
            return outcome
        if outcome is None:
            rest = 0.1 / max(len(self.class_names) - 1, 1)
            outcome = dict.fromkeys(self.class_names, rest) | {self.class_names[0]: 0.9}
        ranked = sorted(
            enumerate(self.class_names), key=lambda pair: (-outcome.get(pair[1], 0.0), pair[0])
        )
        return Classification(
            classes=[
                ClassScore(index=index, class_name=name, score=outcome.get(name, 0.0))
                for index, name in ranked[: options.top_k or DEFAULT_TOP_K]
                if outcome.get(name, 0.0) >= options.min_score
            ]
        )

    def _describe(self) -> Model:
        return Model(
            name=self.model,
            state=Model.STATE_SERVING if self.serving else Model.STATE_NOT_SERVING,
            reason="" if self.serving else "the test says so",
            stable_version=self.versions[-1],
            versions=sorted(self.versions),
            version_labels=self.version_labels,
            routing_revision=1,
        )

    def _classify(
        self, request: ClassifyRequest, context: grpc.ServicerContext
    ) -> ClassifyResponse:
        self._admit("Classify", request, context)
        served_by = self._resolve(request.model)
        outcome = self._rank(request.options)
        if isinstance(outcome, HeliographError):
            raise outcome
        return ClassifyResponse(served_by=served_by, classification=outcome)

    def _batch_classify(
        self, request: BatchClassifyRequest, context: grpc.ServicerContext
    ) -> BatchClassifyResponse:
        self._admit("BatchClassify", request, context)
        return BatchClassifyResponse(
            served_by=self._resolve(request.model),
            results=[self._result(request.options) for _ in request.images],
        )

    def _stream_classify(
        self, requests: Iterator[StreamClassifyRequest], context: grpc.ServicerContext
    ) -> Iterator[StreamClassifyResponse]:
        end = self._stream_ends.next()
        answered = 0
        for number, request in enumerate(requests):
            if number == 0:
                self._admit("StreamClassify", request, context)
            else:
                self._record("StreamClassify", request, context)
            if end is not None and answered >= end[0]:
                raise end[1]
            images = 1 + len(request.more_images)
            response = StreamClassifyResponse(correlation_id=request.correlation_id)
            try:
                response.served_by.CopyFrom(self._resolve(request.model))
                results = [self._result(request.options) for _ in range(images)]
            except HeliographError as error:
                results = [ImageResult(error=to_status(error))] * images
            response.result.CopyFrom(results[0])
            response.more_results.extend(results[1:])
            yield response
            answered += images

    def _get_model(
        self, request: GetModelRequest, context: grpc.ServicerContext
    ) -> GetModelResponse:
        self._admit("GetModel", request, context)
        version = self._resolve(request.model).version
        contract = ModelContract(
            schema_major=1, model_name=self.model, class_names=self.class_names
        )
        return GetModelResponse(model=self._describe(), version=version, contract=contract)

    def _list_models(
        self, request: ListModelsRequest, context: grpc.ServicerContext
    ) -> ListModelsResponse:
        self._admit("ListModels", request, context)
        return ListModelsResponse(models=[self._describe()])

    def _check(self, request: StringValue, context: grpc.ServicerContext) -> Int32Value:
        self._admit("Check", request, context)
        known = {"": True, "heliograph.v1.Classifier": True, f"model/{self.model}": self.serving}
        if request.value not in known:
            raise NotFoundError(f"no service is called {request.value!r}")
        return Int32Value(value=_SERVING if known[request.value] else _NOT_SERVING)


def _method(
    behave: Callable[[Any, grpc.ServicerContext], Message], request: type[Message]
) -> grpc.RpcMethodHandler[Any, Any]:
    """Return the handler of a method."""

    def answer(message: Message, context: grpc.ServicerContext) -> Message:
        try:
            return behave(message, context)
        except HeliographError as error:
            _abort(context, error)

    return grpc.unary_unary_rpc_method_handler(answer, request.FromString, _serialized)


def _stream_method(
    behave: Callable[[Any, grpc.ServicerContext], Iterator[Message]], request: type[Message]
) -> grpc.RpcMethodHandler[Any, Any]:
    """Return the handler of a method that streams both ways."""

    def answer(messages: Iterator[Message], context: grpc.ServicerContext) -> Iterator[Message]:
        try:
            yield from behave(messages, context)
        except HeliographError as error:
            _abort(context, error)

    return grpc.stream_stream_rpc_method_handler(answer, request.FromString, _serialized)


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def _abort(context: grpc.ServicerContext, error: HeliographError) -> NoReturn:
    code, message, trailers = to_abort(error)
    context.set_trailing_metadata(trailers)
    context.abort(code, message)
