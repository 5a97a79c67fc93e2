"""The fake gateway that users test their own services with."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from heliograph import Client, Failure, Result, RetryOptions
from heliograph.errors import CorruptImageError, UnavailableError
from heliograph.testing import FakeGateway


def test_what_has_a_number_of_times_is_used_up_before_what_stands(
    fake_gateway: FakeGateway,
) -> None:
    fake_gateway.answer({"fish": 1.0})
    fake_gateway.answer({"dog": 1.0}, times=2)
    fake_gateway.fail(CorruptImageError("truncated"))

    with Client(fake_gateway.target) as client:
        named = [client.classify(b"image").class_name for _ in range(2)]
        with pytest.raises(CorruptImageError):
            client.classify(b"image")
        named += [client.classify(b"image").class_name for _ in range(2)]

    assert named == ["dog", "dog", "fish", "fish"]


def test_an_answer_with_an_unknown_class_is_a_mistake_of_the_test(
    fake_gateway: FakeGateway,
) -> None:
    with pytest.raises(ValueError, match="the fake model has no class bird"):
        fake_gateway.answer({"bird": 1.0})


def test_calls_are_remembered_in_order_with_their_requests(fake_gateway: FakeGateway) -> None:
    with Client(fake_gateway.target) as client:
        client.models()
        client.classify(b"image")

    listed, classified = fake_gateway.calls
    assert (listed.method, classified.method) == ("ListModels", "Classify")
    request: Any = classified.request
    assert request.image.encoded == b"image"


def test_every_message_of_a_stream_is_remembered_with_its_images(
    fake_gateway: FakeGateway,
) -> None:
    with Client(fake_gateway.target) as client:
        client.classify(b"one")
        assert len(list(client.classify_many([b"two", b"three", b"four"]))) == 3

    assert {call.method for call in fake_gateway.calls} == {"Classify", "StreamClassify"}
    images = [image.encoded for call in fake_gateway.calls for image in call.images]
    assert images == [b"one", b"two", b"three", b"four"]
    assert fake_gateway.calls[0].time_remaining is not None
    assert fake_gateway.calls[1].time_remaining is None


def test_a_stream_can_be_ended_after_a_number_of_answers(fake_gateway: FakeGateway) -> None:
    fake_gateway.fail_streams(UnavailableError("restarting"), after=2)

    with Client(fake_gateway.target, retry=RetryOptions(attempts=1)) as client:
        items = [type(item) for item in client.classify_many([b"image"] * 4, window=1)]

    assert items == [Result, Result, Failure, Result]


def test_an_answer_can_be_delayed(fake_gateway: FakeGateway) -> None:
    fake_gateway.delay(0.2)
    started = time.monotonic()

    with Client(fake_gateway.target) as client:
        client.classify(b"image")

    assert time.monotonic() - started >= 0.2


def test_a_gateway_that_was_stopped_is_gone_at_once(fake_gateway: FakeGateway) -> None:
    fake_gateway.delay(60.0)
    started = time.monotonic()
    with Client(fake_gateway.target, retry=RetryOptions(attempts=1)) as client:
        call = client.classify_many([b"image"])
        fake_gateway.delay(0.0)
        next(call)
        fake_gateway.stop()

        with pytest.raises(UnavailableError):
            client.classify(b"image")

    assert time.monotonic() - started < 30.0


def test_two_gateways_run_side_by_side() -> None:
    with FakeGateway(model="one") as one, FakeGateway(model="two") as two:
        assert one.target != two.target
        with Client(one.target) as client, Client(two.target) as other:
            assert client.classify(b"image").model == "one"
            assert other.classify(b"image").model == "two"


def test_a_socket_is_a_target_as_well(tmp_path: Path) -> None:
    with (
        FakeGateway(address=f"unix:{tmp_path}/gateway.sock") as gateway,
        Client(gateway.target) as client,
    ):
        assert client.classify(b"image").model == "fake"
