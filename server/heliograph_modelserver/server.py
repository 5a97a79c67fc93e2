"""The model server: everything wired together, in reading order."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import grpc
import structlog

from heliograph.errors import AddressInUseError, CancelledError, ConfigurationError, HeliographError
from heliograph_modelserver.diagnostics import Diagnostics

if TYPE_CHECKING:
    from types import TracebackType

    from heliograph_modelserver.core import ServerCore
    from heliograph_modelserver.options import ServerOptions

_log = structlog.get_logger(__name__)

_MAX_MESSAGE_BYTES = 2**31 - 1
_CHANNEL_ARGUMENTS: dict[str, int | str] = {
    "grpc.max_receive_message_length": _MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": _MAX_MESSAGE_BYTES,
    # Otherwise two servers could share a port without anybody noticing.
    "grpc.so_reuseport": 0,
}
"""What --grpc_channel_arguments may override."""

_CONTROL_THREADS = 8
"""Threads for ModelService. A reload that waits for models holds one."""

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
_HEALTH_NAMES = ("", "PredictionService", "ModelService", PREDICTION_SERVICE, MODEL_SERVICE)
"""TensorFlow Serving reports the short names; the full ones are what others look for."""


class ModelServer:
    """A model server in this process.

    Example:
        with ModelServer(ServerOptions(port=0, model_base_path="/models/m")) as server:
            channel = grpc.insecure_channel(server.address)
    """

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._core: ServerCore | None = None
        self._grpc: grpc.Server | None = None
        self._diagnostics = Diagnostics(
            (PREDICTION_SERVICE, MODEL_SERVICE),
            health_names=_HEALTH_NAMES if options.enable_grpc_healthcheck_service else (),
        )
        self._stopping = threading.Event()
        self._stop_lock = threading.Lock()
        self._config_poller: threading.Thread | None = None
        self.address = ""
        """`host:port`, once started; empty without a TCP port."""

    @property
    def core(self) -> ServerCore:
        """The server core, once started."""
        if self._core is None:
            raise ConfigurationError("The model server has not been started.")
        return self._core

    @property
    def socket(self) -> str:
        """`unix:path`; empty without a socket."""
        path = self._options.grpc_socket_path
        return f"unix:{path}" if path else ""

    @property
    def has_requests_left(self) -> bool:
        """Whether requests are still running after a stop whose grace was too short for them."""
        return self._core is not None and self._core.manager.has_requests

    def start(self) -> Self:
        """Load the configured models, then listen.

        The call returns when the server answers. As with TensorFlow Serving, ports stay closed
        until every configured model is there, however long that takes; `stop` from another thread
        ends the waiting.

        Raises:
            HeliographError: When the options, the configuration or a model is wrong, or an address
                is in use.
        """
        # TensorFlow is imported here and nowhere earlier.
        from heliograph_modelserver.config import read_config, single_model_config
        from heliograph_modelserver.core import ServerCore
        from heliograph_modelserver.loader import SavedModelLoader
        from heliograph_modelserver.memory import freeze_imported, use_system_allocator
        from heliograph_modelserver.session import start_runtime

        options = self._options
        if options.model_config_file is not None:
            config = read_config(options.model_config_file)
        else:
            config = single_model_config(options.model_name, options.model_base_path)
        loader = SavedModelLoader(loader_options(options))
        use_system_allocator()
        start_runtime(loader.session_options)
        freeze_imported()
        core = self._core = ServerCore(loader.load, core_options(options))
        try:
            if self._stopping.is_set():
                raise CancelledError("The server was stopped before it had started.")
            core.start(config)
            self._listen(core)
        except BaseException:
            core.stop()
            raise
        if (
            options.model_config_file is not None
            and options.model_config_file_poll_wait_seconds > 0
        ):
            self._config_poller = threading.Thread(
                target=self._poll_config, args=(options.model_config_file,), daemon=True
            )
            self._config_poller.start()
        return self

    def stop(self, grace: float | None = None) -> None:
        """Refuse new requests, let those in flight finish, unload the models. May be called twice.

        Args:
            grace: Seconds to wait for requests in flight; by default the option `drain_seconds`.
        """
        self._stopping.set()
        self._diagnostics.stop()
        if self._core is not None:
            self._core.interrupt()
        if self._grpc is not None:
            # Not under the lock: a second call may shorten the grace of the first.
            self._grpc.stop(self._options.drain_seconds if grace is None else grace).wait()
        with self._stop_lock:
            if self._core is not None:
                self._core.stop()
            if self._config_poller is not None:
                self._config_poller.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _listen(self, core: ServerCore) -> None:
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        from heliograph_modelserver.servicers import ModelServicer, PredictionServicer

        options = self._options
        control = ThreadPoolExecutor(_CONTROL_THREADS, thread_name_prefix="control")
        server = grpc.server(
            ThreadPoolExecutor(max(options.grpc_max_threads, 1), thread_name_prefix="rpc"),
            options=list({**_CHANNEL_ARGUMENTS, **dict(options.grpc_channel_arguments)}.items()),
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionServicer(
                core,
                as_content=options.enable_serialization_as_tensor_content,
                check_method_name=options.enable_signature_method_name_check,
            ),
            server,
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelServicer(core, control), server
        )
        self._diagnostics.add_to(server)
        if options.port is not None:
            port = self._add_port(server, f"{options.host}:{options.port}")
            self.address = f"{options.host}:{port}"
        if options.grpc_socket_path:
            self._add_port(server, self.socket)
        server.start()
        self._grpc = server
        if self._stopping.is_set():
            server.stop(0).wait()

    def _add_port(self, server: Any, address: str) -> int:
        try:
            if self._options.tls is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, _credentials(self._options))
        except RuntimeError as error:
            if self._options.tls is not None:
                raise ConfigurationError(
                    f"Cannot listen on {address} with TLS: are the key and the certificate in "
                    "--ssl_config_file valid, and is the port free?"
                ) from error
            raise AddressInUseError(
                f"Cannot listen on {address}: is another server running there? "
                "Choose another --port or --grpc_socket_path."
            ) from error
        return int(port)

    def _poll_config(self, path: Path) -> None:
        """Read the configuration file again and again; a bad one is logged and ignored."""
        from heliograph_modelserver.config import read_config

        while not self._stopping.wait(self._options.model_config_file_poll_wait_seconds):
            try:
                self.core.reload(read_config(path), self._stopping.is_set)
            except HeliographError as error:
                _log.error(
                    "config_file_ignored", path=str(path), code=error.status, detail=error.message
                )


def loader_options(options: ServerOptions) -> Any:
    """Derive the loader's options."""
    from heliograph_modelserver.loader import LoaderOptions
    from heliograph_modelserver.session import SessionOptions

    return LoaderOptions(
        SessionOptions(
            options.tensorflow_intra_op_parallelism or options.tensorflow_session_parallelism,
            options.tensorflow_inter_op_parallelism or options.tensorflow_session_parallelism,
            options.per_process_gpu_memory_fraction,
        ),
        tuple(options.saved_model_tags),
        options.enable_model_warmup,
        max(options.num_request_iterations_for_warmup, 1),
    )


def core_options(options: ServerOptions) -> Any:
    """Derive the core's options."""
    from heliograph_modelserver.core import CoreOptions
    from heliograph_modelserver.manager import LoadOptions

    return CoreOptions(
        LoadOptions(
            options.max_num_load_retries,
            options.load_retry_interval_micros / 1e6,
            max(options.num_load_threads, 1),
            max(options.num_unload_threads, 1),
        ),
        os.cpu_count() or 1,
        options.file_system_poll_wait_seconds,
        options.allow_version_labels_for_unavailable_models,
        options.isolate_models,
    )


def _credentials(options: ServerOptions) -> grpc.ServerCredentials:
    tls = options.tls
    if tls is None:
        raise ConfigurationError("The server has no certificate.")
    return grpc.ssl_server_credentials(
        [(tls.server_key, tls.server_cert)],
        root_certificates=tls.custom_ca if tls.client_verify else None,
        require_client_auth=tls.client_verify,
    )
