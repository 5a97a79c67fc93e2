from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from heliograph.errors import ConfigurationError
from heliograph_modelserver.command import configure
from heliograph_modelserver.flags import (
    GROUPS,
    flags_without_effect,
    options_from_flags,
    parse_channel_arguments,
)
from heliograph_modelserver.options import ServerOptions

TENSORFLOW_SERVING_FLAGS = [
    "port",
    "grpc_socket_path",
    "rest_api_port",
    "rest_api_num_threads",
    "rest_api_timeout_in_ms",
    "rest_api_enable_cors_support",
    "enable_batching",
    "allow_version_labels_for_unavailable_models",
    "batching_parameters_file",
    "enable_per_model_batching_parameters",
    "model_config_file",
    "model_config_file_poll_wait_seconds",
    "model_name",
    "model_base_path",
    "num_load_threads",
    "num_unload_threads",
    "max_num_load_retries",
    "load_retry_interval_micros",
    "file_system_poll_wait_seconds",
    "flush_filesystem_caches",
    "tensorflow_session_parallelism",
    "tensorflow_session_config_file",
    "tensorflow_intra_op_parallelism",
    "tensorflow_inter_op_parallelism",
    "use_alts_credentials",
    "ssl_config_file",
    "platform_config_file",
    "per_process_gpu_memory_fraction",
    "saved_model_tags",
    "grpc_channel_arguments",
    "grpc_max_threads",
    "enable_model_warmup",
    "num_request_iterations_for_warmup",
    "version",
    "monitoring_config_file",
    "remove_unused_fields_from_bundle_metagraph",
    "prefer_tflite_model",
    "num_tflite_pools",
    "num_tflite_interpreters_per_pool",
    "enable_signature_method_name_check",
    "xla_cpu_compilation_enabled",
    "xla_gpu_compilation_enabled",
    "enable_profiler",
    "thread_pool_factory_config_file",
    "mixed_precision",
    "skip_initialize_tpu",
    "enable_grpc_healthcheck_service",
    "enable_serialization_as_tensor_content",
]
"""The flags that TensorFlow Serving's main.cc declares."""


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="heliograph model-server", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    configure(parser)
    return parser


def parsed(parser: argparse.ArgumentParser, *flags: str) -> ServerOptions:
    return options_from_flags(parser.parse_args(["--model_base_path=/m", *flags]))


def flag(name: str) -> str:
    """A flag with a value that its type allows."""
    defaults = {one.name: one.default for group in GROUPS.values() for one in group}
    default = defaults.get(name, True)
    return f"--{name}" if isinstance(default, bool) else f"--{name}={default or 0}"


@pytest.mark.parametrize("name", TENSORFLOW_SERVING_FLAGS)
def test_every_flag_of_tensorflow_serving_is_accepted(
    parser: argparse.ArgumentParser, name: str
) -> None:
    assert getattr(parser.parse_args([flag(name)]), name) is not None


@pytest.mark.parametrize("name", TENSORFLOW_SERVING_FLAGS)
def test_help_explains_every_flag(parser: argparse.ArgumentParser, name: str) -> None:
    assert f"--{name}" in parser.format_help()


def test_help_groups_the_flags(parser: argparse.ArgumentParser) -> None:
    assert all(f"{heading}:" in parser.format_help() for heading in GROUPS)


def test_defaults_are_those_of_tensorflow_serving_but_for_the_host(
    parser: argparse.ArgumentParser,
) -> None:
    options = parsed(parser)

    assert options == ServerOptions(model_base_path="/m")
    assert options.host == "127.0.0.1"
    assert options.port == 8500
    assert options.model_name == "default"
    assert options.file_system_poll_wait_seconds == 1
    assert options.max_num_load_retries == 5
    assert options.load_retry_interval_micros == 60_000_000
    assert options.enable_model_warmup
    assert not options.enable_grpc_healthcheck_service


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("--enable_model_warmup", True),
        ("--enable_model_warmup=true", True),
        ("--enable_model_warmup=True", True),
        ("--enable_model_warmup=1", True),
        ("--enable_model_warmup=false", False),
        ("--enable_model_warmup=0", False),
    ],
)
def test_booleans_are_spelled_as_tensorflow_spells_them(
    parser: argparse.ArgumentParser, text: str, value: bool
) -> None:
    assert parsed(parser, text).enable_model_warmup is value


def test_values_may_follow_an_equals_sign_or_a_space(parser: argparse.ArgumentParser) -> None:
    assert parsed(parser, "--port=1").port == parsed(parser, "--port", "1").port == 1


@pytest.mark.parametrize(
    "text", ["--no_such_flag", "--enable_batch", "--port=x", "--enable_batching=maybe", "stray"]
)
def test_what_tensorflow_serving_does_not_know_is_refused(
    parser: argparse.ArgumentParser, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parser.parse_args([text])

    assert caught.value.code == 2
    assert text.rsplit("=", maxsplit=1)[-1] in capsys.readouterr().err


def test_flags_without_effect_are_named(parser: argparse.ArgumentParser) -> None:
    arguments = parser.parse_args(
        ["--rest_api_port=8501", "--enable_batching", "--port=1", "--enable_profiler=false"]
    )

    assert set(flags_without_effect(arguments)) == {
        "--rest_api_port",
        "--enable_batching",
        "--enable_profiler",
    }


def test_port_zero_listens_on_the_socket_only(parser: argparse.ArgumentParser) -> None:
    assert parsed(parser, "--port=0", "--grpc_socket_path=/s").port is None


def test_channel_arguments_are_integers_where_they_parse() -> None:
    assert parse_channel_arguments("grpc.a=1,b=x,c=-2,d=1.5") == (
        ("grpc.a", 1),
        ("b", "x"),
        ("c", -2),
        ("d", "1.5"),
    )


@pytest.mark.parametrize("text", ["a", "=1", "a=1,b"])
def test_channel_arguments_without_a_value_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="key=value"):
        parse_channel_arguments(text)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--port=0"], "nothing to listen on"),
        (["--port=70000"], "not a port"),
        (["--model_base_path="], "no model to serve"),
        (
            ["--tensorflow_session_parallelism=1", "--tensorflow_intra_op_parallelism=1"],
            "not both",
        ),
    ],
)
def test_options_that_cannot_work_are_refused(
    parser: argparse.ArgumentParser, flags: list[str], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parsed(parser, *flags)


def test_a_config_file_needs_no_base_path(parser: argparse.ArgumentParser) -> None:
    arguments = parser.parse_args(["--model_config_file=/c", "--saved_model_tags=serve,gpu"])

    options = options_from_flags(arguments)

    assert options.model_config_file == Path("/c")
    assert options.saved_model_tags == ("serve", "gpu")
