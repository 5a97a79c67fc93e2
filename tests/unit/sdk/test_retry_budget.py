"""Retries of what travels on a stream: the rules of gRPC's own."""

from __future__ import annotations

import pytest

from heliograph import RetryOptions
from heliograph.errors import HeliographError, InternalError, OverloadedError, UnavailableError
from heliograph.retry_budget import RetryBudget

OPTIONS = RetryOptions(attempts=4, initial_backoff=0.1, max_backoff=0.3, multiplier=2.0)
AWAY = UnavailableError("away")


@pytest.mark.parametrize(
    ("error", "attempts", "allowed"),
    [
        (AWAY, 1, True),
        (AWAY, 3, True),
        (AWAY, 4, False),
        (OverloadedError("full"), 1, True),
        (InternalError("a bug"), 1, False),
    ],
)
def test_the_options_say_what_is_tried_again_and_how_often(
    error: HeliographError, attempts: int, allowed: bool
) -> None:
    assert RetryBudget(OPTIONS).allows(error, attempts) is allowed


def test_delays_are_random_and_grow_up_to_a_bound() -> None:
    budget = RetryBudget(OPTIONS)

    longest = [max(budget.delay(AWAY, attempts) for _ in range(500)) for attempts in (1, 2, 3, 4)]

    for seen, bound in zip(longest, (0.1, 0.2, 0.3, 0.3), strict=True):
        assert 0.8 * bound < seen <= bound


def test_the_server_may_say_when() -> None:
    assert RetryBudget(OPTIONS).delay(OverloadedError("full", retry_after=7.0), 1) == 7.0


def test_a_connection_that_keeps_breaking_is_opened_again_as_soon_for_every_new_message() -> None:
    budget = RetryBudget(OPTIONS)

    longest = [max(budget.pause(AWAY, breaks) for _ in range(500)) for breaks in range(1, 7)]

    for seen, bound in zip(longest, (0.1, 0.2, 0.3, 0.1, 0.2, 0.3), strict=True):
        assert 0.8 * bound < seen <= bound


def test_one_attempt_means_no_pause_that_grows() -> None:
    budget = RetryBudget(RetryOptions(attempts=1, initial_backoff=0.1))

    assert all(0 <= budget.pause(AWAY, breaks) <= 0.1 for breaks in range(1, 50))


def test_nothing_is_tried_again_while_half_of_the_tokens_are_gone() -> None:
    budget = RetryBudget(OPTIONS)

    assert [budget.failed() for _ in range(60)] == [True] * 49 + [False] * 11

    for _ in range(200):
        budget.answered()
    assert budget.failed()
