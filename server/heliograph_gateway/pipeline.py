"""The path of one request: admit, route, prepare, batch, predict, rank."""

from __future__ import annotations

import time

import numpy as np

from heliograph.errors import HeliographError, InvalidArgumentError
from heliograph.v1.classifier_pb2 import (
    BatchClassifyRequest,
    BatchClassifyResponse,
    Classification,
    ClassifyOptions,
    ClassifyRequest,
    ClassifyResponse,
    ImageResult,
    ServedBy,
)
from heliograph.wire_errors import to_status
from heliograph_gateway.admission import Admission
from heliograph_gateway.batching import Batcher
from heliograph_gateway.calls import current_call
from heliograph_gateway.metrics import GatewayMetrics
from heliograph_gateway.preparation import Preparation
from heliograph_gateway.ranking import rank, scores_of
from heliograph_gateway.routing import Route, Router
from heliograph_gateway.servables import ServableVersion


class Pipeline:
    """Answers requests with the parts it is given."""

    def __init__(
        self,
        admission: Admission,
        router: Router,
        preparation: Preparation,
        batcher: Batcher,
        metrics: GatewayMetrics,
        *,
        max_batch_images: int,
    ) -> None:
        self._admission = admission
        self._router = router
        self._preparation = preparation
        self._batcher = batcher
        self._metrics = metrics
        self._max_batch_images = max_batch_images

    async def classify(self, request: ClassifyRequest, deadline: float) -> ClassifyResponse:
        """Classify one image.

        Args:
            request: As it came.
            deadline: Of the caller, in seconds of `time.monotonic()`.

        Raises:
            HeliographError: The request is refused, or failed; see docs/errors.md.
        """
        _check_options(request.options)
        with self._admission.admit(1, deadline - time.monotonic()):
            route = self._router.resolve(request.model)
            with route.version.in_use():
                with self._metrics.stage("prepare"):
                    row = await self._preparation.prepare(route.version, request.image)
                with self._metrics.stage("predict"):
                    [outcome] = await self._batcher.submit(route.version, [row], deadline)
                classification = self._rank(route.version, outcome, request.options)
        return ClassifyResponse(served_by=_served_by(route), classification=classification)

    async def classify_batch(
        self, request: BatchClassifyRequest, deadline: float
    ) -> BatchClassifyResponse:
        """Classify several images with one version; an image that fails has an error in its place.

        Args:
            request: As it came.
            deadline: Of the caller, in seconds of `time.monotonic()`.

        Raises:
            HeliographError: No image could be looked at, or the backend failed.
        """
        _check_options(request.options)
        count = len(request.images)
        if not 1 <= count <= self._max_batch_images:
            raise InvalidArgumentError(
                f"the batch has {count} images; send 1 to {self._max_batch_images}"
            )
        with self._admission.admit(count, deadline - time.monotonic()):
            route = self._router.resolve(request.model)
            with route.version.in_use():
                with self._metrics.stage("prepare"):
                    prepared = await self._preparation.prepare_all(route.version, request.images)
                rows = [row for row in prepared if not isinstance(row, HeliographError)]
                with self._metrics.stage("predict"):
                    predicted = iter(await self._batcher.submit(route.version, rows, deadline))
                results = [
                    self._result(
                        route.version,
                        row if isinstance(row, HeliographError) else next(predicted),
                        request.options,
                    )
                    for row in prepared
                ]
        return BatchClassifyResponse(served_by=_served_by(route), results=results)

    def _result(
        self,
        version: ServableVersion,
        outcome: np.ndarray | HeliographError,
        options: ClassifyOptions,
    ) -> ImageResult:
        try:
            return ImageResult(classification=self._rank(version, outcome, options))
        except HeliographError as error:
            error.request_id = current_call.get().request_id
            return ImageResult(error=to_status(error))

    def _rank(
        self,
        version: ServableVersion,
        outcome: np.ndarray | HeliographError,
        options: ClassifyOptions,
    ) -> Classification:
        if isinstance(outcome, HeliographError):
            raise outcome
        [scores] = scores_of(outcome, version.contract.output.activation)
        self._metrics.classified(version, int(scores.argmax()))
        return rank(scores, version.class_names, options)


def _served_by(route: Route) -> ServedBy:
    model, version = route.version.servable
    return ServedBy(name=model, version=version, routing_revision=route.revision)


def _check_options(options: ClassifyOptions) -> None:
    if options.top_k < 0:
        raise InvalidArgumentError(f"top_k is {options.top_k}; it must be 0 (for 5) or more")
    if not 0 <= options.min_score <= 1:
        raise InvalidArgumentError(f"min_score is {options.min_score}; it must be in 0 … 1")
