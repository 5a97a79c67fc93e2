"""The path of one request: admit, route, prepare, batch, predict, rank."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

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
from heliograph_gateway.ranking import rank
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
        remaining = deadline - time.monotonic()
        with self._admission.admit(len(images), remaining):
            route = self._router.resolve(selector)
            self._admission.check_wait(
                len(images),
                route.version.images,
                route.version.statistics.row_seconds,
                remaining,
            )
            with _Request(route.version, len(images), self._metrics) as times:
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
        prepared = await self._preparation.prepare_all(version, images)
        times.prepare = times.lap()
        errors = prepared.errors
        if errors and not partial:
            first = min(errors)
            raise _of_image(first, errors[first], len(images))
        answered = await self._batcher.submit(
            version, prepared.rows, deadline, caller=current_call.get().caller
        )
        times.queue = answered.queued
        times.predict = times.lap() - answered.queued
        outcomes: Sequence[Outcome | HeliographError] = answered.outcomes
        if errors:
            good = iter(outcomes)
            outcomes = [errors.get(index) or next(good) for index in range(len(images))]
        ranked = self._rank(version, outcomes, options)
        times.rank = times.lap()
        return ranked if partial else [*all_of(ranked)]

    def _rank(
        self,
        version: ServableVersion,
        outcomes: Sequence[Outcome | HeliographError],
        options: ClassifyOptions,
    ) -> list[Classification | HeliographError]:
        """Rank what the model gave; errors stay in their places."""
        ranked: list[Classification | HeliographError] = []
        best = []
        for outcome in outcomes:
            if isinstance(outcome, HeliographError):
                ranked.append(outcome)
                continue
            try:
                index, classification = rank(outcome, version.class_names, options)
            except ModelOutputError as error:
                ranked.append(error)
            else:
                best.append(index)
                ranked.append(classification)
        self._metrics.classified(version, best)
        return ranked


class _Request:
    """A request on a version: keeps it from being drained, and counts what became of it."""

    __slots__ = ("_images", "_metrics", "_times", "_version")

    def __init__(self, version: ServableVersion, images: int, metrics: GatewayMetrics) -> None:
        self._version = version
        self._images = images
        self._metrics = metrics
        self._times = RequestTimes()

    def __enter__(self) -> RequestTimes:
        self._version.enter(self._images)
        return self._times

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        total = self._times.total()
        statistics = self._version.statistics
        if kind is None:
            statistics.answered(total, self._times)
        else:
            statistics.failed.add(total)
        self._metrics.stages(self._times)
        self._version.leave(self._images)


def all_of(outcomes: Sequence[_Result | HeliographError]) -> list[_Result]:
    """Return the outcomes of all images.

    Raises:
        HeliographError: An image failed: the error of the first that did. Where there are several
            images, its message names the index, from 0.
    """
    results: list[_Result] = []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, HeliographError):
            raise _of_image(index, outcome, len(outcomes))
        results.append(outcome)
    return results


def _of_image(index: int, error: HeliographError, images: int) -> HeliographError:
    """Return what is raised for one of several images."""
    if images == 1:
        return error
    named = type(error)(f"image {index}: {error.message}", retry_after=error.retry_after)
    named.__cause__ = error
    return named


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
