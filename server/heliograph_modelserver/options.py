"""What a model server can be told, validated and frozen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from heliograph.errors import ConfigurationError

DEFAULT_PORT = 8500
"""TensorFlow Serving's gRPC port."""


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """PEM texts of a server that speaks TLS."""

    server_key: bytes
    server_cert: bytes
    custom_ca: bytes | None = None
    """Certificates by which client certificates are verified."""
    client_verify: bool = False
    """Whether clients must show a certificate."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Options of a ModelServer, named after TensorFlow Serving's flags where it has one."""

    host: str = "127.0.0.1"
    """Address to listen on. TensorFlow Serving listens on every interface, this server does not."""
    port: int | None = DEFAULT_PORT
    """TCP port; 0 takes a free one, None listens on the socket only."""
    grpc_socket_path: str = ""
    """Unix socket to listen on, beside the port."""
    model_name: str = "default"
    model_base_path: str = ""
    model_config_file: Path | None = None
    """Text-format ModelServerConfig; used instead of `model_name` and `model_base_path`."""
    model_config_file_poll_wait_seconds: int = 0
    file_system_poll_wait_seconds: float = 1.0
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    num_load_threads: int = 0
    """0 loads one version at a time."""
    num_unload_threads: int = 0
    allow_version_labels_for_unavailable_models: bool = False
    isolate_models: bool = True
    """Whether one bad model leaves the others alone, at start and in every poll."""
    saved_model_tags: Sequence[str] = ("serve",)
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 0
    enable_signature_method_name_check: bool = True
    enable_serialization_as_tensor_content: bool = False
    tensorflow_session_parallelism: int = 0
    tensorflow_intra_op_parallelism: int = 0
    tensorflow_inter_op_parallelism: int = 0
    per_process_gpu_memory_fraction: float = 0.0
    grpc_max_threads: int = field(default_factory=lambda: 4 * (os.cpu_count() or 1))
    """Requests that run at once; more wait."""
    grpc_channel_arguments: Sequence[tuple[str, int | str]] = ()
    tls: TlsOptions | None = None
    enable_grpc_healthcheck_service: bool = False
    drain_seconds: float = 30.0
    """How long requests in flight may take after a stop."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigurationError: Says which flag to change.
        """
        if self.port is None and not self.grpc_socket_path:
            raise ConfigurationError(
                "Give --port or --grpc_socket_path: there is nothing to listen on."
            )
        if self.port is not None and not 0 <= self.port < 2**16:
            raise ConfigurationError(f"--port={self.port} is not a port.")
        if self.model_config_file is None and not self.model_base_path:
            raise ConfigurationError(
                "Give --model_base_path or --model_config_file: there is no model to serve."
            )
        separate = self.tensorflow_intra_op_parallelism or self.tensorflow_inter_op_parallelism
        if separate and self.tensorflow_session_parallelism:
            raise ConfigurationError(
                "Give either --tensorflow_session_parallelism or --tensorflow_intra_op_parallelism "
                "and --tensorflow_inter_op_parallelism, not both."
            )
