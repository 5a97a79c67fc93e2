"""The settings of the gateway: validated once, frozen, passed down.

They come from flags, then the environment (`HELIOGRAPH_LISTEN`, `HELIOGRAPH_MAX_IN_FLIGHT`, …),
then a TOML file with the same names, then the defaults here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from heliograph.errors import ConfigurationError

MEBIBYTE = 1024 * 1024


_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


def _host_and_port(address: str) -> str:
    host, _, port = address.rpartition(":")
    if not host or not _PORT.fullmatch(port) or int(port) > 65535:
        raise ValueError(f"{address!r} is no HOST:PORT")
    return address


def _listen_address(address: str) -> str:
    return address if address.startswith("unix:") else _host_and_port(address)


def _backend_address(address: str) -> str:
    scheme, separator, rest = address.partition("://")
    if scheme != "tfs" or not separator or not rest:
        raise ValueError(f"{address!r} is no tfs://HOST:PORT or tfs:///PATH/OF/SOCKET")
    return address


def _words(value: object) -> object:
    """Split what the environment gives as one string: words with commas between."""
    if isinstance(value, str):
        return [word.strip() for word in value.split(",") if word.strip()]
    return value


HostAndPort = Annotated[str, AfterValidator(_host_and_port)]
ListenAddress = Annotated[str, AfterValidator(_listen_address)]
BackendAddress = Annotated[str, AfterValidator(_backend_address)]


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix="HELIOGRAPH_", frozen=True, extra="forbid", validate_default=True
    )

    repository: Path
    """Folder of models, `<repository>/<model>/<version>/`."""
    backend: Annotated[tuple[BackendAddress, ...], NoDecode, BeforeValidator(_words)] = ()
    """TensorFlow Servings, all with the same models; empty: a model server of our own."""
    backend_device: Literal["cpu", "gpu"] = "cpu"
    """Class of device the backends compute on: it chooses the tolerance of the golden check."""
    auto_promote: bool = False
    """Follow new versions: check each against its golden images, then make it stable."""
    poll_interval: float = Field(1.0, gt=0)
    """Seconds between two looks at the repository."""

    workers: int = Field(1, ge=1, le=256)
    """Processes that answer, each with its own event loop and limits, on one port."""

    listen: ListenAddress = "127.0.0.1:9000"
    """Address of the gRPC services."""
    metrics_listen: HostAndPort | Literal[""] = "127.0.0.1:9002"
    """Address of `/metrics`; empty: none."""
    insecure: bool = False
    """Allow an address beyond loopback without TLS and without tokens."""
    tls_certificate: Path | None = None
    """PEM file with the server's certificate chain."""
    tls_key: Path | None = None
    """PEM file with the server's private key."""
    tls_client_ca: Path | None = None
    """PEM file with the authorities of client certificates, which are then required."""
    token_file: Path | None = None
    """File with one bearer token per line; a call then needs one of them."""
    reflection: bool = True
    """Answer gRPC server reflection."""
    open_inference: bool = True
    """Answer the Open Inference Protocol as well, which Triton's and KServe's clients speak."""

    max_image_bytes: int = Field(10 * MEBIBYTE, ge=1)
    """Largest encoded image."""
    max_image_pixels: int = Field(50_000_000, ge=1)
    """Largest width × height of an encoded image."""
    image_formats: Annotated[
        tuple[Literal["JPEG", "PNG"], ...], NoDecode, BeforeValidator(_words), Field(min_length=1)
    ] = ("JPEG", "PNG")
    """Formats that are decoded."""
    max_message_bytes: int = Field(64 * MEBIBYTE, ge=MEBIBYTE)
    """Largest gRPC message: a whole batch of images."""
    max_batch_images: int = Field(256, ge=1)
    """Largest number of images in one BatchClassify, or in one message of StreamClassify."""
    stream_window: int = Field(128, ge=1)
    """Images that one StreamClassify may have in the gateway; more are not read until then."""
    max_in_flight: int = Field(1024, ge=1)
    """Images that may be inside a worker at once; more are refused with RESOURCE_EXHAUSTED."""
    max_connection_streams: int = Field(512, ge=1)
    """Calls that one connection may have open at once."""
    decode_threads: int = Field(2, ge=1)
    """Threads of a worker that decode large images."""

    max_batch_size: int = Field(64, ge=1)
    """Largest batch that a backend is asked for."""
    allowed_batch_sizes: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...], NoDecode, BeforeValidator(_words)
    ] = ()
    """Sizes that batches are padded to, ascending, the last one `max_batch_size`, as in TensorFlow
    Serving's batching parameters; empty: batches have any size."""
    max_queued: int = Field(512, ge=1)
    """Images that may wait for one model version, per worker; more are refused with
    RESOURCE_EXHAUSTED."""
    backend_batches_in_flight: int = Field(2, ge=1)
    """Batches of one model version that one backend may work on at once, per worker. One is sent as
    soon as the backend is idle, the others only when they are full."""
    model_server_threads: int = Field(0, ge=0)
    """Threads that the embedded model server computes one operation of a batch with; 0 leaves it to
    TensorFlow, which takes all cores. 1 is faster for small networks: see docs/gateway.md."""
    backend_timeout: float = Field(30.0, gt=0)
    """Longest time in seconds that one batch may take, whatever the callers' deadlines."""

    drain_timeout: float = Field(30.0, ge=0)
    """Seconds that calls in flight get to finish after SIGTERM."""
    start_timeout: float = Field(120.0, gt=0)
    """Seconds that the model server gets to start."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe event that is logged."""
    log_format: Literal["auto", "console", "json"] = "auto"
    """How events are logged; auto: for people on a terminal, as JSON elsewhere."""
    access_log: bool = False
    """Log every call, not only those that failed on our side."""

    @model_validator(mode="after")
    def _check_batch_sizes(self) -> Settings:
        sizes = self.allowed_batch_sizes
        if sizes and (sorted(set(sizes)) != list(sizes) or sizes[-1] != self.max_batch_size):
            raise ValueError(
                f"allowed_batch_sizes must ascend and end with max_batch_size, "
                f"{self.max_batch_size}"
            )
        return self

    @model_validator(mode="after")
    def _check_safety(self) -> Settings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        if self.tls_client_ca and not self.tls_certificate:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key")
        if self.workers > 1 and self.listen.startswith("unix:"):
            raise ValueError(
                f"{self.workers} workers cannot share {self.listen}: the kernel spreads "
                "connections over several listeners on TCP only; set workers to 1, or listen to "
                "HOST:PORT"
            )
        if is_local(self.listen):
            return self
        if self.token_file and not self.tls_certificate:
            raise ValueError(
                f"tokens would travel to {self.listen} in the clear: set tls_certificate and "
                "tls_key"
            )
        if self.insecure:
            return self
        if not self.tls_certificate:
            raise ValueError(
                f"{self.listen} can be reached from other machines: set tls_certificate and "
                "tls_key, or say insecure"
            )
        if not (self.token_file or self.tls_client_ca):
            raise ValueError(
                f"{self.listen} can be reached from other machines: set token_file or "
                "tls_client_ca, or say insecure"
            )
        return self


def load_settings(config: Path | None, flags: Mapping[str, Any]) -> Settings:
    """Read the settings.

    Args:
        config: TOML file, or None.
        flags: Settings given on the command line, by name; they win.

    Raises:
        ConfigurationError: A setting is wrong; the message names each one.
    """
    if config is not None and not config.is_file():
        raise ConfigurationError(f"there is no configuration file {config}")

    class FileSettings(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            file = TomlConfigSettingsSource(settings_cls, config)
            return init_settings, env_settings, file

    try:
        return FileSettings(**flags)
    except ValidationError as error:
        problems = "; ".join(_describe(problem) for problem in error.errors())
        raise ConfigurationError(problems) from error
    except (OSError, ValueError) as error:  # The TOML file cannot be read, or does not parse.
        raise ConfigurationError(f"cannot read {config}: {error}") from error


def _describe(problem: ErrorDetails) -> str:
    name = ".".join(map(str, problem["loc"]))
    match problem["type"]:
        case "missing":
            return f"{name} is not set; set it by --{name}, HELIOGRAPH_{name.upper()} or --config"
        case "extra_forbidden":
            return f"there is no setting {name}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{name}: {message}" if name else message


def is_local(address: str) -> bool:
    """Return whether an address can be reached from this machine alone."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
