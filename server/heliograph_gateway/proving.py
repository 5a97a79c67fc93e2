"""Proving: a version answers nobody before it has shown that it keeps its contract.

The golden images go the way that requests go: prepared by the recipe, batched, computed by the
backend.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from heliograph.contract import DEFAULT_TOLERANCE, check_signature, read_contract
from heliograph.errors import ContractError, HeliographError
from heliograph.golden import GoldenExample, check_pixels, check_probabilities, read_golden
from heliograph.manifest import verify_manifest
from heliograph.preprocessing import ImageLimits
from heliograph.repository import Repository
from heliograph.tfserving.v1.prediction_pb2 import SignatureDef
from heliograph.v1.contract_pb2 import ModelContract
from heliograph_gateway.backends import Backend
from heliograph_gateway.batching import Batcher
from heliograph_gateway.servables import Servable, ServableVersion
from heliograph_gateway.statistics import Statistics

_CALLER = "golden"
"""Whose turn it is in the batcher: what is proved has no more of it than any caller."""


class Prover:
    """Checks versions that the backend has loaded."""

    def __init__(
        self,
        repository: Repository,
        backend: Backend,
        batcher: Batcher,
        limits: ImageLimits,
        *,
        device: Literal["cpu", "gpu"],
        timeout: float,
    ) -> None:
        self._repository = repository
        self._backend = backend
        self._batcher = batcher
        self._limits = limits
        self._device = device
        self._timeout = timeout

    async def smoke(self, servable: Servable) -> ServableVersion:
        """Check contract, signature and one golden image of a version that has passed before.

        Raises:
            ContractError: The contract is missing, broken, or does not fit the SavedModel.
            GoldenMismatchError: The golden image gives something else.
            HeliographError: The backend cannot be asked.
        """
        version, examples = await self._open(servable)
        await self._replay(version, examples[:1])
        return version

    async def prove(self, servable: Servable) -> ServableVersion:
        """Check every file and every golden image of a version that never answered before.

        Raises:
            CorruptVersionError: A file differs from the manifest.
            HeliographError: As for `smoke`.
        """
        path = self._repository.version_path(*servable)
        version, examples = await self._open(servable)
        await asyncio.to_thread(verify_manifest, path)
        await self._replay(version, examples)
        return version

    async def _open(self, servable: Servable) -> tuple[ServableVersion, Sequence[GoldenExample]]:
        path = self._repository.version_path(*servable)
        contract = await asyncio.to_thread(read_contract, path)
        version = ServableVersion.of(servable, contract)
        check_signature(contract, await self._signatures(servable))
        return version, await asyncio.to_thread(read_golden, path)

    async def _signatures(self, servable: Servable) -> Mapping[str, SignatureDef]:
        return await self._backend.signatures(servable, timeout=self._timeout)

    async def _replay(self, version: ServableVersion, examples: Sequence[GoldenExample]) -> None:
        rows = await asyncio.to_thread(_prepare, version, examples, self._limits)
        deadline = time.monotonic() + self._timeout
        answered = await self._batcher.submit(version, rows, deadline, caller=_CALLER)
        tolerance = _tolerance(version.contract, self._device)
        for example, outcome in zip(examples, answered.outcomes, strict=True):
            if isinstance(outcome, HeliographError):
                raise outcome
            check_probabilities(example, outcome.scores().tolist(), tolerance)
        # What the check has computed nobody had asked for.
        version.statistics = Statistics()


def _prepare(
    version: ServableVersion, examples: Sequence[GoldenExample], limits: ImageLimits
) -> np.ndarray:
    rows = version.rows(len(examples))
    for index, example in enumerate(examples):
        prepared = version.recipe.prepare(example.encoded, limits)
        check_pixels(example, prepared if isinstance(prepared, bytes) else prepared.tobytes())
        rows[index : index + 1] = version.row(prepared)
    return rows


def _tolerance(contract: ModelContract, device: str) -> float:
    stated = {entry.device: entry.absolute for entry in contract.golden_tolerances}
    tolerance = stated.get(device, DEFAULT_TOLERANCE)
    if not 0 < tolerance < 1:
        raise ContractError(f"the contract's golden tolerance for {device} is {tolerance}")
    return tolerance
