"""From options to the arguments of a channel."""

from __future__ import annotations

import importlib.metadata
import json
from importlib.resources import files
from typing import Any

import pytest

from heliograph import KeepaliveOptions, RetryOptions, TlsOptions, __version__
from heliograph.classifier_calls import SERVICE, STREAM_CLASSIFY
from heliograph.endpoint import Endpoint, is_local, service_config
from heliograph.errors import ConfigurationError


def arguments(target: str = "gateway.example:9000", **options: Any) -> dict[str, Any]:
    return dict(Endpoint(target, (SERVICE,), streams=(STREAM_CLASSIFY,), **options).arguments())


@pytest.mark.parametrize(
    "target",
    [
        "localhost:9000",
        "LOCALHOST:9000",
        "localhost",
        "127.0.0.1:9000",
        "127.8.8.8:9000",
        "[::1]:9000",
        "dns:localhost:9000",
        "dns:///localhost:9000",
        "dns://8.8.8.8/localhost:9000",
        "ipv4:127.0.0.1:9000,127.0.0.2:9000",
        "ipv6:[::1]:9000",
        "unix:gateway.sock",
        "unix:///run/gateway.sock",
        "unix-abstract:gateway",
    ],
)
def test_a_target_on_this_machine_is_local(target: str) -> None:
    assert is_local(target)


@pytest.mark.parametrize(
    "target",
    [
        "gateway:9000",
        "gateway.example:9000",
        "10.0.0.7:9000",
        "127.evil.example:9000",
        "localhost.example:9000",
        "[fe80::1]:9000",
        "dns:///gateway.example:9000",
        "dns://127.0.0.1/gateway.example:9000",
        "ipv4:127.0.0.1:9000,10.0.0.7:9000",
        "xds:///localhost",
        "unixes:9000",
    ],
)
def test_a_target_that_may_be_elsewhere_is_not_local(target: str) -> None:
    assert not is_local(target)


def test_only_local_targets_bypass_the_proxy() -> None:
    assert arguments("localhost:9000")["grpc.enable_http_proxy"] == 0
    assert "grpc.enable_http_proxy" not in arguments("gateway.example:9000")


def test_the_published_service_config_is_the_one_in_use() -> None:
    published = json.loads(files("heliograph").joinpath("service_config.json").read_text())

    assert published == json.loads(arguments()["grpc.service_config"])


def test_the_service_config_says_what_the_retry_options_say() -> None:
    retry = RetryOptions(
        attempts=5, initial_backoff=0.25, max_backoff=4, multiplier=3, statuses=("ABORTED",)
    )
    (method,) = service_config(("a.B", "c.D"), retry)["methodConfig"]

    assert method["name"] == [{"service": "a.B"}, {"service": "c.D"}]
    assert method["retryPolicy"] == {
        "maxAttempts": 5,
        "initialBackoff": "0.250s",
        "maxBackoff": "4.000s",
        "backoffMultiplier": 3,
        "retryableStatusCodes": ["ABORTED"],
    }


def test_streams_are_not_tried_again_by_grpc() -> None:
    (_, streams) = service_config((SERVICE,), RetryOptions(), (STREAM_CLASSIFY,))["methodConfig"]

    assert streams == {"name": [{"service": SERVICE, "method": "StreamClassify"}]}


def test_one_attempt_means_no_retries_anywhere() -> None:
    made = arguments(retry=RetryOptions(attempts=1))

    assert made["grpc.enable_retries"] == 0
    assert "retryThrottling" not in json.loads(made["grpc.service_config"])
    assert "grpc.per_rpc_retry_buffer_size" not in made


def test_a_whole_message_fits_into_the_buffer_for_retries() -> None:
    made = arguments(max_message_bytes=5_000_000)

    assert made["grpc.max_send_message_length"] == 5_000_000
    assert made["grpc.per_rpc_retry_buffer_size"] > 5_000_000


def test_the_buffer_for_retries_fits_into_an_int_where_messages_have_no_limit() -> None:
    assert 2**20 < arguments(max_message_bytes=-1)["grpc.per_rpc_retry_buffer_size"] < 2**31


def test_keepalive_is_told_in_milliseconds() -> None:
    made = arguments(keepalive=KeepaliveOptions(interval=1.5, timeout=0.5, without_calls=True))

    assert made["grpc.keepalive_time_ms"] == 1500
    assert made["grpc.keepalive_timeout_ms"] == 500
    assert made["grpc.keepalive_permit_without_calls"] == 1


def test_several_channels_do_not_share_a_connection() -> None:
    assert arguments(channels=2)["grpc.use_local_subchannel_pool"] == 1
    assert "grpc.use_local_subchannel_pool" not in arguments(channels=1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RetryOptions(attempts=0),
        lambda: RetryOptions(attempts=6),
        lambda: RetryOptions(initial_backoff=0),
        lambda: RetryOptions(max_backoff=float("inf")),
        lambda: RetryOptions(multiplier=0.5),
        lambda: RetryOptions(statuses=("NOT_A_STATUS",)),
        lambda: RetryOptions(statuses=("OK",)),
        lambda: RetryOptions(statuses=()),
        lambda: KeepaliveOptions(interval=0),
        lambda: KeepaliveOptions(timeout=float("nan")),
        lambda: TlsOptions(certificate="client.pem"),
        lambda: TlsOptions(key=b"key"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(make: Any) -> None:
    with pytest.raises(ConfigurationError):
        make()


def test_the_version_is_that_of_the_package() -> None:
    assert __version__ == importlib.metadata.version("heliograph")
