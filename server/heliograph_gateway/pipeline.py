"""The path of one request: admit, route, prepare, batch, predict, rank."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from heliograph.errors import HeliographError, InvalidArgumentError, ModelOutputError
from heliograph.v1.classifier_pb2 import (
    BatchClassifyRequest,
    BatchClassifyResponse,
    Classification,
    ClassifyOptions,
    ClassifyRequest,
    ClassifyResponse,
    Image,
    ImageResult,
    ModelSelector,
    ServedBy,
)
from heliograph.wire_errors import to_status
from heliograph_gateway.admission import Admission
from heliograph_gateway.batching import Batcher, Outcome
from heliograph_gateway.calls import current_call
from heliograph_gateway.metrics import GatewayMetrics
from heliograph_gateway.preparation import Preparation
from heliograph_gateway.ranking import rank, scores_of
from heliograph_gateway.routing import Route, Router
from heliograph_gateway.servables import ServableVersion
from heliograph_gateway.statistics import RequestTimes

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Answer:
    """What became of the images of a request."""

    served_by: ServedBy
    """The version that answered."""
    outcomes: Sequence[Classification | HeliographError]
    """Of each image, in their order: its classes, or why there are none."""


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
        self.max_batch_images = max_batch_images
        """Largest number of images in one request."""

    async def classify(self, request: ClassifyRequest, deadline: float) -> ClassifyResponse:
        """Classify one image.

        Args:
            request: As it came.
            deadline: Of the caller, in seconds of `time.monotonic()`.

        Raises:
            HeliographError: The request is refused, or failed; see docs/errors.md.
        """
        answer = await self.answer(request.model, [request.image], request.options, deadline)
        [classification] = all_of(answer.outcomes)
        return ClassifyResponse(served_by=answer.served_by, classification=classification)

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
        self.check_count(len(request.images))
        served_by, results = await self.classify_images(
            request.model, request.images, request.options, deadline
        )
        return BatchClassifyResponse(served_by=served_by, results=results)

    async def classify_images(
        self,
        selector: ModelSelector,
        images: Sequence[Image],
        options: ClassifyOptions,
        deadline: float,
    ) -> tuple[ServedBy, list[ImageResult]]:
        """Classify several images as for `classify_batch`."""
        answer = await self.answer(selector, images, options, deadline, partial=True)
        return answer.served_by, [_image_result(outcome) for outcome in answer.outcomes]

    async def answer(
        self,
        selector: ModelSelector,
        images: Sequence[Image],
        options: ClassifyOptions,
        deadline: float,
        *,
        partial: bool = False,
    ) -> Answer:
        """Classify images with one version.

        Args:
            selector: Model and version that answers.
            images: At least one.
            options: Of every ranking.
            deadline: Of the caller, in seconds of `time.monotonic()`.
            partial: Whether an image that fails by itself has its error among the outcomes;
                otherwise its error is raised, and no further stage is begun.

        Raises:
            HeliographError: The request is refused, or failed; see docs/errors.md.
        """
        _check_options(options)
        with self._admission.admit(len(images), deadline - time.monotonic()):
            route = self._router.resolve(selector)
            with route.version.in_use(), route.version.statistics.request() as times:
                outcomes = await self._run(route.version, images, options, deadline, partial, times)
        return Answer(_served_by(route), outcomes)

    def check_count(self, count: int) -> None:
        """Check the number of images in one request.

        Raises:
            InvalidArgumentError: There are none, or too many.
        """
        if not 1 <= count <= self.max_batch_images:
            raise InvalidArgumentError(
                f"the batch has {count} images; send 1 to {self.max_batch_images}"
            )

    async def _run(
        self,
        version: ServableVersion,
        images: Sequence[Image],
        options: ClassifyOptions,
        deadline: float,
        partial: bool,
        times: RequestTimes,
    ) -> list[Classification | HeliographError]:
        with self._metrics.stage("prepare", times.prepare):
            rows = await self._preparation.prepare_all(version, images)
            if not partial:
                all_of(rows)
        with self._metrics.stage("predict", times.predict):
            good = [row for row in rows if not isinstance(row, HeliographError)]
            predicted = iter(await self._batcher.submit(version, good, deadline, times.queue))
            outputs = [row if isinstance(row, HeliographError) else next(predicted) for row in rows]
            if not partial:
                all_of(outputs)
        with self._metrics.stage("rank", times.rank):
            ranked = self._rank(version, outputs, options)
            if not partial:
                all_of(ranked)
        return ranked

    def _rank(
        self,
        version: ServableVersion,
        outputs: Sequence[Outcome | HeliographError],
        options: ClassifyOptions,
    ) -> list[Classification | HeliographError]:
        """Rank what the model gave; errors stay in their places."""
        given = [output for output in outputs if not isinstance(output, HeliographError)]
        if not given:
            return [output for output in outputs if isinstance(output, HeliographError)]
        ranked = iter(self._rank_rows(version, np.concatenate(given), options))
        return [
            output if isinstance(output, HeliographError) else next(ranked) for output in outputs
        ]

    def _rank_rows(
        self, version: ServableVersion, outputs: np.ndarray, options: ClassifyOptions
    ) -> Sequence[Classification | HeliographError]:
        """Rank rows together, or each by itself where one holds no numbers."""
        try:
            scores = scores_of(outputs, version.contract.output.activation)
        except ModelOutputError as error:
            if len(outputs) == 1:
                return [error]
            rows = np.split(outputs, len(outputs))
            return [ranked for row in rows for ranked in self._rank_rows(version, row, options)]
        self._metrics.classified(version, scores.argmax(axis=1).tolist())
        return rank(scores, version.class_names, options)


def all_of(outcomes: Sequence[_Result | HeliographError]) -> list[_Result]:
    """Return the outcomes of all images.

    Raises:
        HeliographError: An image failed: the error of the first that did. Where there are several
            images, its message names the index, from 0.
    """
    results: list[_Result] = []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, HeliographError):
            if len(outcomes) == 1:
                raise outcome
            message = f"image {index}: {outcome.message}"
            raise type(outcome)(message, retry_after=outcome.retry_after) from outcome
        results.append(outcome)
    return results


def _image_result(outcome: Classification | HeliographError) -> ImageResult:
    if isinstance(outcome, HeliographError):
        outcome.request_id = current_call.get().request_id
        return ImageResult(error=to_status(outcome))
    return ImageResult(classification=outcome)


def _served_by(route: Route) -> ServedBy:
    model, version = route.version.servable
    return ServedBy(name=model, version=version, routing_revision=route.revision)


def _check_options(options: ClassifyOptions) -> None:
    if options.top_k < 0:
        raise InvalidArgumentError(f"top_k is {options.top_k}; it must be 0 (for 5) or more")
    if not 0 <= options.min_score <= 1:
        raise InvalidArgumentError(f"min_score is {options.min_score}; it must be in 0 … 1")
