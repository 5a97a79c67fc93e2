"""Model servers in this process, over SavedModels that are written once per session."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from heliograph_modelserver.options import ServerOptions
from heliograph_modelserver.server import ModelServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE = 30.0
"""Seconds that a call or a change of state may take at most."""


class ServingClient:
    """The official stubs on one address, and requests in short."""

    def __init__(self, channel: grpc.Channel) -> None:
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        self.channel = channel
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(channel)

    def predict(
        self, model: str, signature: str = "", timeout: float = DEADLINE, **inputs: Any
    ) -> dict[str, np.ndarray]:
        """Predict from arrays to arrays."""
        import tensorflow as tf

        from heliograph_modelserver.testing import predict_request

        arrays = {alias: np.asarray(value) for alias, value in inputs.items()}
        response = self.prediction.Predict(
            predict_request(model, arrays, signature), timeout=timeout
        )
        return {alias: tf.make_ndarray(proto) for alias, proto in response.outputs.items()}

    def status(self, model: str) -> dict[int, str]:
        """States by version, as GetModelStatus names them."""
        from tensorflow_serving.apis import get_model_status_pb2

        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        response = self.model.GetModelStatus(request, timeout=DEADLINE)
        names = get_model_status_pb2.ModelVersionStatus.State
        return {entry.version: names.Name(entry.state) for entry in response.model_version_status}

    def reload(self, *models: dict[str, Any], timeout: float = DEADLINE) -> Any:
        """Replace the configuration; each model is given as the fields of a ModelConfig."""
        from tensorflow_serving.apis import model_management_pb2

        request = model_management_pb2.ReloadConfigRequest()
        request.config.model_config_list.SetInParent()
        for model in models:
            request.config.model_config_list.config.add(**{"model_platform": "tensorflow", **model})
        return self.model.HandleReloadConfigRequest(request, timeout=timeout)


@dataclass
class Running:
    """A server and a client of it."""

    server: ModelServer
    client: ServingClient

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds that depends on the states of versions."""
        assert self.server.core.monitor.wait(condition, DEADLINE)

    def wait_for_states(self, model: str, **states: str) -> None:
        """Wait until versions, given as `v1="AVAILABLE"`, have these states."""
        expected = {int(name[1:]): state for name, state in states.items()}

        def reached() -> bool:
            known = self.server.core.monitor.states(model)
            return all(
                version in known and known[version].state.name == state
                for version, state in expected.items()
            )

        self.wait(reached)


def model_config_list(*models: dict[str, Any]) -> str:
    """A text-format ModelServerConfig; each model is given as the fields of a ModelConfig."""
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.SetInParent()
    for model in models:
        config.model_config_list.config.add(**{"model_platform": "tensorflow", **model})
    return str(text_format.MessageToString(config))


@contextmanager
def running(options: ServerOptions) -> Iterator[Running]:
    """Run a server on a free port."""
    with ModelServer(replace(options, port=0)) as server:
        with grpc.insecure_channel(server.address) as channel:
            yield Running(server, ServingClient(channel))
        server.stop(grace=0)


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
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SavedModels by name."""
    from heliograph_modelserver.testing import (
        write_counter,
        write_half_plus,
        write_identity,
        write_image_classifier,
        write_sum,
    )

    root = tmp_path_factory.mktemp("models")
    write_half_plus(root / "half_plus_two", 2.0)
    write_half_plus(root / "half_plus_three", 3.0)
    write_image_classifier(root / "image", side=8, seed=1)
    write_image_classifier(root / "image_2", side=8, seed=2)
    write_sum(root / "sum")
    write_identity(root / "identity")
    write_counter(root / "counter")
    return root


@pytest.fixture(scope="session")
def install(models: Path) -> Callable[[str, Path], None]:
    """Copies a SavedModel to a version directory, atomically, as a publisher would."""

    def install(name: str, version_dir: Path) -> None:
        staging = version_dir.parent / f".tmp-{version_dir.name}"
        staging.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(models / name, staging)
        staging.rename(version_dir)

    return install


@pytest.fixture(scope="session")
def served(
    install: Callable[[str, Path], None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A server for tests that change nothing: models of several signatures and versions."""
    root = tmp_path_factory.mktemp("served")
    install("half_plus_two", root / "half_plus_two" / "1")
    install("half_plus_three", root / "half_plus_two" / "2")
    install("image", root / "image" / "5")
    install("sum", root / "sum" / "1")
    install("identity", root / "identity" / "1")
    config = root / "models.config"
    config.write_text(
        model_config_list(
            *(
                {
                    "name": name,
                    "base_path": str(root / name),
                    "model_version_policy": {"all": {}},
                }
                for name in ("half_plus_two", "image", "sum", "identity")
            )
        )
    )
    with running(ServerOptions(model_config_file=config, file_system_poll_wait_seconds=0)) as one:
        yield one


@pytest.fixture(scope="session")
def config_text() -> Callable[..., str]:
    """Writes a text-format ModelServerConfig."""
    return model_config_list


@pytest.fixture(scope="session")
def run_server() -> Callable[[ServerOptions], AbstractContextManager[Running]]:
    """Runs a server as long as a `with` block."""
    return running


@pytest.fixture
def serve() -> Iterator[Callable[[ServerOptions], Running]]:
    """Starts servers that end with the test."""
    with ExitStack() as stack:
        yield lambda options: stack.enter_context(running(options))
