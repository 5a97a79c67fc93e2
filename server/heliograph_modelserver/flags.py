"""TensorFlow Serving's flags: every one of its main.cc, and the few that only this server has."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heliograph.errors import ConfigurationError
from heliograph_modelserver.options import DEFAULT_PORT, ServerOptions
from heliograph_modelserver.tls import read_tls_options

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag; `has_effect` is false for those that are accepted and logged only."""

    name: str
    default: Any
    help: str
    has_effect: bool = True


GROUPS: dict[str, tuple[Flag, ...]] = {
    "where to listen": (
        Flag(
            "host",
            "127.0.0.1",
            "address to listen on. TensorFlow Serving has no such flag and listens on 0.0.0.0; "
            "this is the one default that differs",
        ),
        Flag("port", DEFAULT_PORT, "TCP port for gRPC; 0 listens on --grpc_socket_path only"),
        Flag("grpc_socket_path", "", "unix socket to listen on, beside the port"),
        Flag("ssl_config_file", "", "text-format SSLConfig with inline PEM; serves TLS"),
        Flag("grpc_channel_arguments", "", "comma separated key=value pairs for the gRPC server"),
        Flag("grpc_max_threads", 4 * (os.cpu_count() or 1), "requests that run at once; more wait"),
        Flag("enable_grpc_healthcheck_service", False, "serve grpc.health.v1.Health"),
    ),
    "which models": (
        Flag("model_name", "default", "name of the model; ignored with --model_config_file"),
        Flag("model_base_path", "", "directory with a directory for each version"),
        Flag("model_config_file", "", "text-format ModelServerConfig with one or more models"),
        Flag(
            "model_config_file_poll_wait_seconds",
            0,
            "seconds between reads of that file; 0 reads once",
        ),
        Flag(
            "file_system_poll_wait_seconds",
            1,
            "seconds between looks for new versions; 0 looks once, a negative number never",
        ),
        Flag("saved_model_tags", "serve", "comma separated tags of the meta graph to load"),
        Flag(
            "allow_version_labels_for_unavailable_models",
            False,
            "allow unused version labels on versions that are not available yet",
        ),
        Flag(
            "isolate_models",
            True,
            "one bad model leaves the others alone, at start and when looking for versions; "
            "false does as TensorFlow Serving does. Not a flag of TensorFlow Serving",
        ),
    ),
    "loading": (
        Flag("num_load_threads", 0, "versions that load at once after the start; 0 is one"),
        Flag("num_unload_threads", 0, "versions that unload at once; 0 is one"),
        Flag("max_num_load_retries", 5, "further attempts after a load has failed"),
        Flag("load_retry_interval_micros", 60_000_000, "microseconds between two attempts"),
        Flag("enable_model_warmup", True, "replay assets.extra/tf_serving_warmup_requests"),
        Flag("num_request_iterations_for_warmup", 0, "times each warmup request runs, if > 0"),
    ),
    "computing": (
        Flag("tensorflow_session_parallelism", 0, "threads of a session; 0 is automatic"),
        Flag("tensorflow_intra_op_parallelism", 0, "threads within an operation; 0 is automatic"),
        Flag("tensorflow_inter_op_parallelism", 0, "operations at once; 0 is automatic"),
        Flag("per_process_gpu_memory_fraction", 0.0, "share of the GPU's memory; 0 is automatic"),
        Flag(
            "enable_serialization_as_tensor_content",
            False,
            "answer Predict with tensor_content instead of typed fields",
        ),
        Flag(
            "enable_signature_method_name_check",
            True,
            "require the signature's method name that fits the RPC",
        ),
    ),
    "accepted for TensorFlow Serving's sake, without effect here": (
        Flag("rest_api_port", 0, "port of the REST API", has_effect=False),
        Flag("rest_api_num_threads", 4 * (os.cpu_count() or 1), "threads of it", has_effect=False),
        Flag("rest_api_timeout_in_ms", 30_000, "timeout of it", has_effect=False),
        Flag("rest_api_enable_cors_support", False, "CORS headers of it", has_effect=False),
        Flag("enable_batching", False, "batching in the server", has_effect=False),
        Flag("batching_parameters_file", "", "parameters of it", has_effect=False),
        Flag("enable_per_model_batching_parameters", False, "per model", has_effect=False),
        Flag("monitoring_config_file", "", "metrics on the REST port", has_effect=False),
        Flag("enable_profiler", True, "profiler service", has_effect=False),
        Flag("flush_filesystem_caches", True, "drop caches after loads", has_effect=False),
        Flag("tensorflow_session_config_file", "", "session ConfigProto", has_effect=False),
        Flag("platform_config_file", "", "PlatformConfigMap", has_effect=False),
        Flag("use_alts_credentials", False, "Google ALTS", has_effect=False),
        Flag("remove_unused_fields_from_bundle_metagraph", True, "saves memory", has_effect=False),
        Flag("prefer_tflite_model", False, "TensorFlow Lite", has_effect=False),
        Flag("use_tflite_model", False, "TensorFlow Lite, older name", has_effect=False),
        Flag("num_tflite_pools", 1, "TensorFlow Lite", has_effect=False),
        Flag("num_tflite_interpreters_per_pool", 1, "TensorFlow Lite", has_effect=False),
        Flag("xla_cpu_compilation_enabled", False, "XLA on the CPU", has_effect=False),
        Flag("xla_gpu_compilation_enabled", False, "XLA on the GPU", has_effect=False),
        Flag("thread_pool_factory_config_file", "", "ThreadPoolConfig", has_effect=False),
        Flag("mixed_precision", "", "mixed precision mode", has_effect=False),
        Flag("skip_initialize_tpu", False, "TPU", has_effect=False),
    ),
}
"""All flags with TensorFlow Serving's defaults, by the heading they have in `--help`."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare every flag; abbreviations are off, so that unknown flags are refused."""
    parser.allow_abbrev = False
    parser.usage = "%(prog)s [--flag=value ...]"
    for heading, flags in GROUPS.items():
        group = parser.add_argument_group(heading)
        for flag in flags:
            # None tells a flag that was not given from one that was given its default.
            if isinstance(flag.default, bool):
                group.add_argument(
                    f"--{flag.name}",
                    type=_boolean,
                    nargs="?",
                    const=True,
                    metavar="true|false",
                    help=_help(flag),
                )
            else:
                group.add_argument(
                    f"--{flag.name}",
                    type=type(flag.default),
                    metavar=_METAVARS[type(flag.default)],
                    help=_help(flag),
                )
    parser.add_argument(
        "--exit_when_orphaned",
        action="store_true",
        help="stop when the process that started this one has gone (not a flag of TFS)",
    )
    parser.add_argument("--version", action="store_true", help="print versions and exit")


