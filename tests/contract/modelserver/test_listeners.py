"""Where the server listens and what it answers beside predictions: TLS, health, reflection."""

from __future__ import annotations

import subprocess
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from heliograph.errors import AddressInUseError, ConfigurationError
from heliograph_modelserver.options import ServerOptions
from heliograph_modelserver.server import ModelServer
from heliograph_modelserver.tls import read_tls_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

X = np.array([[1.0]], np.float32)
SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.fixture
def options(tmp_path: Path, install: Callable[[str, Path], None]) -> ServerOptions:
    """Serves half_plus_two as `half`."""
    install("half_plus_two", tmp_path / "half" / "1")
    return ServerOptions(port=0, model_name="half", model_base_path=str(tmp_path / "half"))


def predict(channel: grpc.Channel, x: np.ndarray = X) -> float:
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    from heliograph_modelserver.testing import predict_request

    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    response = stub.Predict(predict_request("half", {"x": x}), timeout=30)
    return float(response.outputs["y"].float_val[0])


def test_a_port_and_a_socket_are_served_together(options: ServerOptions, tmp_path: Path) -> None:
    with ModelServer(replace(options, grpc_socket_path=f"{tmp_path}/model.sock")) as server:
        for address in (server.address, server.socket):
            with grpc.insecure_channel(address) as channel:
                assert predict(channel) == 2.5
        assert server.address.startswith("127.0.0.1:")


def test_without_a_port_only_the_socket_is_served(options: ServerOptions, tmp_path: Path) -> None:
    socket = f"{tmp_path}/model.sock"

    with ModelServer(replace(options, port=None, grpc_socket_path=socket)) as server:
        assert server.address == ""
        with grpc.insecure_channel(server.socket) as channel:
            assert predict(channel) == 2.5


def test_a_socket_file_that_was_left_behind_is_replaced(
    options: ServerOptions, tmp_path: Path
) -> None:
    import socket

    path = tmp_path / "model.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))

    with (
        ModelServer(replace(options, port=None, grpc_socket_path=str(path))) as server,
        grpc.insecure_channel(server.socket) as channel,
    ):
        assert predict(channel) == 2.5


def test_a_port_in_use_is_refused(options: ServerOptions) -> None:
    with ModelServer(options) as server:
        port = int(server.address.rpartition(":")[2])

        with pytest.raises(AddressInUseError, match="is another server running there"):
            ModelServer(replace(options, port=port)).start()


def test_an_address_that_is_not_ours_is_refused(options: ServerOptions) -> None:
    with pytest.raises(AddressInUseError):
        ModelServer(replace(options, host="192.0.2.1")).start()


def test_channel_arguments_reach_grpc(options: ServerOptions) -> None:
    limited = replace(
        options,
        grpc_channel_arguments=(
            ("grpc.max_receive_message_length", 1000),
            ("unknown.argument", "tolerated"),
        ),
    )

    with ModelServer(limited) as server, grpc.insecure_channel(server.address) as channel:
        assert predict(channel) == 2.5
        with pytest.raises(grpc.RpcError, match="RESOURCE_EXHAUSTED"):
            predict(channel, np.zeros(1000, np.float32))


def test_messages_larger_than_grpc_allows_by_default_are_served(options: ServerOptions) -> None:
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    from heliograph_modelserver.testing import predict_request

    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with (
        ModelServer(options) as server,
        grpc.insecure_channel(server.address, unlimited) as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        values = np.arange(2_000_000, dtype=np.float32)
        response = stub.Predict(predict_request("half", {"x": values}), timeout=30)
        assert len(response.outputs["y"].float_val) == 2_000_000


def test_health_is_off_by_default(options: ServerOptions) -> None:
    with (
        ModelServer(options) as server,
        grpc.insecure_channel(server.address) as channel,
        pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"),
    ):
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)


