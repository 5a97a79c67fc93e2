"""The router: from what a caller asks for to one explicit version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from heliograph.errors import (
    InvalidArgumentError,
    InvalidModelNameError,
    ModelNotFoundError,
    ModelNotServingError,
    VersionLabelNotFoundError,
    VersionNotFoundError,
)
from heliograph.names import LARGEST_VERSION
from heliograph.routing import RoutingTable
from heliograph.v1.classifier_pb2 import ModelSelector
from heliograph_gateway.routing import Router, ServedModel

if TYPE_CHECKING:
    from tests.unit.gateway.conftest import MakeVersion


@pytest.fixture
def router(make_version: MakeVersion) -> Router:
    """A router with one model: version 3 is stable, 2 is `old`, 4 is `gone` and not served."""
    router = Router()
    table = RoutingTable(revision=5, stable=3, version_labels={"old": 2, "gone": 4})
    versions = {number: make_version(number) for number in (2, 3)}
    router.put(ServedModel("brightness", table, versions))
    return router


def route(router: Router, **selector: object) -> tuple[int, int]:
    """Version and revision of a route."""
    found = router.resolve(ModelSelector(**selector))  # type: ignore[arg-type]  # by name
    return found.version.servable.version, found.revision


def test_without_a_selector_the_stable_version_answers(router: Router) -> None:
    assert route(router, name="brightness") == (3, 5)


def test_a_version_can_be_pinned_and_then_no_revision_chose_it(router: Router) -> None:
    assert route(router, name="brightness", version=2) == (2, 0)
    assert route(router, name="brightness", version=3) == (3, 0)


def test_a_label_names_a_version(router: Router) -> None:
    assert route(router, name="brightness", version_label="old") == (2, 5)


def test_stable_is_always_a_label(router: Router) -> None:
    assert route(router, name="brightness", version_label="stable") == (3, 5)


def test_a_label_called_stable_wins_over_the_implicit_one(
    router: Router, make_version: MakeVersion
) -> None:
    table = RoutingTable(revision=6, stable=3, version_labels={"stable": 2})
    versions = {number: make_version(number) for number in (2, 3)}
    router.put(ServedModel("brightness", table, versions))

    assert route(router, name="brightness", version_label="stable") == (2, 6)


def test_the_only_model_needs_no_name(router: Router) -> None:
    assert route(router) == (3, 5)
    assert route(router, version=2) == (2, 0)


def test_of_several_models_one_has_to_be_named(router: Router) -> None:
    router.put(ServedModel("another"))

    with pytest.raises(InvalidArgumentError, match="there are: another, brightness"):
        route(router)


def test_without_any_model_there_is_nothing_to_name() -> None:
    with pytest.raises(InvalidArgumentError, match="there are: none"):
        route(Router())


def test_what_is_not_there_is_not_found(router: Router) -> None:
    with pytest.raises(ModelNotFoundError, match="there is no model darkness"):
        route(router, name="darkness")
    with pytest.raises(VersionNotFoundError, match="does not serve version 1; it serves 2, 3"):
        route(router, name="brightness", version=1)
    with pytest.raises(VersionNotFoundError):
        route(router, name="brightness", version=LARGEST_VERSION)
    with pytest.raises(VersionLabelNotFoundError, match="label new; it has gone, old, stable"):
        route(router, name="brightness", version_label="new")


def test_a_label_of_a_version_that_is_not_served_is_not_found(router: Router) -> None:
    with pytest.raises(VersionNotFoundError, match="does not serve version 4"):
        route(router, name="brightness", version_label="gone")


@pytest.mark.parametrize("name", ["../x", "%2e", "a\0", "é", "x" * 1_000_000])
def test_malformed_names_are_invalid_and_not_merely_unknown(name: str, router: Router) -> None:
    with pytest.raises(InvalidModelNameError):
        route(router, name=name)
    with pytest.raises(InvalidModelNameError):
        route(router, name="brightness", version_label=name)


def test_an_empty_label_is_invalid(router: Router) -> None:
    with pytest.raises(InvalidModelNameError):
        route(router, name="brightness", version_label="")


@pytest.mark.parametrize("number", [0, -1, -(2**63)])
def test_malformed_versions_are_invalid(number: int, router: Router) -> None:
    with pytest.raises(InvalidModelNameError, match=f"version {number} is not in"):
        route(router, name="brightness", version=number)


def test_a_model_that_is_not_served_says_why(router: Router) -> None:
    router.put(ServedModel("broken", reason="version 1: it has no contract"))

    for selector in ({}, {"version": 1}, {"version_label": "stable"}):
        with pytest.raises(ModelNotServingError, match="broken is not served: version 1: it has"):
            route(router, name="broken", **selector)


def test_a_stable_version_that_failed_is_not_served_and_others_can_be_pinned(
    router: Router, make_version: MakeVersion
) -> None:
    table = RoutingTable(revision=6, stable=3, version_labels={"old": 2})
    router.put(ServedModel("brightness", table, {2: make_version(2)}, reason="version 3 failed"))

    with pytest.raises(ModelNotServingError, match="version 3 failed"):
        route(router, name="brightness")
    assert route(router, name="brightness", version=2) == (2, 0)


def test_labels_are_those_that_can_be_asked_for(router: Router) -> None:
    assert router.model("brightness").labels == {"old": 2, "stable": 3}


def test_listeners_hear_of_every_change(router: Router) -> None:
    heard: list[list[str]] = []
    router.subscribe(lambda: heard.append([model.name for model in router.models()]))

    router.put(ServedModel("another"))
    router.remove("brightness")
    router.remove("never there")

    assert heard == [["another", "brightness"], ["another"]]
