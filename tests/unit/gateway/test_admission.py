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


# Waiting.


@pytest.mark.parametrize(
    ("images", "ahead", "row_seconds", "remaining", "refused"),
    [
        (1, 100, 0.01, 2.0, False),
        (1, 100, 0.01, 1.0, True),
        (100, 1, 0.01, 1.0, True),
        (1, 68, 0.01, 1.0, False),
        (1, 70, 0.01, 1.0, True),
        (1, 1000, 0.0, 0.001, False),  # Nothing has been measured.
        (1, 0, 60.0, 1.0, False),  # Nobody is ahead: one has to try.
    ],
)
def test_what_would_wait_past_its_deadline_is_refused_at_once(
    images: int,
    ahead: int,
    row_seconds: float,
    remaining: float,
    refused: bool,
    admission: Admission,
    metrics: GatewayMetrics,
) -> None:
    if refused:
        with pytest.raises(OverloadedError, match=f"{ahead} images are ahead") as caught:
            admission.check_wait(images, ahead, row_seconds, remaining)
        assert caught.value.retry_after == pytest.approx(
            max(0.1, (images + ahead) * row_seconds - 0.7 * remaining)
        )
        assert rejected(metrics, "wait") == 1
    else:
        admission.check_wait(images, ahead, row_seconds, remaining)
        assert not rejected(metrics, "wait")