@pytest.mark.parametrize(
    "service",
    [
        "",
        "PredictionService",
        "ModelService",
        "tensorflow.serving.PredictionService",
        "tensorflow.serving.ModelService",
    ],
)
def test_health_knows_the_services(options: ServerOptions, service: str) -> None:
    with (
        ModelServer(replace(options, enable_grpc_healthcheck_service=True)) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        request = health_pb2.HealthCheckRequest(service=service)
        assert health_pb2_grpc.HealthStub(channel).Check(request, timeout=30).status == SERVING


def test_health_says_when_the_server_stops(options: ServerOptions) -> None:
    server = ModelServer(replace(options, enable_grpc_healthcheck_service=True)).start()
    with grpc.insecure_channel(server.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING

        server.stop(grace=600)

        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(StopIteration):
            next(watch)


def test_an_open_reflection_stream_does_not_hold_up_a_stop(options: ServerOptions) -> None:
    server = ModelServer(options).start()
    with grpc.insecure_channel(server.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        release = threading.Event()

        def requests() -> Iterator[Any]:
            yield reflection_pb2.ServerReflectionRequest(list_services="")
            release.wait(30)

        stream = stub.ServerReflectionInfo(requests())
        next(stream)

        server.stop(grace=600)

        with pytest.raises(grpc.RpcError, match="CANCELLED"):
            next(stream)
        release.set()


def test_reflection_names_the_services(options: ServerOptions) -> None:
    with ModelServer(options) as server, grpc.insecure_channel(server.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        response = next(iter(stub.ServerReflectionInfo(iter([request]), timeout=30)))

    names = {service.name for service in response.list_services_response.service}
    assert {"tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"} <= names


@dataclass
class Certificates:
    """PEM texts: an authority, and a server's and a client's certificate of it."""

    authority: bytes
    server_key: bytes
    server_cert: bytes
    client_key: bytes
    client_cert: bytes


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates that are valid for a day, made with the openssl command."""
    path = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        try:
            subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=path)
        except FileNotFoundError:
            pytest.skip("the openssl command is not installed")

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(
        *("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "1"),
        *("-subj", "/CN=test authority"),
    )
    for name in ("server", "client"):
        (path / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
        openssl(
            *("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr"),
            *("-subj", f"/CN={name}"),
        )
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-CAcreateserial", "-out", f"{name}.pem", "-days", "1", "-extfile", "names"),
        )
    return Certificates(
        *(
            (path / name).read_bytes()
            for name in ("ca.pem", "server.key", "server.pem", "client.key", "client.pem")
        )
    )


@pytest.fixture
def ssl_config(tmp_path: Path, certificates: Certificates) -> Callable[..., str]:
    """Writes an SSLConfig file."""

    def write(*, client_verify: bool) -> str:
        path = tmp_path / "ssl.config"
        texts = {
            "server_key": certificates.server_key,
            "server_cert": certificates.server_cert,
            "custom_ca": certificates.authority,
        }
        lines = [f"{name}: {text.decode()!r}" for name, text in texts.items()]
        path.write_text("\n".join([*lines, f"client_verify: {str(client_verify).lower()}"]))
        return str(path)

    return write


def test_tls_is_served(
    options: ServerOptions, certificates: Certificates, ssl_config: Callable[..., str]
) -> None:
    tls = read_tls_options(ssl_config(client_verify=False))

    with (
        ModelServer(replace(options, tls=tls)) as server,
        grpc.secure_channel(
            server.address, grpc.ssl_channel_credentials(certificates.authority)
        ) as channel,
    ):
        assert predict(channel) == 2.5


def test_a_client_without_a_certificate_is_refused_where_one_is_wanted(
    options: ServerOptions, certificates: Certificates, ssl_config: Callable[..., str]
) -> None:
    tls = read_tls_options(ssl_config(client_verify=True))
    without = grpc.ssl_channel_credentials(certificates.authority)
    with_certificate = grpc.ssl_channel_credentials(
        certificates.authority, certificates.client_key, certificates.client_cert
    )

    with ModelServer(replace(options, tls=tls)) as server:
        with grpc.secure_channel(server.address, with_certificate) as channel:
            assert predict(channel) == 2.5
        with (
            grpc.secure_channel(server.address, without) as channel,
            pytest.raises(grpc.RpcError, match="UNAVAILABLE"),
        ):
            predict(channel)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server_kye: 'x'", "cannot be read"),
        ("server_key: 'x'", "needs server_key and server_cert"),
        ("server_key: 'x' server_cert: 'y' client_verify: true", "needs custom_ca"),
    ],
)
def test_an_incomplete_ssl_config_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "ssl.config"
    path.write_text(text)

    with pytest.raises(ConfigurationError, match=message):
        read_tls_options(str(path))


def test_a_missing_ssl_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_tls_options(str(tmp_path / "none"))


def test_keys_that_are_no_keys_are_refused(options: ServerOptions, tmp_path: Path) -> None:
    path = tmp_path / "ssl.config"
    path.write_text("server_key: 'x' server_cert: 'y'")

    with pytest.raises(ConfigurationError, match="certificate"):
        ModelServer(replace(options, tls=read_tls_options(str(path)))).start()
