"""Retries of what travels on a stream, where gRPC's own retries do not reach.

They follow the same rules: as many attempts, after random and growing delays or when the server
says, and none while too much fails.
"""

from __future__ import annotations

import random
from typing import Final

from heliograph.errors import HeliographError
from heliograph.options import RetryOptions

MAX_TOKENS: Final = 100
TOKENS_PER_ANSWER: Final = 0.1
"""As in gRPC's service config (`retryThrottling`): a failure takes a token, an answer gives a tenth
back, and nothing is tried again while half of the tokens are gone."""


class RetryBudget:
    """Says whether and when a message is sent again."""

    def __init__(self, options: RetryOptions) -> None:
        """Start with all tokens."""
        self._options = options
        self._tokens = float(MAX_TOKENS)

    def answered(self) -> None:
        """Note a message that was answered."""
        self._tokens = min(self._tokens + TOKENS_PER_ANSWER, MAX_TOKENS)

    def failed(self) -> bool:
        """Note a message that failed, and return whether one may be sent again now."""
        self._tokens = max(self._tokens - 1.0, 0.0)
        return self._tokens > MAX_TOKENS / 2

    def covers(self, error: HeliographError) -> bool:
        """Return whether an error is of a kind that is worth another attempt."""
        return error.status in self._options.statuses

    def allows(self, error: HeliographError, attempts: int) -> bool:
        """Return whether an error is worth another attempt, after so many."""
        return self.covers(error) and attempts < self._options.attempts

    def delay(self, error: HeliographError, attempts: int) -> float:
        """Return the seconds before the attempt that follows so many, at least 1."""
        if error.retry_after is not None:
            return error.retry_after
        options = self._options
        longest = options.initial_backoff * options.multiplier ** (attempts - 1)
        return random.uniform(0.0, min(longest, options.max_backoff))  # noqa: S311

    def pause(self, error: HeliographError, breaks: int) -> float:
        """Return the seconds before a connection that broke so often in a row is opened again.

        The delays begin anew with the messages that had no attempt yet, as they do with every call.
        """
        return self.delay(error, (breaks - 1) % max(self._options.attempts - 1, 1) + 1)
