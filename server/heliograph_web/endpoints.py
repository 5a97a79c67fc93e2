"""What the web server answers: predictions, models and its health."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from heliograph import AsyncClient, ModelDetails, ModelInfo, Result
from heliograph.classifier_calls import DEFAULT_TOP_K
from heliograph.errors import HeliographError, InvalidArgumentError
from heliograph_web.error_answers import error_answer
from heliograph_web.upload import UploadLimits, read_image


class Endpoints:
    """The JSON interface, on top of a client of the gateway."""

    def __init__(self, client: AsyncClient, *, model: str | None, limits: UploadLimits) -> None:
        """Answer by means of a client.

        Args:
            client: Client of the gateway; it stays the caller's to close.
            model: Model asked where a request names none; None for the only one served.
            limits: Limits of an upload.
        """
        self._client = client
        self._model = model
        self._limits = limits

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/predict", self.predict, methods=["POST"]),
            Route("/models", self.models, methods=["GET"]),
            Route("/models/{name}", self.model, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
        ]

    async def predict(self, request: Request) -> Response:
        """Classify the image of a form; the query may name `model`, `version` and `top_k`."""
        query = request.query_params
        model = query.get("model") or self._model
        version = _whole_number(request, "version")
        top_k = _whole_number(request, "top_k")
        image = await read_image(request, self._limits)
        result = await self._client.classify(
            image,
            model=model,
            version=version,
            version_label=query.get("version_label"),
            top_k=DEFAULT_TOP_K if top_k is None else top_k,
        )
        return _answer(_prediction(result))

    async def models(self, _: Request) -> Response:
        """List the models, and what the page needs to know before it asks."""
        models = await self._client.models()
        return _answer(
            {
                "models": [_model(model) for model in models],
                "default_model": self._model,
                "max_image_bytes": self._limits.max_bytes,
            }
        )

    async def model(self, request: Request) -> Response:
        """Describe the stable version of a model by its contract."""
        return _answer(_details(await self._client.model(request.path_params["name"])))

    async def health(self, _: Request) -> Response:
        """Say whether the gateway answers now: 200, or 503 when it does not."""
        try:
            serving = await self._client.health(self._model)
        except HeliographError as error:
            answer = error_answer(error)
            answer.status_code = 503
            return answer
        if not serving:
            subject = f"model {self._model}" if self._model else "the gateway"
            return _answer(
                {"error": f"{subject} is not serving", "reason": "MODEL_NOT_SERVING"}, 503
            )
        return _answer({"status": "SERVING"})


def _prediction(result: Result) -> dict[str, Any]:
    best = result.classes[0]
    return {
        "prediction": best.index,
        "class_name": best.class_name,
        "score": best.score,
        "scores": {entry.class_name: entry.score for entry in result.classes},
        "model": result.model,
        "version": result.version,
    }


def _model(model: ModelInfo) -> dict[str, Any]:
    return {
        "name": model.name,
        "serving": model.serving,
        "reason": model.reason,
        "stable_version": model.stable_version,
        "versions": list(model.versions),
        "version_labels": dict(model.version_labels),
    }


def _details(details: ModelDetails) -> dict[str, Any]:
    contract = details.contract
    return _model(details.model) | {
        "version": details.version,
        "class_names": list(contract.class_names),
        "input_shape": list(contract.input.shape),
        "recipe": contract.recipe,
        "examples": contract.evaluation.examples,
        "metrics": dict(contract.evaluation.metrics),
    }


def _whole_number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if not text:
        return None
    # Nothing longer than the largest version: int() is slow on very long texts.
    if len(text) > 19 or not (text.isascii() and text.isdecimal()):
        raise InvalidArgumentError(f"{name} in the query is no whole number")
    return int(text)


def _answer(document: dict[str, Any], status: int = 200) -> Response:
    return JSONResponse(document, status, {"Cache-Control": "no-store"})
