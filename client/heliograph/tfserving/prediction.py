"""Predict calls of TensorFlow Serving: arrays to a request, a response to arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from heliograph.tfserving.model_spec import model_spec
from heliograph.tfserving.tensors import encode_tensor, from_tensor_proto
from heliograph.tfserving.v1.prediction_pb2 import PredictRequest, PredictResponse
from heliograph.wire_format import delimited

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

PREDICT = "/tensorflow.serving.PredictionService/Predict"


class Prediction(Mapping[str, "NDArray[Any]"]):
    """The outputs of a signature by name, each an array of its own memory, and what ran."""

    __slots__ = ("_outputs", "model", "signature", "version")

    def __init__(
        self, outputs: Mapping[str, NDArray[Any]], *, model: str, version: int, signature: str
    ) -> None:
        """Hold the outputs of a signature.

        Args:
            outputs: Arrays by name.
            model: Name of the model that ran.
            version: Version that ran; 0 when the server does not say.
            signature: Key of the signature that ran.
        """
        self._outputs = outputs
        self.model = model
        self.version = version
        self.signature = signature

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._outputs)

    def __len__(self) -> int:
        return len(self._outputs)

    def __repr__(self) -> str:
        outputs = ", ".join(f"{name}: {array.dtype}{array.shape}" for name, array in self.items())
        return f"Prediction({self.model}/{self.version} {self.signature}; {outputs})"


def predict_request(
    model: str,
    inputs: Mapping[str, ArrayLike],
    *,
    version: int | None = None,
    version_label: str | None = None,
    signature: str = "serving_default",
    output_filter: Sequence[str] = (),
) -> bytes:
    """Return a serialized PredictRequest; the elements of numeric inputs are copied once.

    Raises:
        InvalidTensorError: TensorFlow has no such dtype.
        InvalidModelNameError: The model or version is malformed.
    """
    spec = model_spec(model, version=version, version_label=version_label, signature=signature)
    request = PredictRequest(model_spec=spec, output_filter=output_filter)
    parts: list[bytes | memoryview] = [request.SerializeToString()]
    for name, value in inputs.items():
        tensor = encode_tensor(value)
        size = sum(len(part) for part in tensor)
        key = name.encode()
        # An entry of the map `inputs` (field 2) is a message of its key (1) and its value (2).
        entry = delimited(1, len(key)) + key + delimited(2, size)
        parts.append(delimited(PredictRequest.INPUTS_FIELD_NUMBER, len(entry) + size) + entry)
        parts.extend(tensor)
    return b"".join(parts)


def prediction(response: PredictResponse) -> Prediction:
    """Return what a response holds.

    Raises:
        InvalidTensorError: An output cannot be read.
    """
    spec = response.model_spec
    return Prediction(
        {name: from_tensor_proto(tensor) for name, tensor in response.outputs.items()},
        model=spec.name,
        version=spec.version.value,
        signature=spec.signature_name,
    )
