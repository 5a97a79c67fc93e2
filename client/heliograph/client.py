"""The client for threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, Self

from google.protobuf.wrappers_pb2 import Int32Value

from heliograph import classifier_calls as calls
from heliograph import health
from heliograph.batches import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_BATCHES_IN_FLIGHT,
    Batch,
    BatchBuilder,
    check_in_flight,
)
from heliograph.endpoint import Endpoint, Token
from heliograph.errors import HeliographError, InvalidImageError
from heliograph.images import LoadedImage, load_image
from heliograph.options import (
    DEFAULT_KEEPALIVE,
    DEFAULT_RETRY,
    KeepaliveOptions,
    RetryOptions,
    TlsOptions,
)
from heliograph.results import Failure, ModelDetails, ModelInfo, Result
from heliograph.transport import PendingCall, Transport
from heliograph.v1.classifier_pb2 import (
    BatchClassifyResponse,
    ClassifyResponse,
    GetModelResponse,
    ListModelsResponse,
)

if TYPE_CHECKING:
    from heliograph.images import ImageInput

DEFAULT_TARGET: Final = "localhost:9000"
"""Where the gateway listens unless it is told otherwise."""


class Client:
    """Classifies images through a gateway. Threads may share one client.

    Every method raises a HeliographError of the class that fits the status, or of the reason where
    the gateway names one: see `heliograph.errors`.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        model: str | None = None,
        timeout: float = 10.0,
        retry: RetryOptions = DEFAULT_RETRY,
        tls: TlsOptions | None = None,
        token: Token = None,
        keepalive: KeepaliveOptions = DEFAULT_KEEPALIVE,
        channels: int = 1,
        wait_for_ready: bool = False,
    ) -> None:
        """Prepare to call a gateway; it is connected with the first call.

        Args:
            target: gRPC target: `host:port`, `dns:///host:port` (all addresses in turn) or
                `unix:/path`.
            model: Model asked where a call names none; None for the only one served.
            timeout: Seconds that a call may take unless it says otherwise, retries included.
            retry: Retries of failed calls.
            tls: Encryption; None speaks plain text.
            token: Bearer token, or a function that returns the one in force now. Only over TLS,
                loopback or a unix socket.
            keepalive: Pings of a silent connection.
            channels: Connections, used in turn; one connection reaches one worker of a gateway.
            wait_for_ready: Whether a call waits for an unreachable gateway until its deadline
                instead of failing at once.

        Raises:
            ConfigurationError: An option makes no sense, or a certificate cannot be read.
        """
        self._model = model
        self._transport = Transport(
            Endpoint(
                target,
                (calls.SERVICE,),
                timeout=timeout,
                retry=retry,
                tls=tls,
                token=token,
                keepalive=keepalive,
                channels=channels,
                wait_for_ready=wait_for_ready,
            )
        )
        unary = self._transport.unary
        self._classify = unary(calls.CLASSIFY, ClassifyResponse.FromString)
        self._batch_classify = unary(calls.BATCH_CLASSIFY, BatchClassifyResponse.FromString)
        self._get_model = unary(calls.GET_MODEL, GetModelResponse.FromString)
        self._list_models = unary(calls.LIST_MODELS, ListModelsResponse.FromString)
        self._check = unary(health.CHECK, Int32Value.FromString)

    def classify(
        self,
        image: ImageInput,
        *,
        model: str | None = None,
        version: int | None = None,
        version_label: str | None = None,
        top_k: int = calls.DEFAULT_TOP_K,
        min_score: float = 0.0,
        timeout: float | None = None,
    ) -> Result:
        """Classify one image.

        Args:
            image: A path, the bytes of a JPEG or PNG file, a binary file, a Pillow image, a uint8
                array [height, width] or [height, width, channels], or a PreparedImage.
            model: Model asked; None for the client's own.
            version: Exact version that must answer; None for the stable one.
            version_label: Name for a version in the routing table, instead of `version`.
            top_k: Classes wanted, best first; more than the model has means all.
            min_score: Leaves out classes that score less, in [0, 1].
            timeout: Seconds; None for the client's own.

        Raises:
            InvalidImageError: The image cannot be read or classified.
            HeliographError: See the class.
        """
        asked = calls.question(model or self._model, version, version_label, top_k, min_score)
        request = calls.classify_request(asked, load_image(image))
        return calls.result(self._classify(request, timeout))

    def classify_many(
        self,
        images: Iterable[ImageInput],
        *,
        model: str | None = None,
        version: int | None = None,
        version_label: str | None = None,
        top_k: int = calls.DEFAULT_TOP_K,
        min_score: float = 0.0,
        timeout: float | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        batches_in_flight: int = DEFAULT_BATCHES_IN_FLIGHT,
    ) -> Iterator[Result | Failure]:
        """Classify any number of images, in order and in bounded memory.

        Images are read as they are needed, and sent in batches of up to 32 images and 3 MiB. An
        image that cannot be classified has a Failure in its place; so has every image of a batch
        whose call fails for a reason that may be over by the next one (no connection, overload,
        deadline). Other errors of a whole call are raised.

        Args:
            images: Images as for `classify`.
            model: As for `classify`.
            version: As for `classify`.
            version_label: As for `classify`.
            top_k: As for `classify`.
            min_score: As for `classify`.
            timeout: Seconds for each batch; None for the client's own.
            batch_size: Most images in a batch; the gateway has a limit of its own.
            batches_in_flight: Most batches waiting for their answers at a time.

        Raises:
            HeliographError: See above; raised where the iterator is advanced.
        """
        asked = calls.question(model or self._model, version, version_label, top_k, min_score)
        builder = BatchBuilder(asked, batch_size)
        return self._run_batches(images, builder, timeout, check_in_flight(batches_in_flight))

    def _run_batches(
        self,
        images: Iterable[ImageInput],
        builder: BatchBuilder,
        timeout: float | None,
        batches_in_flight: int,
    ) -> Iterator[Result | Failure]:
        pending: deque[tuple[Batch, PendingCall[BatchClassifyResponse] | None]] = deque()
        try:
            for batch in _batches(images, builder):
                while len(pending) >= batches_in_flight or (pending and _is_done(pending[0][1])):
                    yield from _outcomes(*pending.popleft())
                call = self._batch_classify.start(batch.request, timeout) if batch.request else None
                pending.append((batch, call))
            while pending:
                yield from _outcomes(*pending.popleft())
        finally:
            for _, call in pending:
                if call is not None:
                    call.cancel()

    def models(self, *, timeout: float | None = None) -> tuple[ModelInfo, ...]:
        """Return every model the gateway is configured with, in order of name."""
        return calls.model_infos(self._list_models(calls.models_request(), timeout))

    def model(
        self,
        name: str | None = None,
        *,
        version: int | None = None,
        version_label: str | None = None,
        timeout: float | None = None,
    ) -> ModelDetails:
        """Return a model and the contract of one of its versions.

        Args:
            name: Name of the model; None for the client's own.
            version: Exact version; None for the stable one.
            version_label: Name for a version in the routing table, instead of `version`.
            timeout: Seconds; None for the client's own.

        Raises:
            ModelNotFoundError: There is no such model.
            HeliographError: See the class.
        """
        request = calls.model_request(name or self._model, version, version_label)
        return calls.model_details(self._get_model(request, timeout))

    def health(self, model: str | None = None, *, timeout: float | None = None) -> bool:
        """Return whether the gateway, or one model behind it, answers requests now.

        Args:
            model: Name of the model; None for the gateway as a whole.
            timeout: Seconds; None for the client's own.

        Raises:
            NotFoundError: The gateway knows no such model.
            UnavailableError: The gateway cannot be reached.
        """
        return health.is_serving(self._check(health.check_request(model), timeout))

    def close(self) -> None:
        """Close the connections; calls still waiting raise CancelledError."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _batches(images: Iterable[ImageInput], builder: BatchBuilder) -> Iterator[Batch]:
    for image in images:
        yield from builder.add(_load(image))
    yield from builder.finish()


def _load(image: ImageInput) -> LoadedImage | Failure:
    try:
        return load_image(image)
    except InvalidImageError as error:
        return Failure(error)


def _is_done(call: PendingCall[BatchClassifyResponse] | None) -> bool:
    return call is None or call.done()


def _outcomes(
    batch: Batch, call: PendingCall[BatchClassifyResponse] | None
) -> list[Result | Failure]:
    try:
        return batch.answered(BatchClassifyResponse() if call is None else call.result())
    except HeliographError as error:
        return batch.unanswered(error)
