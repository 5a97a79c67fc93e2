"""Admission: a place for each image, and a refusal that is cheap and says when to come back."""

from __future__ import annotations

import math

import pytest

from heliograph.errors import DeadlineExceededError, OverloadedError
from heliograph_gateway.admission import Admission
from heliograph_gateway.metrics import GatewayMetrics


@pytest.fixture
def admission(metrics: GatewayMetrics) -> Admission:
    """An admission with four places."""
    return Admission(4, metrics)


def inside(metrics: GatewayMetrics) -> float | None:
    return metrics.registry.get_sample_value("heliograph_inflight")


def rejected(metrics: GatewayMetrics, reason: str) -> float | None:
    name = "heliograph_admission_rejected_total"
    return metrics.registry.get_sample_value(name, {"reason": reason})


def test_every_image_takes_a_place_until_it_is_done(
    admission: Admission, metrics: GatewayMetrics
) -> None:
    with admission.admit(1, 1.0), admission.admit(3, 1.0):
        assert inside(metrics) == 4

    assert inside(metrics) == 0


def test_when_all_places_are_taken_the_caller_is_told_when_to_come_back(
    admission: Admission, metrics: GatewayMetrics
) -> None:
    with (
        admission.admit(3, 1.0),
        pytest.raises(OverloadedError, match="the limit is 4") as caught,
        admission.admit(2, 1.0),
    ):
        pass

    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 0
    assert rejected(metrics, "overload") == 1
    assert inside(metrics) == 0


def test_a_refusal_takes_no_place(admission: Admission) -> None:
    with admission.admit(3, 1.0):
        with pytest.raises(OverloadedError), admission.admit(2, 1.0):
            pass
        with admission.admit(1, 1.0):
            pass


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_a_failure_frees_the_place(
    failure: type[BaseException], admission: Admission, metrics: GatewayMetrics
) -> None:
    with pytest.raises(failure), admission.admit(4, 1.0):
        raise failure

    assert inside(metrics) == 0


@pytest.mark.parametrize("remaining", [0.0, -1.0, -math.inf, 0.0005])
def test_without_time_left_nothing_is_begun(
    remaining: float, admission: Admission, metrics: GatewayMetrics
) -> None:
    with (
        pytest.raises(DeadlineExceededError, match="set a later deadline"),
        admission.admit(1, remaining),
    ):
        pass

    assert rejected(metrics, "deadline") == 1
