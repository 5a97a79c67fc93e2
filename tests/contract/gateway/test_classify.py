"""Classify: one image in, its classes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.contract.gateway.conftest import RunningGateway


async def test_an_image_is_answered_with_its_classes_best_first(gateway: RunningGateway) -> None:
    response = await gateway.stub.Classify(gateway.request())

    best, second = response.classification.classes
    assert [(best.index, best.class_name), (second.index, second.class_name)] == [
        (1, "bright"),
        (0, "dark"),
    ]
    assert [best.score, second.score] == pytest.approx([200 / 255, 55 / 255])


async def test_the_answer_names_model_version_and_routing_revision(
    gateway: RunningGateway,
) -> None:
    served_by = (await gateway.stub.Classify(gateway.request())).served_by

    assert (served_by.name, served_by.version, served_by.routing_revision) == ("brightness", 1, 1)
