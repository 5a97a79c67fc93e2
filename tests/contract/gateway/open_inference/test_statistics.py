"""ModelStatistics: real counts and durations, by model and version."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from heliograph.errors import BackendUnavailableError
from heliograph.routing import RoutingTable, create_routing
from heliograph.v1.classifier_pb2 import BatchClassifyRequest, Image
from heliograph_gateway.inference.grpc_service_pb2 import ModelStatistics, ModelStatisticsRequest

if TYPE_CHECKING:
    from tests.conftest import Brightness
    from tests.contract.gateway.conftest import Eventually, RunningGateway, StartGateway
    from tests.contract.gateway.open_inference.conftest import Connect, Requests

    from heliograph_gateway.inference.grpc_service_pb2_grpc import GRPCInferenceServiceAsyncStub


async def statistics(inference: GRPCInferenceServiceAsyncStub) -> ModelStatistics:
    """Those of the only version."""
    [found] = (await inference.ModelStatistics(ModelStatisticsRequest())).model_stats
    return found


def counts(found: ModelStatistics) -> dict[str, int]:
    """The counts of the stages of a request."""
    return {field.name: value.count for field, value in found.inference_stats.ListFields()}


async def test_nothing_is_counted_before_the_first_request(
    gateway: RunningGateway, inference: GRPCInferenceServiceAsyncStub
) -> None:
    found = await statistics(inference)

    assert (found.name, found.version) == ("brightness", "1")
    # The check of the golden images was a batch, and nobody's request.
    assert gateway.backend.batches
    assert (found.inference_count, found.execution_count, found.last_inference) == (0, 0, 0)
    assert set(counts(found).values()) == {0}
    assert not found.batch_stats


async def test_requests_images_and_batches_are_counted_whatever_way_they_came(
    gateway: RunningGateway, inference: GRPCInferenceServiceAsyncStub, requests: Requests
) -> None:
    image = gateway.brightness.image()
    start = time.time()

    await inference.ModelInfer(requests(image, image, image))
    await inference.ModelInfer(requests())
    await gateway.stub.Classify(gateway.request())
    await gateway.stub.BatchClassify(
        BatchClassifyRequest(images=[Image(encoded=image), Image(encoded=b""), Image()])
    )

    found = await statistics(inference)
    assert (found.inference_count, found.execution_count) == (6, 4)
    assert [(each.batch_size, each.compute_infer.count) for each in found.batch_stats] == [
        (1, 3),
        (3, 1),
    ]
    assert counts(found) == {
        "success": 4,
        "fail": 0,
        "queue": 4,
        "compute_input": 4,
        "compute_infer": 4,
        "compute_output": 4,
    }
    assert int(start * 1000) <= found.last_inference <= time.time() * 1000


async def test_the_stages_of_a_request_add_up_to_at_most_its_duration(
    gateway: RunningGateway, inference: GRPCInferenceServiceAsyncStub, requests: Requests
) -> None:
    start = time.perf_counter()
    for _ in range(5):
        await inference.ModelInfer(requests())
    elapsed = time.perf_counter() - start

    found = (await statistics(inference)).inference_stats
    stages = [found.queue, found.compute_input, found.compute_infer, found.compute_output]
    assert all(stage.ns > 0 for stage in stages)
    assert sum(stage.ns for stage in stages) <= found.success.ns <= elapsed * 1e9


async def test_the_counts_of_the_stages_are_equal_whenever_somebody_looks(
    inference: GRPCInferenceServiceAsyncStub, requests: Requests
) -> None:
    # perf_analyzer ends with an error when they are not.
    async def call() -> None:
        for _ in range(25):
            await inference.ModelInfer(requests())

    calls = asyncio.gather(*(call() for _ in range(4)))
    seen = set()
    while not calls.done():
        found = counts(await statistics(inference))
        assert found.pop("fail") == 0
        assert len(set(found.values())) == 1
        seen.add(found["success"])
    await calls

    assert len(seen) > 2


async def test_waiting_for_a_busy_backend_is_time_in_the_queue(
    gateway: RunningGateway,
    inference: GRPCInferenceServiceAsyncStub,
    requests: Requests,
    eventually: Eventually,
) -> None:
    gateway.backend.pause()
    start = time.perf_counter_ns()
    calls = [inference.ModelInfer(requests()) for _ in range(3)]
    await eventually(lambda: gateway.metric("heliograph_inflight") == 3)
    waiting = time.perf_counter_ns()
    await eventually(lambda: time.perf_counter_ns() - waiting > 100_000_000)
    gateway.backend.resume()
    for call in calls:
        await call
    elapsed = time.perf_counter_ns() - start

    found = (await statistics(inference)).inference_stats
    # The first request was sent at once, the two others waited for it.
    assert 200_000_000 <= found.queue.ns <= 3 * elapsed
    assert found.compute_infer.ns >= 100_000_000


async def test_a_request_that_fails_is_counted_apart(
    gateway: RunningGateway, inference: GRPCInferenceServiceAsyncStub, requests: Requests
) -> None:
    gateway.backend.failures.append(BackendUnavailableError("away"))

    await gateway.refusal(inference.ModelInfer(requests()))
    await gateway.refusal(inference.ModelInfer(requests(b"no image")))
    await gateway.refusal(inference.ModelInfer(requests(model_version="7")))

    found = await statistics(inference)
    assert counts(found) == dict.fromkeys(counts(found), 0) | {"fail": 2}
    assert found.inference_stats.fail.ns > 0
    assert (found.inference_count, found.execution_count) == (0, 0)


async def test_every_version_has_its_own(
    start_gateway: StartGateway,
    connect: Connect,
    requests: Requests,
    repository: Path,
    brightness: Brightness,
) -> None:
    for name in ("brightness", "brightness", "another"):
        brightness.publish(repository, name=name)
    table = RoutingTable(revision=1, stable=2, version_labels={"old": 1})
    create_routing(repository / "brightness", table)
    gateway = await start_gateway()
    inference = connect(gateway.channel)
    for version in ("", "2", "old"):
        await inference.ModelInfer(requests(model_name="brightness", model_version=version))

    async def counted(name: str, version: str) -> list[tuple[str, str, int]]:
        request = ModelStatisticsRequest(name=name, version=version)
        found = (await inference.ModelStatistics(request)).model_stats
        return [(each.name, each.version, each.inference_count) for each in found]

    first, second = ("brightness", "1", 1), ("brightness", "2", 2)
    assert await counted("", "") == [("another", "1", 0), first, second]
    assert await counted("brightness", "") == [first, second]
    assert await counted("brightness", "2") == [second]
    assert await counted("brightness", "old") == [first]


@pytest.mark.parametrize(
    ("name", "version", "reason"),
    [("darkness", "", "MODEL_NOT_FOUND"), ("brightness", "7", "VERSION_NOT_FOUND")],
)
async def test_there_are_none_of_what_is_not_served(
    name: str,
    version: str,
    reason: str,
    gateway: RunningGateway,
    inference: GRPCInferenceServiceAsyncStub,
) -> None:
    call = inference.ModelStatistics(ModelStatisticsRequest(name=name, version=version))

    assert (await gateway.refusal(call)).reason == reason
