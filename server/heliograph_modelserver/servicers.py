"""The gRPC services: route, call one function, translate its error."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from tensorflow_serving.apis import model_management_pb2

from heliograph.errors import (
    CancelledError,
    DeadlineExceededError,
    HeliographError,
    InvalidArgumentError,
)
from heliograph_modelserver.classify import classify
from heliograph_modelserver.metadata import fill_status, model_metadata, model_status
from heliograph_modelserver.multi_inference import first_model_spec, multi_inference
from heliograph_modelserver.predict import predict
from heliograph_modelserver.regress import regress

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

    from heliograph_modelserver.core import ServerCore

_log = structlog.get_logger(__name__)

MAX_MESSAGE_LENGTH = 1024
"""Longer error texts are cut, as in TensorFlow Serving's `model_servers/grpc_status_util.cc`."""

_FOREVER = 10 * 365 * 24 * 3600.0
"""Seconds. grpc reports a call without a deadline as one that ends in the far future."""

_DEADLINE_MESSAGE = "Timed out waiting for notification"


class PredictionServicer:
    """`tensorflow.serving.PredictionService`."""

    def __init__(
        self, core: ServerCore, *, as_content: bool = False, check_method_name: bool = True
    ) -> None:
        """Create the service.

        Args:
            core: Where the models are.
            as_content: Answer Predict with `tensor_content` instead of typed fields.
            check_method_name: Whether a signature's method name must fit the RPC.
        """
        self._core = core
        self._as_content = as_content
        self._check_method_name = check_method_name

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Run a signature on tensors."""

        def answer() -> Any:
            with self._core.handle(_spec(request)) as handle:
                return predict(
                    handle.servable,
                    request,
                    time_left(context),
                    as_content=self._as_content,
                    check_method_name=self._check_method_name,
                )

        return answering(answer, context)

    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Run a classification signature on examples."""
        return answering(lambda: self._on_examples(classify, request, context), context)

    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Run a regression signature on examples."""
        return answering(lambda: self._on_examples(regress, request, context), context)

    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Run several signatures on the same examples."""

        def answer() -> Any:
            with self._core.handle(first_model_spec(request)) as handle:
                return multi_inference(
                    handle.servable,
                    request,
                    time_left(context),
                    check_method_name=self._check_method_name,
                )

        return answering(answer, context)

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Describe the signatures of a version."""
        return answering(lambda: model_metadata(self._core, request), context)

    def _on_examples(
        self, run: Callable[..., Any], request: Any, context: grpc.ServicerContext
    ) -> Any:
        with self._core.handle(_spec(request)) as handle:
            return run(
                handle.servable,
                request,
                time_left(context),
                check_method_name=self._check_method_name,
            )


class ModelServicer:
    """`tensorflow.serving.ModelService`."""

    def __init__(self, core: ServerCore, pool: ThreadPoolExecutor) -> None:
        """Create the service.

        Args:
            core: Where the models are.
            pool: Runs these RPCs, so that a reload which waits for models takes no thread from
                Predict.
        """
        self.GetModelStatus = Pooled(
            lambda request, context: answering(lambda: model_status(core, request), context), pool
        )
        self.HandleReloadConfigRequest = Pooled(
            lambda request, context: answering(lambda: _reload(core, request, context), context),
            pool,
        )


class Pooled:
    """An RPC's behaviour with a thread pool of its own, which grpc finds by its attribute."""

    def __init__(self, behaviour: Callable[[Any, Any], Any], pool: ThreadPoolExecutor) -> None:
        self._behaviour = behaviour
        self.experimental_thread_pool = pool

    def __call__(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answer the RPC."""
        return self._behaviour(request, context)


def answering(answer: Callable[[], Any], context: grpc.ServicerContext) -> Any:
    """Return an answer or end the call with the status of its error.

    What nobody expected is logged under a request id and reaches the caller as INTERNAL without
    details.
    """
    try:
        return answer()
    except HeliographError as error:
        code, message = error.status, error.message
    except Exception:  # noqa: BLE001 - no text of an unexpected error goes on the wire
        request_id = uuid.uuid4().hex
        _log.exception("unexpected_error", request_id=request_id)
        code, message = "INTERNAL", f"Internal error; the server's log has it under {request_id}."
    if len(message) > MAX_MESSAGE_LENGTH:
        message = message[:MAX_MESSAGE_LENGTH] + "...TRUNCATED"
    return context.abort(grpc.StatusCode[code], message)


def time_left(context: grpc.ServicerContext) -> float | None:
    """Seconds until the call's deadline; None without one.

    Raises:
        CancelledError: When the caller has gone, so that nothing is computed for nobody.
        DeadlineExceededError: When the deadline has passed.
    """
    if not context.is_active():
        raise CancelledError("The call was cancelled before it ran.")
    left = context.time_remaining()
    if left is None or left > _FOREVER:
        return None
    if left <= 0:
        raise DeadlineExceededError(_DEADLINE_MESSAGE)
    return float(left)


def _spec(request: Any) -> Any:
    if not request.HasField("model_spec"):
        raise InvalidArgumentError("Missing ModelSpec")
    return request.model_spec


def _reload(core: ServerCore, request: Any, context: grpc.ServicerContext) -> Any:
    if request.config.WhichOneof("config") != "model_config_list":
        raise InvalidArgumentError(
            "ServerModelConfig type not supported by HandleReloadConfigRequest."
            " Only ModelConfigList is currently supported"
        )
    context.add_callback(core.monitor.wake)
    core.reload(request.config, lambda: not context.is_active())
    response = model_management_pb2.ReloadConfigResponse()
    response.status.SetInParent()
    fill_status(response.status, None)
    return response
