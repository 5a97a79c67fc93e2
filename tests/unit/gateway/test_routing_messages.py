"""What workers are told of a model: nothing is lost on the way, and nothing replaced in vain."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from heliograph.routing import RoutingTable
from heliograph_gateway.routing import ServedModel
from heliograph_gateway.routing_messages import from_message, to_message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.unit.gateway.conftest import MakeVersion

    from heliograph_gateway.servables import ServableVersion


def travelled(
    model: ServedModel, known: Mapping[int, ServableVersion] | None = None
) -> ServedModel:
    """The model as it arrives."""
    return from_message(json.loads(json.dumps(to_message(model))), known or {})


def test_a_model_arrives_as_it_was_sent(make_version: MakeVersion) -> None:
    table = RoutingTable(
        revision=7,
        stable=2,
        candidate=3,
        weight=0.25,
        shadow=0.5,
        version_labels={"canary": 3},
        release="r-1",
    )
    sent = ServedModel("brightness", table, {2: make_version(2), 3: make_version(3)}, "")

    arrived = travelled(sent)

    assert (arrived.name, arrived.table, arrived.reason) == ("brightness", table, "")
    assert arrived.labels == sent.labels
    for number, version in sent.versions.items():
        there = arrived.versions[number]
        assert there.servable == version.servable
        assert there.contract == version.contract
        assert there.recipe == version.recipe
        assert there.class_names == version.class_names


def test_a_model_that_is_not_served_arrives_with_the_reason() -> None:
    arrived = travelled(ServedModel("brightness", reason="version 1: it does not load"))

    assert arrived.table is None
    assert not arrived.serving
    assert arrived.reason == "version 1: it does not load"


def test_a_version_that_stays_is_the_same_with_the_requests_on_it(
    make_version: MakeVersion,
) -> None:
    versions = {1: make_version(1)}
    first = travelled(ServedModel("brightness", RoutingTable(1, 1), versions))

    second = travelled(
        ServedModel("brightness", RoutingTable(2, 1), {**versions, 2: make_version(2)}),
        first.versions,
    )

    assert second.versions[1] is first.versions[1]
    assert second.table == RoutingTable(2, 1)


def test_a_version_with_another_contract_is_another(make_version: MakeVersion) -> None:
    first = travelled(ServedModel("brightness", RoutingTable(1, 1), {1: make_version(1)}))
    changed = make_version(1, change=lambda contract: contract.class_names.__setitem__(0, "black"))

    second = travelled(ServedModel("brightness", RoutingTable(2, 1), {1: changed}), first.versions)

    assert second.versions[1] is not first.versions[1]
    assert second.versions[1].class_names == ("black", "bright")
