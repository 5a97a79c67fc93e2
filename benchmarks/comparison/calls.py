"""Prepared requests for the load generator, and how their answers are read.

The generator sends the same bytes again and again, so a request is made once: an image as the body
of a POST, or a gRPC message behind its five bytes of length.
"""

from __future__ import annotations

import http.client
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from benchmarks.comparison.contestants import Transport

from heliograph.v1.classifier_pb2 import ClassifyRequest, ClassifyResponse
from heliograph_gateway.inference.grpc_service_pb2 import ModelInferRequest, ModelInferResponse

Answer = list[tuple[str, float]]
"""The best classes of one image: names and scores."""

TIMEOUT = 30.0
"""Seconds for one call outside the measurement; the first may load or compile something."""

BOUNDARY = "heliograph-comparison"


@dataclass(frozen=True)
class Call:
    """A request that is ready to be sent, and the way to read its answer."""

    path: str
    message: bytes
    """What is sent: the body, or the message without the five bytes."""
    headers: dict[str, str]
    is_grpc: bool
    read: Callable[[bytes], Answer]

    @property
    def body(self) -> bytes:
        """The bytes that the generator puts on the wire."""
        return framed(self.message) if self.is_grpc else self.message

    def send(self, host: str, port: int) -> tuple[Answer, int]:
        """Send it once; return the answer and how many bytes of data it is on the wire.

        Raises:
            CallError: The server answered with an error, or not at all.
        """
        return self._send_grpc(host, port) if self.is_grpc else self._send_http(host, port)

    def _send_grpc(self, host: str, port: int) -> tuple[Answer, int]:
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"{host}:{port}", options=options) as channel:
            method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(self.path)
            try:
                data = method(self.message, timeout=TIMEOUT)
            except grpc.RpcError as error:
                raise CallError(str(error.code())) from error
        return self.read(data), len(framed(data))

    def _send_http(self, host: str, port: int) -> tuple[Answer, int]:
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        try:
            connection.request("POST", self.path, self.message, self.headers)
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise CallError(f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise CallError(f"HTTP status {response.status}: {data[:200]!r}")
        return self.read(data), len(data)


class CallError(Exception):
    """A call was not answered with an answer."""


def framed(message: bytes) -> bytes:
    """Return a gRPC message with the flag and length that stand before it."""
    return struct.pack(">BI", 0, len(message)) + message


def prepare(transport: Transport, path: str, image: bytes, model: str) -> Call:
    """Make the request of one image."""
    if transport == "heliograph":
        request = ClassifyRequest()
        request.model.name = model
        request.image.encoded = image
        return Call(path, request.SerializeToString(), GRPC_HEADERS, True, read_heliograph)
    if transport == "triton":
        return Call(path, infer_request(image, model), GRPC_HEADERS, True, read_triton)
    if transport == "triton-http":
        message, length = infer_body(image)
        headers = {
            "content-type": "application/octet-stream",
            "inference-header-content-length": str(length),
        }
        return Call(path, message, headers, False, read_triton_json)
    if transport == "multipart":
        headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
        return Call(path, multipart(image), headers, False, read_json)
    return Call(path, image, {"content-type": "image/jpeg"}, False, read_json)


GRPC_HEADERS = {"content-type": "application/grpc", "te": "trailers"}


def multipart(image: bytes) -> bytes:
    """Return a form with one file named `images`."""
    head = (
        f"--{BOUNDARY}\r\ncontent-disposition: form-data; name=images; filename=image.jpg\r\n"
        "content-type: image/jpeg\r\n\r\n"
    )
    return head.encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()


def infer_request(image: bytes, model: str) -> bytes:
    """Return a ModelInferRequest with one image as raw BYTES."""
    request = ModelInferRequest(model_name=model)
    request.inputs.add(name="image", datatype="BYTES", shape=[1, 1])
    request.raw_input_contents.append(struct.pack("<I", len(image)) + image)
    return request.SerializeToString()


def infer_body(image: bytes) -> tuple[bytes, int]:
    """Return the body of an HTTP inference request, and how much of it is JSON."""
    raw = struct.pack("<I", len(image)) + image
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": "image",
                    "datatype": "BYTES",
                    "shape": [1, 1],
                    "parameters": {"binary_data_size": len(raw)},
                }
            ]
        }
    ).encode()
    return header + raw, len(header)


def read_heliograph(data: bytes) -> Answer:
    """Read a ClassifyResponse."""
    classes = ClassifyResponse.FromString(data).classification.classes
    return [(each.class_name, each.score) for each in classes]


def read_triton(data: bytes) -> Answer:
    """Read a ModelInferResponse with the outputs `labels` and `scores`."""
    response = ModelInferResponse.FromString(data)
    raw = {
        output.name: content
        for output, content in zip(response.outputs, response.raw_output_contents, strict=True)
    }
    names, rest = [], raw["labels"]
    while rest:
        (length,) = struct.unpack_from("<I", rest)
        names.append(rest[4 : 4 + length].decode())
        rest = rest[4 + length :]
    scores = struct.unpack(f"<{len(names)}f", raw["scores"])
    return list(zip(names, scores, strict=True))


def read_triton_json(data: bytes) -> Answer:
    """Read the JSON of an inference over HTTP."""
    outputs = {output["name"]: output["data"] for output in json.loads(data)["outputs"]}
    return list(zip(outputs["labels"], outputs["scores"], strict=True))


def read_json(data: bytes) -> Answer:
    """Read the answer of the servers in `servers/`, alone or as the only one of a batch."""
    document: Any = json.loads(data)
    if isinstance(document[0], list):
        (document,) = document
    return [(each["class_name"], float(each["score"])) for each in document]


def differences(answer: Answer, reference: Answer, tolerance: float) -> str:
    """Say what is wrong with an answer; empty when it is right.

    The best class must be the same, and every score of a class that both name within the tolerance.
    """
    if len(answer) != len(reference):
        return f"{len(answer)} classes instead of {len(reference)}"
    if answer[0][0] != reference[0][0]:
        return f"best class {answer[0][0]} instead of {reference[0][0]}"
    expected = dict(reference)
    for name, score in answer:
        if name in expected and abs(score - expected[name]) > tolerance:
            return f"{name} scores {score:.4f} instead of {expected[name]:.4f}"
    return ""
