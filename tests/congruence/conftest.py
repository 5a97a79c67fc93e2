"""The wire contract, asserted on our own server, or on the one that `--target` names.

    make congruence TARGET=127.0.0.1:8500 MODELS=/srv/congruence

The suite writes its models below `--models` and configures the server by HandleReloadConfigRequest,
which replaces whatever the server had. The server must see that folder under the same path, and be
started with `--max_num_load_retries=0`, since otherwise a failed load takes five minutes to end.
"""

from __future__ import annotations

import re
import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE = 60.0
"""Seconds that a call or a change of state may take at most."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--target", help="address of a server: HOST:PORT or unix:PATH")
    parser.addoption("--models", help="folder for the models, visible to that server")


class ServingClient:
    """The official stubs on one address, and requests in short."""

    def __init__(self, channel: grpc.Channel) -> None:
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(channel)

    def predict(
        self, model: str, signature: str = "", timeout: float = DEADLINE, **inputs: Any
    ) -> dict[str, np.ndarray]:
        """Predict from arrays to arrays."""
        import tensorflow as tf

        from heliograph_modelserver.testing import predict_request

        request = predict_request(model, inputs, signature)
        response = self.prediction.Predict(request, timeout=timeout)
        return {alias: tf.make_ndarray(proto) for alias, proto in response.outputs.items()}

    def answer(self, model: str, *, label: str = "", version: int = 0) -> float:
        """What a version of half_plus_… answers to 1.0."""
        from heliograph_modelserver.testing import predict_request

        request = predict_request(model, {"x": np.array([[1.0]], np.float32)})
        if label:
            request.model_spec.version_label = label
        if version:
            request.model_spec.version.value = version
        response = self.prediction.Predict(request, timeout=DEADLINE)
        return float(response.outputs["y"].float_val[0])

    def status(self, model: str) -> dict[int, str]:
        """States by version, as GetModelStatus names them."""
        from tensorflow_serving.apis import get_model_status_pb2

        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        response = self.model.GetModelStatus(request, timeout=DEADLINE)
        names = get_model_status_pb2.ModelVersionStatus.State
        return {entry.version: names.Name(entry.state) for entry in response.model_version_status}

    def wait_for(self, model: str, states: dict[int, str]) -> None:
        """Poll the status until versions have these states."""
        end = time.monotonic() + DEADLINE
        while not states.items() <= (found := self.status(model)).items():
            assert time.monotonic() < end, found
            time.sleep(0.02)

    def reload(self, *models: dict[str, Any]) -> Any:
        """Replace the configuration; each model is given as the fields of a ModelConfig."""
        from tensorflow_serving.apis import model_management_pb2

        request = model_management_pb2.ReloadConfigRequest()
        request.config.model_config_list.SetInParent()
        for model in models:
            request.config.model_config_list.config.add(**{"model_platform": "tensorflow", **model})
        return self.model.HandleReloadConfigRequest(request, timeout=DEADLINE)


@pytest.fixture(scope="session")
def refused() -> Callable[[Callable[[], object]], tuple[grpc.StatusCode, str]]:
    """Makes a call that must fail; gives its status and text."""

    def refused(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as caught:
            call()
        error = caught.value
        assert isinstance(error, grpc.Call)
        return error.code(), error.details()

    return refused


@pytest.fixture(scope="session")
def models_root(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A folder that the server sees; emptied at the end."""
    given = request.config.getoption("--models", default=None)
    if given is None:
        yield tmp_path_factory.mktemp("models")
        return
    root = Path(given).resolve() / "heliograph-congruence"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServingClient]:
    """A client of the server that `--target` names, or of one in this process."""
    from heliograph_modelserver.options import ServerOptions
    from heliograph_modelserver.server import ModelServer

    target = request.config.getoption("--target", default=None)
    with ExitStack() as stack:
        if target is None:
            config = tmp_path_factory.mktemp("config") / "models.config"
            config.write_text("model_config_list {}")
            options = ServerOptions(
                port=0,
                model_config_file=config,
                file_system_poll_wait_seconds=0.05,
                max_num_load_retries=0,
            )
            target = stack.enter_context(ModelServer(options)).address
        yield ServingClient(stack.enter_context(grpc.insecure_channel(target)))


@pytest.fixture(scope="session")
def base_models(models_root: Path) -> list[dict[str, Any]]:
    """The models that most tests ask: half_plus_two has versions 1 and 2, image has version 5."""
    from heliograph_modelserver.testing import (
        write_counter,
        write_half_plus,
        write_identity,
        write_image_classifier,
        write_odd_examples,
        write_sum,
    )

    write_half_plus(models_root / "half_plus_two" / "1", 2.0)
    write_half_plus(models_root / "half_plus_two" / "2", 3.0)
    write_image_classifier(models_root / "image" / "5", side=8)
    write_sum(models_root / "sum" / "1")
    write_identity(models_root / "identity" / "1")
    write_odd_examples(models_root / "odd" / "1")
    write_counter(models_root / "counter" / "1")
    return [
        {
            "name": name,
            "base_path": str(models_root / name),
            "model_version_policy": {"all": {}},
        }
        for name in ("half_plus_two", "image", "sum", "identity", "odd", "counter")
    ]


@pytest.fixture
def serving(client: ServingClient, base_models: list[dict[str, Any]]) -> ServingClient:
    """A client of a server with the base models."""
    client.reload(*base_models)
    client.wait_for("half_plus_two", {1: "AVAILABLE", 2: "AVAILABLE"})
    return client


@pytest.fixture
def base_path(models_root: Path, request: pytest.FixtureRequest) -> Path:
    """The folder of a model of the test's own: version 1 is x / 2 + 2, version 2 is x / 2 + 3."""
    from heliograph_modelserver.testing import write_half_plus

    path = models_root / "own" / re.sub(r"\W+", "_", request.node.name)
    write_half_plus(path / "1", 2.0)
    write_half_plus(path / "2", 3.0)
    return path


@pytest.fixture
def half(base_path: Path) -> Callable[..., dict[str, Any]]:
    """The fields of a ModelConfig for `half` with specific versions and labels."""

    def half(*versions: int, **labels: int) -> dict[str, Any]:
        return {
            "name": "half",
            "base_path": str(base_path),
            "model_version_policy": {"specific": {"versions": list(versions)}},
            "version_labels": labels,
        }

    return half
