"""The clients of TensorFlow Serving against a server that speaks its protocol in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from heliograph import KeepaliveOptions, RetryOptions
from heliograph.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    HeliographError,
    InvalidArgumentError,
    InvalidTensorError,
    NotFoundError,
    UnavailableError,
)
from heliograph.tfserving import (
    AsyncModelServiceClient,
    AsyncPredictionClient,
    ModelServiceClient,
    PredictionClient,
)
from heliograph.tfserving.v1 import tensor_pb2
from heliograph.tfserving.v1.model_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelConfig,
    ModelConfigList,
    ReloadConfigRequest,
    ReloadConfigResponse,
)
from heliograph.tfserving.v1.prediction_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    PredictRequest,
    PredictResponse,
    SignatureDef,
    SignatureDefMap,
)

Connect = Callable[..., Any]


@dataclass
class FakeModelServer(grpc.GenericRpcHandler):
    """Has one model, `echo`, version 3, whose outputs are its inputs."""

    target: str = ""
    requests: list[Any] = field(default_factory=list)
    unavailable: int = 0
    """Calls still to be answered with UNAVAILABLE."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        methods: dict[str, tuple[type[Message], Callable[..., Message]]] = {
            "/tensorflow.serving.PredictionService/Predict": (PredictRequest, self.predict),
            "/tensorflow.serving.PredictionService/GetModelMetadata": (
                GetModelMetadataRequest,
                self.metadata,
            ),
            "/tensorflow.serving.ModelService/GetModelStatus": (GetModelStatusRequest, self.status),
            "/tensorflow.serving.ModelService/HandleReloadConfigRequest": (
                ReloadConfigRequest,
                self.reload,
            ),
        }
        request, answer = methods[handler_call_details.method]

        def behave(message: Any, context: grpc.ServicerContext) -> Message:
            self.requests.append(message)
            if self.unavailable:
                self.unavailable -= 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
            return answer(message, context)

        return grpc.unary_unary_rpc_method_handler(
            behave, request.FromString, lambda response: response.SerializeToString()
        )

    def predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:
        if request.model_spec.name == "slow":
            while context.is_active():
                time.sleep(0.01)
        if request.model_spec.name != "echo":
            text = f"Servable not found for request: Latest({request.model_spec.name})"
            context.abort(grpc.StatusCode.NOT_FOUND, text)
        if request.model_spec.signature_name != "serving_default":
            context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{request.model_spec.signature_name}" not found.',
            )
        response = PredictResponse(outputs=request.inputs)
        response.model_spec.name = "echo"
        response.model_spec.version.value = 3
        response.model_spec.signature_name = "serving_default"
        return response

    def metadata(self, request: GetModelMetadataRequest, _: object) -> GetModelMetadataResponse:
        signatures = SignatureDefMap(
            signature_def={"serving_default": SignatureDef(method_name="echo")}
        )
        packed = AnyMessage(
            type_url="type.googleapis.com/tensorflow.serving.SignatureDefMap",
            value=signatures.SerializeToString(),
        )
        response = GetModelMetadataResponse(metadata={"signature_def": packed})
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = 3
        return response

    def status(self, *_: object) -> GetModelStatusResponse:
        response = GetModelStatusResponse()
        response.model_version_status.add(version=4, state="LOADING")
        response.model_version_status.add(version=3, state="AVAILABLE")
        return response

    def reload(
        self, request: ReloadConfigRequest, context: grpc.ServicerContext
    ) -> ReloadConfigResponse:
        response = ReloadConfigResponse()
        if not request.config.model_config_list.config:
            response.status.error_code = 3
            response.status.error_message = "ServerModelConfig type not supported"
        return response


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    fake = FakeModelServer()
    options = [("grpc.max_receive_message_length", -1)]
    with ThreadPoolExecutor(8) as executor:
        running = grpc.server(executor, handlers=[fake], options=options)
        fake.target = f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}"
        running.start()
        yield fake
        running.stop(None).wait()


class _Blocking:
    """An asyncio client whose methods block."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._runner = asyncio.Runner()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return lambda *args, **kwargs: self._runner.run(method(*args, **kwargs))

    def stop(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


@pytest.fixture(params=["threads", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Open clients of one kind."""
    asynchronous = request.param == "asyncio"
    stops: list[Callable[[], None]] = []

    def open_client(target: str, *, service: str = "prediction", **options: Any) -> Any:
        if not asynchronous:
            kind = PredictionClient if service == "prediction" else ModelServiceClient
            client = kind(target, **options)
            stops.append(client.close)
            return client
        async_kind = AsyncPredictionClient if service == "prediction" else AsyncModelServiceClient
        blocking = _Blocking(async_kind(target, **options))
        stops.append(blocking.stop)
        return blocking

    yield open_client
    for stop in stops:
        stop()


def test_arrays_go_in_and_arrays_come_out(connect: Connect, server: FakeModelServer) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)

    outputs = connect(server.target).predict(
        "echo", {"image": pixels, "text": [b"a", "b"], "weights": np.ones((2, 1), np.float32)}
    )

    assert (outputs["image"] == pixels).all()
    assert outputs["image"].dtype == np.uint8
    assert outputs["text"].tolist() == [b"a", b"b"]
    assert outputs["weights"].shape == (2, 1)
    assert (outputs.model, outputs.version) == ("echo", 3)


