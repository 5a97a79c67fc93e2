"""TensorFlow Serving for Python, without TensorFlow: arrays in, arrays out.

    from heliograph.tfserving import PredictionClient

    with PredictionClient("localhost:8500") as client:
        outputs = client.predict("digits", {"image": pixels})
        print(outputs["probabilities"], outputs.version)

The clients need NumPy, which comes with `pip install 'heliograph[image]'`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heliograph.tfserving.aio import AsyncModelServiceClient, AsyncPredictionClient
    from heliograph.tfserving.client import ModelServiceClient, PredictionClient
    from heliograph.tfserving.models import ModelMetadata, VersionStatus
    from heliograph.tfserving.prediction import Prediction
    from heliograph.tfserving.tensors import from_tensor_proto, to_tensor_proto

__all__ = [
    "AsyncModelServiceClient",
    "AsyncPredictionClient",
    "ModelMetadata",
    "ModelServiceClient",
    "Prediction",
    "PredictionClient",
    "VersionStatus",
    "from_tensor_proto",
    "to_tensor_proto",
]

_MODULES = {
    "AsyncModelServiceClient": "heliograph.tfserving.aio",
    "AsyncPredictionClient": "heliograph.tfserving.aio",
    "ModelMetadata": "heliograph.tfserving.models",
    "ModelServiceClient": "heliograph.tfserving.client",
    "Prediction": "heliograph.tfserving.prediction",
    "PredictionClient": "heliograph.tfserving.client",
    "VersionStatus": "heliograph.tfserving.models",
    "from_tensor_proto": "heliograph.tfserving.tensors",
    "to_tensor_proto": "heliograph.tfserving.tensors",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562), so that this package costs nothing."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_MODULES[name]), name)
    except ModuleNotFoundError as error:
        if error.name != "numpy":
            raise
        from heliograph.errors import MissingExtraError

        raise MissingExtraError(
            "heliograph.tfserving needs NumPy, which is not installed: "
            "pip install 'heliograph[image]'"
        ) from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
