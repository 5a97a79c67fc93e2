"""/metrics: what is measured, under which names, with labels that nobody can blow up."""

from __future__ import annotations

import shutil
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from heliograph.errors import AddressInUseError, BackendUnavailableError
from heliograph.routing import RoutingTable, create_routing
from heliograph.v1.classifier_pb2 import BatchClassifyRequest, Image, ListModelsRequest

if TYPE_CHECKING:
    from tests.conftest import Brightness
    from tests.contract.gateway.conftest import Eventually, RunningGateway, StartGateway

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
async def gateway(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> RunningGateway:
    """A gateway that serves its metrics."""
    brightness.publish(repository)
    return await start_gateway(metrics_listen="127.0.0.1:0")


def scrape(gateway: RunningGateway) -> Samples:
    with urllib.request.urlopen(f"http://{gateway.gateway.metrics_address}/metrics") as response:
        text = response.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, tuple(sorted(labels.items()))), 0.0)


def label_values(samples: Samples, label: str) -> set[str]:
    return {found for _, labels in samples for name, found in labels if name == label}


def calls(samples: Samples, method: str, code: str, model: str, role: str) -> float:
    return value(
        samples,
        "rpc_server_call_duration_seconds_count",
        rpc_method=method,
        rpc_response_status_code=code,
        model=model,
        role=role,
    )


CLASSIFY = "/heliograph.v1.Classifier/Classify"
BATCH = "/heliograph.v1.Classifier/BatchClassify"


async def test_every_call_is_measured_by_method_code_model_and_role(
    gateway: RunningGateway,
) -> None:
    await gateway.stub.Classify(gateway.request())
    await gateway.stub.Classify(gateway.request(name="brightness"))
    await gateway.stub.Classify(gateway.request(name="brightness", version=1))
    await gateway.refusal(gateway.stub.Classify(gateway.request(b"no image")))
    await gateway.refusal(gateway.stub.Classify(gateway.request(name="darkness")))
    gateway.backend.failures.append(BackendUnavailableError("away"))
    await gateway.refusal(gateway.stub.Classify(gateway.request()))
    image = Image(encoded=gateway.brightness.image())
    await gateway.stub.BatchClassify(BatchClassifyRequest(images=[image] * 3))
    await gateway.stub.ListModels(ListModelsRequest())

    samples = scrape(gateway)

    assert calls(samples, CLASSIFY, "OK", "brightness", "stable") == 2
    assert calls(samples, CLASSIFY, "OK", "brightness", "pinned") == 1
    assert calls(samples, CLASSIFY, "INVALID_ARGUMENT", "brightness", "") == 1
    assert calls(samples, CLASSIFY, "NOT_FOUND", "", "") == 1
    assert calls(samples, CLASSIFY, "UNAVAILABLE", "brightness", "") == 1
    assert calls(samples, BATCH, "OK", "brightness", "stable") == 1
    assert calls(samples, "/heliograph.v1.Classifier/ListModels", "OK", "", "") == 1


async def test_stages_batches_and_classes_are_measured(gateway: RunningGateway) -> None:
    before = scrape(gateway)
    image = gateway.brightness.image
    images = [Image(encoded=image(level)) for level in (1, 2, 250)]
    await gateway.stub.BatchClassify(BatchClassifyRequest(images=images))
    await gateway.stub.Classify(gateway.request(image(3)))

    samples = scrape(gateway)

    for stage in ("prepare", "predict"):
        assert value(samples, "heliograph_stage_duration_seconds_count", stage=stage) == 2
    size = "heliograph_batch_size_sum"
    assert value(samples, size) - value(before, size) == 4
    for class_name, count in (("dark", 3), ("bright", 1)):
        labels = {"model": "brightness", "class_name": class_name}
        assert value(samples, "heliograph_class_total", **labels) == count
    assert value(samples, "heliograph_inflight") == 0


async def test_the_lag_of_the_event_loop_is_measured(
    gateway: RunningGateway, eventually: Eventually
) -> None:
    await eventually(lambda: gateway.metric("heliograph_event_loop_lag_seconds") > 0)

    assert ("heliograph_event_loop_lag_seconds", ()) in scrape(gateway)


async def test_the_version_behind_a_role_is_a_value(
    gateway: RunningGateway, repository: Path, brightness: Brightness
) -> None:
    def routed(role: str) -> float:
        labels = {"model": "brightness", "role": role}
        return value(scrape(gateway), "heliograph_routed_version", **labels)

    assert (routed("stable"), routed("candidate")) == (1, 0)

    brightness.publish(repository)
    table = RoutingTable(revision=2, stable=2, candidate=1)
    create_routing(repository / "brightness", table)
    await gateway.gateway.look()
    assert (routed("stable"), routed("candidate")) == (2, 1)

    shutil.rmtree(repository / "brightness")
    await gateway.gateway.look()
    assert (routed("stable"), routed("candidate")) == (0, 0)


async def test_what_callers_make_up_never_becomes_a_label(gateway: RunningGateway) -> None:
    for number in range(50):
        await gateway.refusal(gateway.stub.Classify(gateway.request(name=f"made-up-{number}")))
        await gateway.refusal(gateway.stub.Classify(gateway.request(version_label=f"no-{number}")))
        await gateway.refusal(gateway.raw(f"Method{number}")(b""))
        await gateway.refusal(gateway.stub.Classify(gateway.request(version=1000 + number)))

    samples = scrape(gateway)

    assert label_values(samples, "model") == {"", "brightness"}
    assert label_values(samples, "rpc_method") == {CLASSIFY}
    assert label_values(samples, "role") <= {"", "stable", "candidate", "pinned"}
    assert label_values(samples, "rpc_response_status_code") == {"NOT_FOUND"}


async def test_an_address_that_is_taken_is_named(
    gateway: RunningGateway, start_gateway: StartGateway
) -> None:
    with pytest.raises(AddressInUseError, match="choose another with --metrics-listen"):
        await start_gateway(metrics_listen=gateway.gateway.metrics_address)
