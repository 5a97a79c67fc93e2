"""Clients of TensorFlow Serving for threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

from heliograph.options import (
    DEFAULT_KEEPALIVE,
    DEFAULT_RETRY,
    KeepaliveOptions,
    RetryOptions,
    TlsOptions,
)
from heliograph.tfserving import models, prediction
from heliograph.tfserving.connection import DEFAULT_TARGET, endpoint
from heliograph.tfserving.models import ModelMetadata, VersionStatus
from heliograph.tfserving.prediction import Prediction
from heliograph.tfserving.v1.model_pb2 import (
    GetModelStatusResponse,
    ModelConfigList,
    ReloadConfigResponse,
)
from heliograph.tfserving.v1.prediction_pb2 import GetModelMetadataResponse, PredictResponse
from heliograph.transport import Transport

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class PredictionClient:
    """Calls TensorFlow Serving's PredictionService, arrays in and out. Threads may share it."""

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout: float = 10.0,
        retry: RetryOptions = DEFAULT_RETRY,
        tls: TlsOptions | None = None,
        keepalive: KeepaliveOptions = DEFAULT_KEEPALIVE,
        channels: int = 1,
        wait_for_ready: bool = False,
    ) -> None:
        """Prepare to call a model server; it is connected with the first call.

        Args:
            target: gRPC target: `host:port` or `unix:/path`.
            timeout: Seconds that a call may take unless it says otherwise.
            retry: Retries of failed calls.
            tls: Encryption; None speaks plain text.
            keepalive: Pings of a silent connection.
            channels: Connections, used in turn.
            wait_for_ready: Whether a call waits for an unreachable server until its deadline.

        Raises:
            ConfigurationError: An option makes no sense.
        """
        self._transport = Transport(
            endpoint(
                target,
                timeout=timeout,
                retry=retry,
                tls=tls,
                keepalive=keepalive,
                channels=channels,
                wait_for_ready=wait_for_ready,
            )
        )
        unary = self._transport.unary
        self._predict = unary(prediction.PREDICT, PredictResponse.FromString)
        self._metadata = unary(models.METADATA, GetModelMetadataResponse.FromString)
        self._status = unary(models.STATUS, GetModelStatusResponse.FromString)

    def predict(
        self,
        model: str,
        inputs: Mapping[str, ArrayLike],
        *,
        version: int | None = None,
        version_label: str | None = None,
        signature: str = "serving_default",
        output_filter: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Prediction:
        """Run a signature.

        Args:
            model: Name of the model.
            inputs: Arrays by the names of the signature's inputs, the batch in dimension 0.
            version: Exact version; None for the latest that is loaded.
            version_label: Name for a version in the server's configuration, instead of `version`.
            signature: Key of the signature.
            output_filter: Names of the outputs wanted; empty for all.
            timeout: Seconds; None for the client's own.

        Returns:
            Arrays by the names of the outputs, and the version that ran.

        Raises:
            HeliographError: The class that fits the server's status.
        """
        request = prediction.predict_request(
            model,
            inputs,
            version=version,
            version_label=version_label,
            signature=signature,
            output_filter=output_filter,
        )
        return prediction.prediction(self._predict(request, timeout))

    def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        version_label: str | None = None,
        timeout: float | None = None,
    ) -> ModelMetadata:
        """Return the signatures of a version; arguments and errors as for `predict`."""
        request = models.metadata_request(model, version, version_label)
        return models.metadata(self._metadata(request, timeout))

    def status(
        self, model: str, *, version: int | None = None, timeout: float | None = None
    ) -> tuple[VersionStatus, ...]:
        """Return the state of a model's versions, the newest first, or of one version.

        Raises:
            NotFoundError: The server knows no such model or version.
        """
        return models.statuses(self._status(models.status_request(model, version), timeout))

    def close(self) -> None:
        """Close the connections; calls still waiting raise CancelledError."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ModelServiceClient:
    """Calls TensorFlow Serving's ModelService: which versions it holds. Threads may share it."""

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout: float = 10.0,
        retry: RetryOptions = DEFAULT_RETRY,
        tls: TlsOptions | None = None,
        keepalive: KeepaliveOptions = DEFAULT_KEEPALIVE,
        wait_for_ready: bool = False,
    ) -> None:
        """Prepare to call a model server; arguments as for `PredictionClient`."""
        self._transport = Transport(
            endpoint(
                target,
                timeout=timeout,
                retry=retry,
                tls=tls,
                keepalive=keepalive,
                channels=1,
                wait_for_ready=wait_for_ready,
            )
        )
        unary = self._transport.unary
        self._status = unary(models.STATUS, GetModelStatusResponse.FromString)
        self._reload = unary(models.RELOAD, ReloadConfigResponse.FromString)

    def status(
        self, model: str, *, version: int | None = None, timeout: float | None = None
    ) -> tuple[VersionStatus, ...]:
        """Return the state of a model's versions, the newest first, or of one version.

        Raises:
            NotFoundError: The server knows no such model or version.
        """
        return models.statuses(self._status(models.status_request(model, version), timeout))

    def reload_config(self, config: ModelConfigList, *, timeout: float | None = None) -> None:
        """Replace the server's whole configuration.

        The call returns when new models are loaded, which a timeout says nothing about: after
        DeadlineExceededError or UnavailableError, read `status`.

        Raises:
            HeliographError: The configuration was refused, or its outcome is unknown.
        """
        models.check_reloaded(self._reload(models.reload_request(config), timeout))

    def close(self) -> None:
        """Close the connections; calls still waiting raise CancelledError."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
