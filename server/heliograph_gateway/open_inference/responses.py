"""From the classes of images to a ModelInferResponse."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heliograph.v1.classifier_pb2 import Classification, ClassScore, ServedBy
from heliograph_gateway.inference.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from heliograph_gateway.open_inference.requests import BYTES, FP32, LABELS, LENGTH, WantedOutput


def respond(
    request: ModelInferRequest,
    served_by: ServedBy,
    classifications: Sequence[Classification],
    outputs: Sequence[WantedOutput],
) -> ModelInferResponse:
    """Return the answer to a request.

    Args:
        request: As it came; raw contents are answered by raw contents.
        served_by: The version that answered.
        classifications: Of each image: all have the same number of classes, which is enough for
            every output.
        outputs: What is wanted, in the order of the answer.
    """
    response = ModelInferResponse(
        model_name=served_by.name, model_version=str(served_by.version), id=request.id
    )
    raw = bool(request.raw_input_contents)
    for output in outputs:
        rows = [list(each.classes[: output.count]) for each in classifications]
        tensor = response.outputs.add(name=output.name, shape=[len(rows), len(rows[0])])
        elements = [best for row in rows for best in row]
        if output.name == LABELS or output.classification:
            describe = _triton_text if output.classification else _class_name
            texts = [describe(best).encode() for best in elements]
            tensor.datatype = BYTES
            if raw:
                response.raw_output_contents.append(
                    b"".join(part for text in texts for part in (LENGTH.pack(len(text)), text))
                )
            else:
                tensor.contents.bytes_contents.extend(texts)
        else:
            scores = [best.score for best in elements]
            tensor.datatype = FP32
            if raw:
                response.raw_output_contents.append(np.array(scores, "<f4").tobytes())
            else:
                tensor.contents.fp32_contents.extend(scores)
    return response


def _class_name(best: ClassScore) -> str:
    return best.class_name


def _triton_text(best: ClassScore) -> str:
    """Return what Triton's extension `classification` makes of a class: `score:index:label`.

    The score is printed as C++'s `std::to_string(float)` does, which Triton uses.
    """
    return f"{best.score:.6f}:{best.index}:{best.class_name}"
