"""ModelInfer: images in, class names and scores out, in every way that the protocol has for it."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from heliograph.preprocessing import parse_recipe
from heliograph.repository import Repository
from heliograph.routing import RoutingTable, create_routing
from heliograph.v1.contract_pb2 import Dtype, InputSpec
from heliograph_gateway.backends.fake import FakeBackend

if TYPE_CHECKING:
    from tests.conftest import Brightness
    from tests.contract.gateway.conftest import Eventually, RunningGateway, StartGateway
    from tests.contract.gateway.open_inference.conftest import Connect, Read, Requests

    from heliograph_gateway.inference.grpc_service_pb2_grpc import GRPCInferenceServiceAsyncStub

SIDES = pytest.mark.parametrize("raw", [False, True], ids=["contents", "raw"])


@SIDES
async def test_an_image_is_answered_with_labels_and_scores_best_first(
    raw: bool, inference: GRPCInferenceServiceAsyncStub, requests: Requests, read: Read
) -> None:
    response = await inference.ModelInfer(requests(raw=raw))

    assert [output.name for output in response.outputs] == ["labels", "scores"]
    assert [output.datatype for output in response.outputs] == ["BYTES", "FP32"]
    assert [list(output.shape) for output in response.outputs] == [[1, 2], [1, 2]]
    assert read(response, "labels") == [["bright", "dark"]]
    assert read(response, "scores") == [pytest.approx([200 / 255, 55 / 255])]
    assert bool(response.raw_output_contents) is raw


@SIDES
@pytest.mark.parametrize("shape", [[3], [3, 1]])
async def test_several_images_are_answered_in_their_order_and_by_one_batch(
    shape: list[int],
    raw: bool,
    gateway: RunningGateway,
    inference: GRPCInferenceServiceAsyncStub,
    requests: Requests,
    read: Read,
) -> None:
    images = [gateway.brightness.image(level) for level in (0, 255, 51)]
    request = requests(*images, raw=raw)
    request.inputs[0].shape[:] = shape
    before = len(gateway.backend.batches)

    response = await inference.ModelInfer(request)

    assert read(response, "labels") == [["dark", "bright"], ["bright", "dark"], ["dark", "bright"]]
    assert read(response, "scores") == [[1, 0], [1, 0], pytest.approx([0.8, 0.2])]
    assert len(gateway.backend.batches) == before + 1


async def test_the_answer_is_that_of_classify(
    gateway: RunningGateway,
    inference: GRPCInferenceServiceAsyncStub,
    requests: Requests,
    read: Read,
) -> None:
    image = gateway.brightness.image(77, width=60, height=40, file_format="JPEG")

    classes = (await gateway.stub.Classify(gateway.request(image))).classification.classes
    response = await inference.ModelInfer(requests(image))

    assert read(response, "labels") == [[best.class_name for best in classes]]
    assert read(response, "scores") == [[best.score for best in classes]]


async def test_the_answer_names_model_version_and_the_id_of_the_request(
    inference: GRPCInferenceServiceAsyncStub, requests: Requests
) -> None:
    response = await inference.ModelInfer(requests(id="a-7"))

    assert (response.model_name, response.model_version, response.id) == ("brightness", "1", "a-7")


@pytest.mark.parametrize(
    ("version", "answered"), [("", "2"), ("1", "1"), ("2", "2"), ("old", "1"), ("stable", "2")]
)
async def test_a_version_is_a_number_a_label_or_nothing(
    version: str,
    answered: str,
    start_gateway: StartGateway,
    connect: Connect,
    requests: Requests,
    repository: Path,
    brightness: Brightness,
) -> None:
    for _ in range(2):
        brightness.publish(repository)
    table = RoutingTable(revision=1, stable=2, version_labels={"old": 1})
    create_routing(repository / "brightness", table)
    gateway = await start_gateway()

    response = await connect(gateway.channel).ModelInfer(
        requests(model_name="brightness", model_version=version)
    )

    assert response.model_version == answered


# Outputs.


@SIDES
@pytest.mark.parametrize("names", [["labels"], ["scores"], ["scores", "labels"]])
async def test_only_the_outputs_that_are_asked_for_come_in_their_order(
    names: list[str],
    raw: bool,
    inference: GRPCInferenceServiceAsyncStub,
    requests: Requests,
    read: Read,
) -> None:
    response = await inference.ModelInfer(requests(raw=raw, outputs=names))

    assert [output.name for output in response.outputs] == names
    assert len(response.raw_output_contents) == (len(names) if raw else 0)
    if "labels" in names:
        assert read(response, "labels") == [["bright", "dark"]]


@pytest.mark.parametrize(("top_k", "classes"), [(0, 2), (1, 1), (2, 2), (1000, 2), (2**40, 2)])
async def test_top_k_says_how_many_classes(
    top_k: int,
    classes: int,
    inference: GRPCInferenceServiceAsyncStub,
    requests: Requests,
    read: Read,
) -> None:
    response = await inference.ModelInfer(requests(parameters={"top_k": top_k}))

    assert read(response, "labels") == [["bright", "dark"][:classes]]
    assert len(read(response, "scores")[0]) == classes


async def test_five_classes_are_answered_unless_others_are_asked_for(
    start_gateway: StartGateway,
    connect: Connect,
    requests: Requests,
    read: Read,
    repository: Path,
    brightness: Brightness,
) -> None:
    scores = np.array([0.05, 0.1, 0.3, 0.15, 0.2, 0.12, 0.08], np.float32)

    def compute(rows: np.ndarray) -> np.ndarray:
        return np.tile(scores, (len(rows), 1))

    contract = brightness.contract()
    contract.class_names[:] = list("abcdefg")
    brightness.publish(repository, contract=contract, compute=compute)
    gateway = await start_gateway(backend=FakeBackend(Repository(repository), compute))

    response = await connect(gateway.channel).ModelInfer(requests())

    assert read(response, "labels") == [list("cedfb")]
    assert read(response, "scores") == [pytest.approx([0.3, 0.2, 0.15, 0.12, 0.1])]


@SIDES
async def test_a_classification_is_what_triton_makes_of_scores(
    raw: bool, inference: GRPCInferenceServiceAsyncStub, requests: Requests, read: Read
) -> None:
    asked: list[Any] = [("scores", {"classification": 1})]

    response = await inference.ModelInfer(requests(raw=raw, outputs=asked))

    [output] = response.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("scores", "BYTES", [1, 1])
    assert read(response, "scores") == [["0.784314:1:bright"]]


async def test_classifications_and_labels_have_counts_of_their_own(
    gateway: RunningGateway,
    inference: GRPCInferenceServiceAsyncStub,
    requests: Requests,
    read: Read,
) -> None:
    images = [gateway.brightness.image(level) for level in (0, 255)]
    asked: list[Any] = ["labels", ("scores", {"classification": 9})]

    response = await inference.ModelInfer(requests(*images, outputs=asked, parameters={"top_k": 1}))

    assert read(response, "labels") == [["dark"], ["bright"]]
    assert read(response, "scores") == [
        ["1.000000:0:dark", "0.000000:1:bright"],
        ["1.000000:1:bright", "0.000000:0:dark"],
    ]


async def test_a_class_whose_score_is_below_zero_keeps_its_place(
    gateway: RunningGateway,
    inference: GRPCInferenceServiceAsyncStub,
    requests: Requests,
    read: Read,
) -> None:
    [(servable, _)] = gateway.backend.batches[-1:]
    gateway.backend.computes[servable] = lambda rows: np.tile(
        np.array([1, -1e-9], np.float32), (len(rows), 1)
    )

    response = await inference.ModelInfer(requests())

    assert read(response, "labels") == [["dark", "bright"]]


# Prepared pixels.


@SIDES
async def test_prepared_pixels_are_answered_as_the_images_they_came_from(
    raw: bool,
    gateway: RunningGateway,
    inference: GRPCInferenceServiceAsyncStub,
    requests: Requests,
    read: Read,
) -> None:
    images = [gateway.brightness.image(level) for level in (3, 77, 255)]
    recipe = parse_recipe(gateway.brightness.recipe)
    pixels = np.stack([np.asarray(recipe.prepare(image)) for image in images])

    prepared = await inference.ModelInfer(requests.pixels(pixels, raw=raw))
    encoded = await inference.ModelInfer(requests(*images, raw=raw))

    assert prepared == encoded


@SIDES
async def test_prepared_pixels_may_be_floating_point_where_the_contract_says_so(
    raw: bool,
    start_gateway: StartGateway,
    connect: Connect,
    requests: Requests,
    read: Read,
    repository: Path,
    brightness: Brightness,
) -> None:
    contract = brightness.contract()
    contract.input.kind = InputSpec.KIND_PIXELS_FLOAT
    contract.input.dtype = Dtype.DTYPE_FLOAT32
    contract.input.tensor = "pixels"
    contract.recipe = "decode(grey) | resize(4, 4) | scale(1)"
    brightness.publish(repository, contract=contract)
    gateway = await start_gateway()
    pixels = np.full((2, 4, 4, 1), 51, np.float32)

    response = await connect(gateway.channel).ModelInfer(
        requests.pixels(pixels, name="pixels", raw=raw)
    )

    assert read(response, "scores") == [pytest.approx([0.8, 0.2])] * 2


@SIDES
async def test_a_graph_that_decodes_takes_images_by_its_own_name_too(
    raw: bool,
    start_gateway: StartGateway,
    connect: Connect,
    requests: Requests,
    read: Read,
    repository: Path,
    brightness: Brightness,
) -> None:
    def compute(rows: np.ndarray) -> np.ndarray:
        recipe = parse_recipe(brightness.recipe)
        return brightness.compute(np.stack([np.asarray(recipe.prepare(row)) for row in rows]))

    contract = brightness.contract()
    contract.input.kind = InputSpec.KIND_ENCODED
    contract.input.dtype = Dtype.DTYPE_STRING
    contract.input.tensor = "encoded"
    del contract.input.shape[:]
    contract.recipe = "bytes"
    brightness.publish(repository, contract=contract, compute=compute)
    gateway = await start_gateway(backend=FakeBackend(Repository(repository), compute))
    request = requests(raw=raw)

    for name in ("image", "encoded"):
        request.inputs[0].name = name
        response = await connect(gateway.channel).ModelInfer(request)
        assert read(response, "labels") == [["bright", "dark"]]


# What it shares with every other call.


async def test_it_waits_in_the_same_queue_as_classify(
    gateway: RunningGateway,
    inference: GRPCInferenceServiceAsyncStub,
    requests: Requests,
    eventually: Eventually,
) -> None:
    gateway.backend.pause()
    before = len(gateway.backend.batches)
    busy: Awaitable[Any] = gateway.stub.Classify(gateway.request())
    await eventually(lambda: len(gateway.backend.batches) > before)
    waiting: list[Awaitable[Any]] = [
        inference.ModelInfer(requests()),
        gateway.stub.Classify(gateway.request()),
    ]
    await eventually(lambda: gateway.metric("heliograph_inflight") == 3)

    gateway.backend.resume()
    for call in [busy, *waiting]:
        await call

    assert [len(rows) for _, rows in gateway.backend.batches[before:]] == [1, 2]


async def test_its_calls_are_counted_by_model_and_role(
    gateway: RunningGateway, inference: GRPCInferenceServiceAsyncStub, requests: Requests
) -> None:
    def counted(code: str, **labels: str) -> float:
        return gateway.metric(
            "rpc_server_call_duration_seconds_count",
            rpc_method="/inference.GRPCInferenceService/ModelInfer",
            rpc_response_status_code=code,
            **labels,
        )

    await inference.ModelInfer(requests())
    await inference.ModelInfer(requests(model_version="1"))
    for name in ("darkness", "another", "../x"):
        await gateway.refusal(inference.ModelInfer(requests(model_name=name)))

    assert counted("OK", model="brightness", role="stable") == 1
    assert counted("OK", model="brightness", role="pinned") == 1
    # Whatever a caller sends does not become a label.
    assert counted("NOT_FOUND", model="", role="") == 2
    assert counted("INVALID_ARGUMENT", model="", role="") == 1


async def test_a_token_is_needed_where_one_is_set(
    start_gateway: StartGateway,
    connect: Connect,
    requests: Requests,
    repository: Path,
    brightness: Brightness,
    tmp_path: Path,
) -> None:
    brightness.publish(repository)
    tokens = tmp_path / "tokens"
    tokens.write_text("open-sesame\n")
    gateway = await start_gateway(token_file=tokens)
    stub = connect(gateway.channel)

    refusal = await gateway.refusal(stub.ModelInfer(requests()))
    assert refusal.code == "UNAUTHENTICATED"
    metadata = [("authorization", "Bearer open-sesame")]
    assert (await stub.ModelInfer(requests(), metadata=metadata)).outputs


async def test_the_timeout_of_a_request_is_kept(
    gateway: RunningGateway, inference: GRPCInferenceServiceAsyncStub, requests: Requests
) -> None:
    gateway.backend.pause()

    refusal = await gateway.refusal(
        inference.ModelInfer(requests(parameters={"timeout": 50_000}), timeout=10)
    )

    assert refusal.code == "DEADLINE_EXCEEDED"
    assert refusal.request_id


async def test_parameters_of_other_servers_are_ignored(
    inference: GRPCInferenceServiceAsyncStub, requests: Requests
) -> None:
    parameters = {"priority": 1, "sequence_id": 7, "sequence_start": True, "custom": "x", "f": 0.5}

    assert (await inference.ModelInfer(requests(parameters=parameters))).outputs
