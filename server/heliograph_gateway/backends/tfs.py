"""TensorFlow Serving as a backend: one or more replicas, each with the same models."""

from __future__ import annotations

import itertools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from heliograph.errors import (
    BackendUnavailableError,
    CancelledError,
    DeadlineExceededError,
    HeliographError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)
from heliograph.options import RetryOptions
from heliograph.tfserving import AsyncPredictionClient
from heliograph.tfserving.v1.prediction_pb2 import SignatureDef
from heliograph_gateway.backends import Arrays
from heliograph_gateway.metrics import GatewayMetrics
from heliograph_gateway.servables import Servable

log = structlog.get_logger()

_Answer = TypeVar("_Answer")
_RETRY_AFTER = 1.0
"""Seconds after which a caller may ask again for a backend that was away."""
_REST = 1.0
"""Seconds after which a replica that was away is asked again although others are there."""
_PASSED_ON = (
    CancelledError,
    DeadlineExceededError,
    InvalidArgumentError,
    ResourceExhaustedError,
)
"""Answers of a backend that mean the same to our caller."""
_NO_RETRIES = RetryOptions(attempts=1)
"""Another attempt goes to another replica, which this module decides."""


def target_of(address: str) -> str:
    """Return the gRPC target of `tfs://HOST:PORT` or `tfs:///PATH/OF/SOCKET`."""
    rest = address.removeprefix("tfs://")
    return f"unix:{rest}" if rest.startswith("/") else rest


@dataclass(eq=False)
class _Replica:
    address: str
    client: AsyncPredictionClient
    in_flight: int = 0
    turn: int = 0
    """Number of the last request that came here."""
    up: bool = True
    rests_until: float = 0.0
    """Monotonic time until which other replicas are asked first."""


class TensorFlowServing:
    """Asks the replica with the least work; tries another once when it cannot be reached."""

    def __init__(self, addresses: Sequence[str], metrics: GatewayMetrics) -> None:
        """Make a backend; it is connected with the first call.

        Args:
            addresses: `tfs://HOST:PORT` or `tfs:///PATH/OF/SOCKET`, at least one.
            metrics: Where is said which replicas are up.
        """
        self._metrics = metrics
        self._turns = itertools.count(1)
        self._replicas = [
            _Replica(address, AsyncPredictionClient(target_of(address), retry=_NO_RETRIES))
            for address in addresses
        ]

    @property
    def replicas(self) -> int:
        """See Backend."""
        return len(self._replicas)

    async def predict(
        self, servable: Servable, inputs: Arrays, *, signature: str, timeout: float
    ) -> Arrays:
        """See Backend."""

        async def ask(client: AsyncPredictionClient, remaining: float) -> Arrays:
            return await client.predict(
                servable.model,
                inputs,
                version=servable.version,
                signature=signature,
                timeout=remaining,
            )

        return await self._ask(servable, ask, timeout)

    async def signatures(self, servable: Servable, *, timeout: float) -> Mapping[str, SignatureDef]:
        """See Backend."""

        async def ask(
            client: AsyncPredictionClient, remaining: float
        ) -> Mapping[str, SignatureDef]:
            metadata = await client.metadata(
                servable.model, version=servable.version, timeout=remaining
            )
            return metadata.signatures

        return await self._ask(servable, ask, timeout)

    async def close(self) -> None:
        """See Backend."""
        for replica in self._replicas:
            await replica.client.close()

    async def _ask(
        self,
        servable: Servable,
        ask: Callable[[AsyncPredictionClient, float], Awaitable[_Answer]],
        timeout: float,
    ) -> _Answer:
        end = time.monotonic() + timeout
        first = self._least_busy(self._replicas)
        try:
            return await self._ask_one(first, servable, ask, end)
        except BackendUnavailableError:
            if time.monotonic() >= end:
                raise
            others = [replica for replica in self._replicas if replica is not first]
            return await self._ask_one(self._least_busy(others or [first]), servable, ask, end)

    def _least_busy(self, replicas: Sequence[_Replica]) -> _Replica:
        now = time.monotonic()
        return min(replicas, key=lambda each: (now < each.rests_until, each.in_flight, each.turn))

    async def _ask_one(
        self,
        replica: _Replica,
        servable: Servable,
        ask: Callable[[AsyncPredictionClient, float], Awaitable[_Answer]],
        end: float,
    ) -> _Answer:
        remaining = end - time.monotonic()
        if remaining <= 0:
            raise DeadlineExceededError("no time is left to ask the backend")
        replica.in_flight += 1
        replica.turn = next(self._turns)
        try:
            answer = await ask(replica.client, remaining)
        except UnavailableError as error:
            self._mark(replica, up=False)
            raise BackendUnavailableError(
                "the model server cannot be reached", retry_after=_RETRY_AFTER
            ) from error
        except NotFoundError as error:
            self._mark(replica, up=True)
            raise BackendUnavailableError(
                f"the model server has not loaded {servable}", retry_after=_RETRY_AFTER
            ) from error
        except _PASSED_ON:
            raise
        except HeliographError as error:
            self._mark(replica, up=True)
            # What the runtime says may hold names of tensors and files: it is for the log alone.
            log.error(
                "backend failed",
                backend=replica.address,
                servable=str(servable),
                code=error.status,
                error=error.message,
            )
            raise InternalError(f"model {servable} failed with {error.status}") from error
        finally:
            replica.in_flight -= 1
        self._mark(replica, up=True)
        return answer

    def _mark(self, replica: _Replica, *, up: bool) -> None:
        if replica.up != up:
            log.warning("backend up" if up else "backend down", backend=replica.address)
        replica.up = up
        replica.rests_until = 0.0 if up else time.monotonic() + _REST
        self._metrics.backend_up(replica.address, up)
