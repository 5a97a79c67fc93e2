"""Retries: gRPC's own, by service config, within the deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from heliograph import RetryOptions
from heliograph.errors import (
    DeadlineExceededError,
    HeliographError,
    InternalError,
    InvalidArgumentError,
    OverloadedError,
    UnavailableError,
)
from heliograph.testing import FakeGateway

Connect = Callable[..., Any]

SOON = RetryOptions(initial_backoff=0.01, max_backoff=0.02)


@pytest.mark.parametrize("error", [UnavailableError("restarting"), OverloadedError("busy")])
def test_a_failure_of_the_moment_is_tried_again(
    connect: Connect, fake_gateway: FakeGateway, error: HeliographError
) -> None:
    fake_gateway.fail_calls(error, times=2)

    assert connect(fake_gateway.target, retry=SOON).classify(b"image").class_name == "cat"
    assert len(fake_gateway.calls) == 3
    assert fake_gateway.calls[2].metadata["grpc-previous-rpc-attempts"] == "2"


def test_the_last_attempt_decides(connect: Connect, fake_gateway: FakeGateway) -> None:
    fake_gateway.fail_calls(UnavailableError("restarting", request_id="r-1"), times=None)

    with pytest.raises(UnavailableError, match="restarting") as caught:
        connect(fake_gateway.target, retry=SOON).classify(b"image")

    assert caught.value.request_id == "r-1"
    assert len(fake_gateway.calls) == 3


@pytest.mark.parametrize("error", [InvalidArgumentError("never"), InternalError("a fault")])
def test_other_failures_are_not_tried_again(
    connect: Connect, fake_gateway: FakeGateway, error: HeliographError
) -> None:
    fake_gateway.fail_calls(error, times=None)

    with pytest.raises(type(error)):
        connect(fake_gateway.target, retry=SOON).classify(b"image")

    assert len(fake_gateway.calls) == 1


def test_retries_can_be_switched_off(connect: Connect, fake_gateway: FakeGateway) -> None:
    fake_gateway.fail_calls(UnavailableError("restarting"))

    with pytest.raises(UnavailableError):
        connect(fake_gateway.target, retry=RetryOptions(attempts=1)).classify(b"image")

    assert len(fake_gateway.calls) == 1


def test_the_statuses_to_try_again_can_be_chosen(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    fake_gateway.fail_calls(InternalError("a fault"))
    retry = RetryOptions(statuses=("INTERNAL",), initial_backoff=0.01)

    assert connect(fake_gateway.target, retry=retry).classify(b"image").class_name == "cat"


def test_a_retry_comes_no_sooner_than_the_gateway_asks(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    fake_gateway.fail_calls(OverloadedError("busy", retry_after=0.5))
    started = time.monotonic()

    connect(fake_gateway.target, retry=SOON).classify(b"image")

    assert time.monotonic() - started >= 0.5


def test_a_retry_does_not_outlive_the_deadline(connect: Connect, fake_gateway: FakeGateway) -> None:
    fake_gateway.fail_calls(OverloadedError("busy", retry_after=30.0))

    with pytest.raises((OverloadedError, DeadlineExceededError)):
        connect(fake_gateway.target, retry=SOON).classify(b"image", timeout=0.3)

    assert len(fake_gateway.calls) == 1


def test_a_large_image_is_tried_again_as_well(connect: Connect, fake_gateway: FakeGateway) -> None:
    image = bytes(range(256)) * (10 * 4096)  # 10 MiB; gRPC by itself holds 256 KiB for a retry
    fake_gateway.fail_calls(UnavailableError("restarting"), times=2)

    connect(fake_gateway.target, retry=SOON).classify(image)

    requests: list[Any] = [call.request for call in fake_gateway.calls]
    assert [request.image.encoded == image for request in requests] == [True] * 3


def test_batches_and_questions_about_models_are_tried_again_as_well(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    client = connect(fake_gateway.target, retry=SOON)

    for call in (lambda: client.classify_many([b"image"]), client.models, client.model):
        fake_gateway.fail_calls(UnavailableError("restarting"))
        call()

    assert len(fake_gateway.calls) == 6


def test_a_health_check_tells_what_it_saw_first(
    connect: Connect, fake_gateway: FakeGateway
) -> None:
    fake_gateway.fail_calls(UnavailableError("restarting"))

    with pytest.raises(UnavailableError):
        connect(fake_gateway.target, retry=SOON).health()