def test_a_batch_far_larger_than_grpcs_own_limit_passes(
    connect: Connect, server: FakeModelServer
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 224, 224, 3), np.uint8)

    outputs = connect(server.target).predict("echo", {"image": pixels}, timeout=60.0)

    assert (outputs["image"] == pixels).all()


def test_the_version_the_signature_and_the_outputs_are_asked_for(
    connect: Connect, server: FakeModelServer
) -> None:
    client = connect(server.target)
    client.predict("echo", {}, version=3, output_filter=["scores"])
    client.predict("echo", {}, version_label="stable")

    first, second = server.requests
    assert first.model_spec.version.value == 3
    assert list(first.output_filter) == ["scores"]
    assert second.model_spec.version_label == "stable"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "other"}, NotFoundError, r"Servable not found for request: Latest\(other\)"),
        (
            {"model": "echo", "signature": "encoded"},
            FailedPreconditionError,
            'Serving signature key "encoded" not found.',
        ),
        ({"model": "slow", "timeout": 0.2}, DeadlineExceededError, "within 0.2 s"),
    ],
)
def test_a_failure_has_the_class_of_its_status(
    connect: Connect,
    server: FakeModelServer,
    arguments: dict[str, Any],
    error: type[HeliographError],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        connect(server.target).predict(inputs={}, **arguments)


def test_an_array_that_cannot_be_sent_makes_no_call(
    connect: Connect, server: FakeModelServer
) -> None:
    with pytest.raises(InvalidTensorError):
        connect(server.target).predict("echo", {"image": np.zeros(1, "datetime64[s]")})

    assert server.requests == []


def test_an_output_that_cannot_be_read_is_an_error(
    connect: Connect, server: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lie(*_: object) -> PredictResponse:
        response = PredictResponse()
        response.outputs["scores"].dtype = tensor_pb2.DT_FLOAT
        response.outputs["scores"].tensor_content = b"123"
        return response

    monkeypatch.setattr(server, "predict", lie)

    with pytest.raises(InvalidTensorError):
        connect(server.target).predict("echo", {})


def test_metadata_has_the_signatures(connect: Connect, server: FakeModelServer) -> None:
    metadata = connect(server.target).metadata("echo")

    assert (metadata.model, metadata.version) == ("echo", 3)
    assert metadata.signatures["serving_default"].method_name == "echo"


@pytest.mark.parametrize("service", ["prediction", "model"])
def test_the_states_of_versions_are_told(
    connect: Connect, server: FakeModelServer, service: str
) -> None:
    versions = connect(server.target, service=service).status("echo")

    assert [(version.version, version.state) for version in versions] == [
        (4, "LOADING"),
        (3, "AVAILABLE"),
    ]


def test_a_configuration_is_replaced(connect: Connect, server: FakeModelServer) -> None:
    config = ModelConfigList(config=[ModelConfig(name="echo", base_path="/models/echo")])
    client = connect(server.target, service="model")

    client.reload_config(config)

    assert server.requests[0].config.model_config_list == config
    with pytest.raises(InvalidArgumentError, match="ServerModelConfig type not supported"):
        client.reload_config(ModelConfigList())


def test_a_prediction_is_tried_again_and_a_reload_is_not(
    connect: Connect, server: FakeModelServer
) -> None:
    retry = RetryOptions(initial_backoff=0.01)
    server.unavailable = 2
    assert connect(server.target, retry=retry).predict("echo", {}).version == 3
    assert len(server.requests) == 3

    server.unavailable = 1
    with pytest.raises(UnavailableError):
        connect(server.target, service="model", retry=retry).reload_config(ModelConfigList())
    assert len(server.requests) == 4


def test_a_large_batch_is_tried_again_as_well(connect: Connect, server: FakeModelServer) -> None:
    server.unavailable = 1
    pixels = np.zeros((16, 224, 224, 3), np.uint8)
    retry = RetryOptions(initial_backoff=0.01)

    connect(server.target, retry=retry).predict("echo", {"image": pixels})

    assert len(server.requests) == 2


def test_loopback_is_reached_with_a_proxy_in_the_environment(
    connect: Connect, server: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)

    assert connect(server.target).predict("echo", {}).version == 3


def test_every_option_of_a_connection_is_taken(connect: Connect, server: FakeModelServer) -> None:
    client = connect(
        server.target,
        timeout=5.0,
        keepalive=KeepaliveOptions(interval=5.0),
        channels=2,
        wait_for_ready=True,
    )

    assert [client.predict("echo", {}).version for _ in range(4)] == [3] * 4


def test_a_client_is_a_context_manager(server: FakeModelServer) -> None:
    with PredictionClient(server.target) as client, ModelServiceClient(server.target) as models:
        assert client.predict("echo", {}).version == 3
        assert models.status("echo")

    with pytest.raises(FailedPreconditionError, match="closed"):
        client.predict("echo", {})


async def test_an_asyncio_client_is_a_context_manager(server: FakeModelServer) -> None:
    async with (
        AsyncPredictionClient(server.target) as client,
        AsyncModelServiceClient(server.target) as models,
    ):
        assert (await client.predict("echo", {})).version == 3
        assert await models.status("echo")

    with pytest.raises(FailedPreconditionError, match="closed"):
        await client.predict("echo", {})


async def test_cancelling_a_task_cancels_its_prediction(server: FakeModelServer) -> None:
    async with AsyncPredictionClient(server.target) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.predict("slow", {}, timeout=60.0)
