"""What the protocol can ask beside inference: readiness, metadata, configuration, the index."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from heliograph.contract import CONTRACT_PATH
from heliograph.repository import Repository
from heliograph.routing import RoutingTable, create_routing
from heliograph.version import __version__
from heliograph_gateway.backends.fake import FakeBackend
from heliograph_gateway.inference.grpc_service_pb2 import (
    ModelConfigRequest,
    ModelMetadataRequest,
    ModelReadyRequest,
    RepositoryIndexRequest,
    ServerLiveRequest,
    ServerMetadataRequest,
    ServerReadyRequest,
)

if TYPE_CHECKING:
    from tests.conftest import Brightness
    from tests.contract.gateway.conftest import RunningGateway, StartGateway
    from tests.contract.gateway.open_inference.conftest import Connect, Requests

    from heliograph_gateway.inference.grpc_service_pb2_grpc import GRPCInferenceServiceAsyncStub


@pytest.fixture
async def gateway(
    start_gateway: StartGateway, repository: Path, brightness: Brightness
) -> RunningGateway:
    """Version 2 of `brightness` is stable and 1 is `old`; `broken` has no contract."""
    for _ in range(3):
        brightness.publish(repository)
    table = RoutingTable(revision=4, stable=2, version_labels={"old": 1, "gone": 9})
    create_routing(repository / "brightness", table)
    brightness.publish(
        repository, name="broken", spoil=lambda version: (version / CONTRACT_PATH).unlink()
    )
    return await start_gateway()


async def test_the_gateway_is_live_and_ready(inference: GRPCInferenceServiceAsyncStub) -> None:
    assert (await inference.ServerLive(ServerLiveRequest())).live
    assert (await inference.ServerReady(ServerReadyRequest())).ready


async def test_a_gateway_that_still_checks_its_models_is_live_and_not_ready(
    start_gateway: StartGateway,
    connect: Connect,
    repository: Path,
    brightness: Brightness,
    tmp_path: Path,
) -> None:
    brightness.publish(repository)
    backend = FakeBackend(Repository(repository), brightness.compute)
    backend.pause()
    address = f"unix:{tmp_path / 'gateway.sock'}"

    starting = asyncio.ensure_future(start_gateway(backend=backend, listen=address))
    async with grpc.aio.insecure_channel(address) as channel:
        stub = connect(channel)
        assert (await stub.ServerLive(ServerLiveRequest(), wait_for_ready=True)).live
        assert not (await stub.ServerReady(ServerReadyRequest())).ready
        assert not (await stub.ModelReady(ModelReadyRequest(name="brightness"))).ready

        backend.resume()
        await starting
        assert (await stub.ServerReady(ServerReadyRequest())).ready
        assert (await stub.ModelReady(ModelReadyRequest(name="brightness"))).ready


async def test_the_gateway_names_itself_and_its_extensions(
    inference: GRPCInferenceServiceAsyncStub,
) -> None:
    response = await inference.ServerMetadata(ServerMetadataRequest())

    assert MessageToDict(response) == {
        "name": "heliograph",
        "version": __version__,
        "extensions": ["classification", "model_configuration", "statistics"],
    }


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [
        ("brightness", "", True),
        ("brightness", "1", True),
        ("brightness", "2", True),
        ("brightness", "old", True),
        ("brightness", "3", False),
        ("brightness", "gone", False),
        ("brightness", "new", False),
        ("broken", "", False),
        ("broken", "1", False),
        ("darkness", "", False),
    ],
)
async def test_a_version_is_ready_when_it_answers(
    name: str,
    version: str,
    ready: bool,
    inference: GRPCInferenceServiceAsyncStub,
) -> None:
    response = await inference.ModelReady(ModelReadyRequest(name=name, version=version))

    assert response.ready is ready


@pytest.mark.parametrize(("name", "version"), [("../x", ""), ("brightness", "0"), ("", "")])
async def test_a_name_that_no_model_can_have_is_refused(
    name: str,
    version: str,
    gateway: RunningGateway,
    inference: GRPCInferenceServiceAsyncStub,
) -> None:
    call = inference.ModelReady(ModelReadyRequest(name=name, version=version))

    assert (await gateway.refusal(call)).code == "INVALID_ARGUMENT"


async def test_a_model_is_described_by_its_tensors_and_versions(
    inference: GRPCInferenceServiceAsyncStub,
) -> None:
    response = await inference.ModelMetadata(ModelMetadataRequest(name="brightness"))

    assert MessageToDict(response) == {
        "name": "brightness",
        "versions": ["1", "2"],
        "platform": "tensorflow_savedmodel",
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": ["-1", "1"]}],
        "outputs": [
            {"name": "labels", "datatype": "BYTES", "shape": ["-1", "-1"]},
            {"name": "scores", "datatype": "FP32", "shape": ["-1", "-1"]},
        ],
    }


async def test_the_configuration_of_a_model_agrees_with_its_metadata(
    inference: GRPCInferenceServiceAsyncStub,
) -> None:
    response = await inference.ModelConfig(ModelConfigRequest(name="brightness", version="1"))

    assert MessageToDict(response.config) == {
        "name": "brightness",
        "platform": "tensorflow_savedmodel",
        "maxBatchSize": 256,
        "input": [{"name": "image", "dataType": "TYPE_STRING", "dims": ["1"]}],
        "output": [
            {"name": "labels", "dataType": "TYPE_STRING", "dims": ["-1"]},
            {"name": "scores", "dataType": "TYPE_FP32", "dims": ["-1"]},
        ],
        "dynamicBatching": {},
    }


@pytest.mark.parametrize(
    ("name", "version", "reason"),
    [
        ("darkness", "", "MODEL_NOT_FOUND"),
        ("broken", "", "MODEL_NOT_SERVING"),
        ("brightness", "3", "VERSION_NOT_FOUND"),
        ("", "", "INVALID_ARGUMENT"),
    ],
)
async def test_a_model_that_is_not_served_is_not_described(
    name: str,
    version: str,
    reason: str,
    gateway: RunningGateway,
    inference: GRPCInferenceServiceAsyncStub,
) -> None:
    metadata = inference.ModelMetadata(ModelMetadataRequest(name=name, version=version))
    config = inference.ModelConfig(ModelConfigRequest(name=name, version=version))

    assert (await gateway.refusal(metadata)).reason == reason
    assert (await gateway.refusal(config)).reason == reason


async def test_the_index_lists_what_answers_and_what_does_not(
    inference: GRPCInferenceServiceAsyncStub,
) -> None:
    listed = (await inference.RepositoryIndex(RepositoryIndexRequest())).models
    ready = (await inference.RepositoryIndex(RepositoryIndexRequest(ready=True))).models

    assert [(model.name, model.version, model.state) for model in listed] == [
        ("brightness", "1", "READY"),
        ("brightness", "2", "READY"),
        ("broken", "", "UNAVAILABLE"),
    ]
    assert "has no contract" in listed[2].reason
    assert list(ready) == listed[:2]


async def test_there_is_one_repository(
    gateway: RunningGateway, inference: GRPCInferenceServiceAsyncStub
) -> None:
    call = inference.RepositoryIndex(RepositoryIndexRequest(repository_name="another"))

    assert (await gateway.refusal(call)).code == "UNIMPLEMENTED"


async def test_the_protocol_can_be_turned_off(
    start_gateway: StartGateway, connect: Connect, requests: Requests
) -> None:
    gateway = await start_gateway(open_inference=False)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await connect(gateway.channel).ModelInfer(requests())

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