def flags_without_effect(arguments: argparse.Namespace) -> list[str]:
    """List the flags that were given and change nothing."""
    return [
        f"--{flag.name}"
        for flags in GROUPS.values()
        for flag in flags
        if not flag.has_effect and getattr(arguments, flag.name) is not None
    ]


def options_from_flags(arguments: argparse.Namespace) -> ServerOptions:
    """Turn parsed flags into options.

    Raises:
        ConfigurationError: When a value makes no sense.
    """
    values = {
        flag.name: flag.default
        if getattr(arguments, flag.name) is None
        else getattr(arguments, flag.name)
        for flags in GROUPS.values()
        for flag in flags
        if flag.has_effect
    }
    for name, convert in _CONVERSIONS.items():
        values[name] = convert(values[name])
    values["tls"] = read_tls_options(values.pop("ssl_config_file"))
    return ServerOptions(**values)


def parse_channel_arguments(text: str) -> tuple[tuple[str, int | str], ...]:
    """Parse `key=value,key=value`; a value that is an integer becomes one.

    Raises:
        ConfigurationError: When a part has no `=`.
    """
    arguments: list[tuple[str, int | str]] = []
    for part in filter(None, text.split(",")):
        key, separator, value = part.partition("=")
        if not (key and separator):
            raise ConfigurationError(
                f"--grpc_channel_arguments: {part!r} is not of the form key=value."
            )
        try:
            arguments.append((key, int(value)))
        except ValueError:
            arguments.append((key, value))
    return tuple(arguments)


def _boolean(text: str) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    try:
        return known[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false") from None


def _help(flag: Flag) -> str:
    default = str(flag.default).lower() if isinstance(flag.default, bool) else flag.default
    return flag.help if default == "" else f"{flag.help} (default: {default})".replace("%", "%%")


_METAVARS = {str: "TEXT", int: "N", float: "X"}

_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "port": lambda port: port or None,
    "model_config_file": lambda path: Path(path) if path else None,
    "saved_model_tags": lambda tags: tuple(filter(None, tags.split(","))),
    "grpc_channel_arguments": parse_channel_arguments,
}
