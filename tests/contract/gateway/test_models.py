"""ListModels and GetModel: what is served, what is not and why, and the contract."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from heliograph.contract import CONTRACT_PATH
from heliograph.routing import RoutingTable, create_routing
from heliograph.v1.classifier_pb2 import (
    GetModelRequest,
    ListModelsRequest,
    Model,
    ModelSelector,
)

if TYPE_CHECKING:
    from tests.conftest import Brightness
    from tests.contract.gateway.conftest import RunningGateway, StartGateway


async def get(gateway: RunningGateway, **selector: object) -> tuple[Model, int, list[str]]:
    request = GetModelRequest(model=ModelSelector(**selector))  # type: ignore[arg-type]  # by name
    response = await gateway.stub.GetModel(request)
    return response.model, response.version, list(response.contract.class_names)


@pytest.fixture
async def gateway(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> RunningGateway:
    """Version 2 of `brightness` is stable and 1 is `old`; `broken` has no contract."""
    for _ in range(3):
        brightness.publish(repository)
    table = RoutingTable(revision=4, stable=2, version_labels={"old": 1, "gone": 9})
    create_routing(repository / "brightness", table)
    brightness.publish(
        repository, name="broken", spoil=lambda version: (version / CONTRACT_PATH).unlink()
    )
    return await start_gateway()


async def test_every_model_is_listed_in_order_of_name(gateway: RunningGateway) -> None:
    brightness, broken = (await gateway.stub.ListModels(ListModelsRequest())).models

    assert brightness == Model(
        name="brightness",
        state=Model.STATE_SERVING,
        stable_version=2,
        versions=[1, 2],
        version_labels={"old": 1, "stable": 2},
        routing_revision=4,
    )
    assert (broken.name, broken.state) == ("broken", Model.STATE_NOT_SERVING)
    assert "has no contract; `heliograph contract attach` writes one" in broken.reason
    assert (broken.stable_version, list(broken.versions), broken.routing_revision) == (0, [], 0)


async def test_a_model_comes_with_the_contract_of_its_stable_version(
    gateway: RunningGateway,
) -> None:
    model, version, class_names = await get(gateway, name="brightness")

    assert model.state == Model.STATE_SERVING
    assert (version, class_names) == (2, ["dark", "bright"])


async def test_the_contract_of_another_version_can_be_asked_for(gateway: RunningGateway) -> None:
    assert (await get(gateway, name="brightness", version=1))[1] == 1
    assert (await get(gateway, name="brightness", version_label="old"))[1] == 1
    assert (await get(gateway, name="brightness", version_label="stable"))[1] == 2


async def test_a_model_that_is_not_served_is_described_without_a_contract(
    gateway: RunningGateway,
) -> None:
    model, version, class_names = await get(gateway, name="broken")

    assert model.state == Model.STATE_NOT_SERVING
    assert "has no contract" in model.reason
    assert (version, class_names) == (0, [])


async def test_a_request_for_a_model_that_is_not_served_says_why(gateway: RunningGateway) -> None:
    refusal = await gateway.refusal(gateway.stub.Classify(gateway.request(name="broken")))

    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "MODEL_NOT_SERVING")
    assert "has no contract" in refusal.message


async def test_labels_and_pins_choose_the_version_that_answers(gateway: RunningGateway) -> None:
    async def served_by(**selector: object) -> tuple[int, int]:
        response = await gateway.stub.Classify(gateway.request(name="brightness", **selector))
        return response.served_by.version, response.served_by.routing_revision

    assert await served_by() == (2, 4)
    assert await served_by(version_label="stable") == (2, 4)
    assert await served_by(version_label="old") == (1, 4)
    assert await served_by(version=1) == (1, 0)
    assert await served_by(version=2) == (2, 0)


async def test_a_version_that_the_table_does_not_name_cannot_be_pinned(
    gateway: RunningGateway,
) -> None:
    refusal = await gateway.refusal(
        gateway.stub.Classify(gateway.request(name="brightness", version=3))
    )

    assert refusal.reason == "VERSION_NOT_FOUND"
    assert "it serves 1, 2" in refusal.message


async def test_with_several_models_a_request_has_to_name_one(gateway: RunningGateway) -> None:
    refusal = await gateway.refusal(gateway.stub.Classify(gateway.request()))

    assert refusal.code == "INVALID_ARGUMENT"
    assert "there are: brightness, broken" in refusal.message
