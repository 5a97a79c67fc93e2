"""Prepared requests carry the image, and answers are compared with the right ones."""

from __future__ import annotations

import json
import struct

from benchmarks.comparison.calls import Answer, differences, framed, prepare

from heliograph.v1.classifier_pb2 import ClassifyRequest, ClassifyResponse
from heliograph_gateway.inference.grpc_service_pb2 import ModelInferRequest, ModelInferResponse

RIGHT: Answer = [("cat", 0.8), ("dog", 0.15), ("fox", 0.05)]
IMAGE = b"\xff\xd8 a JPEG"


def test_a_grpc_message_stands_behind_its_length() -> None:
    assert framed(b"abc") == b"\x00\x00\x00\x00\x03abc"


def test_heliograph_is_asked_with_its_own_message() -> None:
    call = prepare("heliograph", "/path", IMAGE, "images")

    request = ClassifyRequest.FromString(call.body[5:])
    assert (request.model.name, request.image.encoded) == ("images", IMAGE)


def test_triton_is_asked_with_one_image_as_raw_bytes() -> None:
    call = prepare("triton", "/path", IMAGE, "images")

    request = ModelInferRequest.FromString(call.message)
    assert list(request.raw_input_contents) == [struct.pack("<I", len(IMAGE)) + IMAGE]


def test_triton_over_http_says_how_much_is_json() -> None:
    call = prepare("triton-http", "/path", IMAGE, "images")

    length = int(call.headers["inference-header-content-length"])
    assert json.loads(call.body[:length])["inputs"][0]["name"] == "image"
    assert call.body.endswith(IMAGE)


def test_an_answer_of_heliograph_is_read() -> None:
    response = ClassifyResponse()
    response.classification.classes.add(class_name="cat", score=0.5)
    call = prepare("heliograph", "/path", IMAGE, "images")

    assert call.read(response.SerializeToString()) == [("cat", 0.5)]


def test_an_answer_of_triton_is_read() -> None:
    response = ModelInferResponse()
    response.outputs.add(name="labels")
    response.outputs.add(name="scores")
    names = b"".join(struct.pack("<I", len(name)) + name for name in (b"cat", b"horse"))
    response.raw_output_contents.extend([names, struct.pack("<2f", 0.5, 0.25)])
    call = prepare("triton", "/path", IMAGE, "images")

    assert call.read(response.SerializeToString()) == [("cat", 0.5), ("horse", 0.25)]


def test_json_is_read_alone_and_as_the_only_one_of_a_batch() -> None:
    read = prepare("body", "/path", IMAGE, "images").read
    answer = [{"class_name": "cat", "score": 0.5}]

    assert read(json.dumps(answer).encode()) == [("cat", 0.5)]
    assert read(json.dumps([answer]).encode()) == [("cat", 0.5)]


def test_an_answer_within_the_tolerance_is_right() -> None:
    assert differences([("cat", 0.79), ("dog", 0.16), ("cow", 0.05)], RIGHT, 0.02) == ""


def test_another_best_class_is_wrong() -> None:
    assert differences([("dog", 0.8), ("cat", 0.15), ("fox", 0.05)], RIGHT, 1.0)


def test_a_score_beyond_the_tolerance_is_wrong() -> None:
    assert differences([("cat", 0.7), ("dog", 0.15), ("fox", 0.05)], RIGHT, 0.02)


def test_too_few_classes_are_wrong() -> None:
    assert differences([("cat", 0.8)], RIGHT, 0.02)
    assert differences([], RIGHT, 0.02)
