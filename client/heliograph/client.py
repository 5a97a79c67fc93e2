"""The client for threads."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, Self

from google.protobuf.wrappers_pb2 import Int32Value

from heliograph import classifier_calls as calls
from heliograph import health
from heliograph.endpoint import Endpoint, Token, seconds
from heliograph.errors import HeliographError, VersionNotFoundError
from heliograph.images import PreparedImage, load_image, read_image
from heliograph.ledger import DEFAULT_WINDOW, Ledger, failure
from heliograph.local_preparation import Pin, Pins, Prepare, pins, prepare_again
from heliograph.local_preparation import prepare as prepare_image
from heliograph.options import (
    DEFAULT_KEEPALIVE,
    DEFAULT_RETRY,
    KeepaliveOptions,
    RetryOptions,
    TlsOptions,
)
from heliograph.results import Failure, ModelDetails, ModelInfo, Result
from heliograph.stream_calls import stream_methods
from heliograph.streams import Exchange, StreamSupport
from heliograph.transport import Transport
from heliograph.under_way import Asked, Item
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
        prepare: Prepare = "gateway",
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
            prepare: Where images are prepared: by the gateway, or by this client with the model's
                own recipe where that makes them smaller (needs the extra `[image]`). A prepared
                image is sent to the version that the recipe is of.

        Raises:
            ConfigurationError: An option makes no sense, or a certificate cannot be read.
            MissingExtraError: Preparing images needs packages that are not installed.
        """
        self._model = model
        self._pins = pins(prepare)
        self._transport = Transport(
            Endpoint(
                target,
                (calls.SERVICE,),
                streams=(calls.STREAM_CLASSIFY,),
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
        self._streams = stream_methods(self._transport, calls.STREAM_CLASSIFY)
        self._stream_support = StreamSupport()
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
        asked = Asked(model or self._model, version, version_label, top_k, min_score)
        calls.question(*asked)
        item = self._item(image, asked)
        while True:
            request = calls.classify_request(calls.question(*item.asked), item.image)
            try:
                return calls.result(self._classify(request, timeout))
            except VersionNotFoundError:
                if item.source is None:
                    raise
                item = self._renew(item)

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
        window: int = DEFAULT_WINDOW,
    ) -> Iterator[Result | Failure]:
        """Classify any number of images, in order and in bounded memory.

        Images are read as they are needed and sent on a stream, small ones several to a message. An
        image that cannot be classified has a Failure in its place; so has one without an answer
        after its last attempt or its deadline. When the stream breaks, it is opened again, and what
        was not answered is sent again as the retry options say. Errors that every other image would
        meet too, such as an unknown model or a wrong token, are raised.

        Args:
            images: Images as for `classify`.
            model: As for `classify`.
            version: As for `classify`.
            version_label: As for `classify`.
            top_k: As for `classify`.
            min_score: As for `classify`.
            timeout: Seconds for each image, retries included; None for the client's own.
            window: Most images that are read and whose results were not given out, over all
                channels; fewer while answers are slow, or when they make up 32 MiB.

        Raises:
            HeliographError: See above; raised where the iterator is advanced.
        """
        asked = Asked(model or self._model, version, version_label, top_k, min_score)
        calls.question(*asked)
        endpoint = self._transport.endpoint
        ledger = Ledger(
            endpoint.retry,
            endpoint.timeout if timeout is None else seconds(timeout),
            window=window,
            lanes=endpoint.channels,
            target=endpoint.target,
        )
        exchange = Exchange(
            ledger,
            self._streams,
            self._batch_classify,
            self._stream_support,
            endpoint.target,
            self._renew,
        )
        return exchange.results(self._load(image, asked) for image in images)

    def _load(self, image: ImageInput, asked: Asked) -> Item | Failure:
        try:
            return self._item(image, asked)
        except HeliographError as error:
            return failure(error)

    def _item(self, image: ImageInput, asked: Asked) -> Item:
        if self._pins is None or isinstance(image, PreparedImage):
            return Item(asked, load_image(image))
        return prepare_image(read_image(image), asked, self._pin(self._pins, asked))

    def _pin(self, known: Pins, asked: Asked) -> Pin:
        """Return the version that answers, and its recipe."""
        pin = known.find(asked, time.monotonic())
        if pin is None:
            request = calls.model_request(asked.model, asked.version, asked.version_label)
            pin = known.learn(asked, self._get_model(request), time.monotonic())
        return pin

    def _renew(self, item: Item) -> Item:
        """Prepare an image again whose version is not served any more."""
        if self._pins is None or item.origin is None:
            raise ValueError("the image was not prepared here")
        self._pins.outdate(item.origin, item.asked.version)
        return prepare_again(item, self._pin(self._pins, item.origin))

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
