"""Backends: what computes. TensorFlow Serving's protocol is all between gateway and model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from heliograph.tfserving.v1.prediction_pb2 import SignatureDef
from heliograph_gateway.servables import Servable

Arrays = Mapping[str, np.ndarray]


class Backend(Protocol):
    """Runs signatures of servables that are loaded. Loading is not its business."""

    @property
    def replicas(self) -> int:
        """Number of model servers that share the work."""

    async def predict(
        self, servable: Servable, inputs: Arrays, *, signature: str, timeout: float
    ) -> Arrays:
        """Run a signature on a batch.

        Args:
            servable: Explicit version that answers, or nobody.
            inputs: Arrays by input name, the batch in dimension 0.
            signature: Key of the signature.
            timeout: Seconds.

        Returns:
            Arrays by output name.

        Raises:
            BackendUnavailableError: No backend can be reached, or none has the servable loaded.
            DeadlineExceededError: The time was not enough.
            HeliographError: What else the backend answered.
        """

    async def signatures(self, servable: Servable, *, timeout: float) -> Mapping[str, SignatureDef]:
        """Return the signatures of a servable by key; errors as for `predict`."""

    async def close(self) -> None:
        """Close the connections."""
