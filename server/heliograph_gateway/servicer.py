"""`heliograph.v1.Classifier`: decode, ask the pipeline or the router, encode the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator

from heliograph.v1 import classifier_pb2, classifier_pb2_grpc
from heliograph.v1.classifier_pb2 import Model
from heliograph_gateway.calls import Context, current_call, deadline_of
from heliograph_gateway.pipeline import Pipeline
from heliograph_gateway.routing import Router, ServedModel
from heliograph_gateway.streaming import StreamClassifier


class ClassifierServicer(classifier_pb2_grpc.ClassifierServicer):
    """The public service."""

    def __init__(
        self,
        pipeline: Pipeline,
        streams: StreamClassifier,
        router: Router,
        *,
        longest_call: float,
    ) -> None:
        """Make a servicer.

        Args:
            pipeline: Answers images.
            streams: Answers streams of images.
            router: Knows the models.
            longest_call: Deadline in seconds of a call whose caller set none.
        """
        self._pipeline = pipeline
        self._streams = streams
        self._router = router
        self._longest_call = longest_call

    async def Classify(  # noqa: N802
        self, request: classifier_pb2.ClassifyRequest, context: Context
    ) -> classifier_pb2.ClassifyResponse:
        """Answer one image."""
        self._note_model(request.model)
        deadline = deadline_of(context, self._longest_call)
        response = await self._pipeline.classify(request, deadline)
        current_call.get().answered(response.served_by)
        return response

    async def BatchClassify(  # noqa: N802
        self, request: classifier_pb2.BatchClassifyRequest, context: Context
    ) -> classifier_pb2.BatchClassifyResponse:
        """Answer several images."""
        self._note_model(request.model)
        deadline = deadline_of(context, self._longest_call)
        response = await self._pipeline.classify_batch(request, deadline)
        current_call.get().answered(response.served_by)
        return response

    def StreamClassify(  # noqa: N802
        self,
        request_iterator: AsyncIterator[classifier_pb2.StreamClassifyRequest],
        context: Context,
    ) -> AsyncIterator[classifier_pb2.StreamClassifyResponse]:
        """Answer the images of a stream."""
        return self._streams.answer(request_iterator, context.time_remaining())

    async def GetModel(  # noqa: N802
        self, request: classifier_pb2.GetModelRequest, context: Context
    ) -> classifier_pb2.GetModelResponse:
        """Describe one model."""
        self._note_model(request.model)
        model = self._router.model(request.model.name)
        if not model.serving and request.model.WhichOneof("selector") is None:
            return classifier_pb2.GetModelResponse(model=describe(model))
        version = self._router.resolve(request.model).version
        return classifier_pb2.GetModelResponse(
            model=describe(model), version=version.servable.version, contract=version.contract
        )

    async def ListModels(  # noqa: N802
        self, request: classifier_pb2.ListModelsRequest, context: Context
    ) -> classifier_pb2.ListModelsResponse:
        """Describe every model."""
        return classifier_pb2.ListModelsResponse(
            models=[describe(model) for model in self._router.models()]
        )

    def _note_model(self, selector: classifier_pb2.ModelSelector) -> None:
        current_call.get().model = self._router.known_name(selector.name)


def describe(model: ServedModel) -> Model:
    """Return a model as the API describes it."""
    table = model.table
    return Model(
        name=model.name,
        state=Model.STATE_SERVING if model.serving else Model.STATE_NOT_SERVING,
        reason="" if model.serving else model.reason,
        stable_version=table.stable if table and model.serving else 0,
        versions=sorted(model.versions),
        version_labels=model.labels,
        routing_revision=table.revision if table else 0,
    )
