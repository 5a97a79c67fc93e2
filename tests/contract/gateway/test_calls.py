"""What every call has: a request id, details of its error, a record in the log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from structlog.testing import capture_logs

from heliograph.errors import BackendUnavailableError
from heliograph.v1.classifier_pb2 import ListModelsRequest

if TYPE_CHECKING:
    from tests.conftest import Brightness
    from tests.contract.gateway.conftest import RunningGateway, StartGateway


async def answered_id(call: Any) -> str:
    """The request id among the trailers of a call that succeeds."""
    await call
    trailers = dict(await call.trailing_metadata())
    return str(trailers["x-request-id"])


async def test_a_request_id_is_made_and_each_is_another(gateway: RunningGateway) -> None:
    ids = {await answered_id(gateway.stub.Classify(gateway.request())) for _ in range(10)}

    assert len(ids) == 10
    assert all(len(each) == 16 for each in ids)


@pytest.mark.parametrize("request_id", ["7", "a-b_c.d", "x" * 64])
async def test_the_id_of_the_caller_is_kept(request_id: str, gateway: RunningGateway) -> None:
    metadata = [("x-request-id", request_id)]

    assert await answered_id(gateway.stub.Classify(gateway.request(), metadata=metadata)) == (
        request_id
    )
    refusal = await gateway.refusal(
        gateway.stub.Classify(gateway.request(b"no image"), metadata=metadata)
    )
    assert (refusal.request_id, refusal.trailers["x-request-id"]) == (request_id, request_id)


@pytest.mark.parametrize("request_id", ["", "x" * 65, "a b", "a/b", "a;b", '{"a":1}'])
async def test_an_id_that_could_confuse_a_log_is_replaced(
    request_id: str, gateway: RunningGateway
) -> None:
    call = gateway.stub.Classify(gateway.request(), metadata=[("x-request-id", request_id)])

    answer = await answered_id(call)

    assert answer != request_id
    assert len(answer) == 16


async def test_every_error_says_its_reason_domain_and_request_id(gateway: RunningGateway) -> None:
    refusal = await gateway.refusal(gateway.stub.Classify(gateway.request(name="darkness")))

    assert (refusal.reason, refusal.domain) == ("MODEL_NOT_FOUND", "heliograph")
    assert refusal.request_id == refusal.trailers["x-request-id"]
    assert refusal.retry_seconds is None
    assert "grpc-retry-pushback-ms" not in refusal.trailers


async def test_an_error_that_may_pass_says_when_to_come_back(gateway: RunningGateway) -> None:
    gateway.backend.failures.append(BackendUnavailableError("away", retry_after=1.5))

    refusal = await gateway.refusal(gateway.stub.Classify(gateway.request()))

    assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "BACKEND_UNAVAILABLE")
    assert refusal.retry_seconds == 1.5
    assert refusal.trailers["grpc-retry-pushback-ms"] == "1500"


async def test_a_failure_on_our_side_is_always_logged(gateway: RunningGateway) -> None:
    gateway.backend.failures.append(BackendUnavailableError("away"))

    with capture_logs() as logs:
        await gateway.refusal(gateway.stub.Classify(gateway.request()))
        await gateway.refusal(gateway.stub.Classify(gateway.request(b"no image")))
        await gateway.stub.Classify(gateway.request())

    [entry] = [entry for entry in logs if entry["event"] == "call"]
    assert entry["code"] == "UNAVAILABLE"
    assert entry["model"] == "brightness"
    assert entry["error"] == "away"
    assert entry["request_id"]


async def test_every_call_is_logged_on_request_without_images_or_tokens(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(access_log=True)

    with capture_logs() as logs:
        await gateway.stub.Classify(
            gateway.request(), metadata=[("authorization", "Bearer secret")]
        )
        await gateway.refusal(gateway.stub.Classify(gateway.request(b"no image")))
        await gateway.stub.ListModels(ListModelsRequest())

    calls = [entry for entry in logs if entry["event"] == "call"]
    assert [(entry["method"], entry["code"]) for entry in calls] == [
        ("/heliograph.v1.Classifier/Classify", "OK"),
        ("/heliograph.v1.Classifier/Classify", "INVALID_ARGUMENT"),
        ("/heliograph.v1.Classifier/ListModels", "OK"),
    ]
    assert (calls[0]["model"], calls[0]["version"]) == ("brightness", 1)
    assert calls[0]["milliseconds"] > 0
    assert "secret" not in repr(logs)
    assert "IHDR" not in repr(logs)


async def test_a_call_without_a_deadline_is_ended_by_the_longest_time_of_a_batch(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> None:
    brightness.publish(repository)
    gateway = await start_gateway(backend_timeout=0.2)
    gateway.backend.pause()

    refusal = await gateway.refusal(gateway.stub.Classify(gateway.request()))

    assert (refusal.code, refusal.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
    assert refusal.request_id


async def test_the_deadline_of_a_caller_is_kept(gateway: RunningGateway) -> None:
    gateway.backend.pause()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await gateway.stub.Classify(gateway.request(), timeout=0.1)

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
