"""Tokens and TLS: who is let in, and who may ask for health without."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from heliograph.errors import ConfigurationError
from heliograph.v1.classifier_pb2 import ListModelsRequest

if TYPE_CHECKING:
    from tests.conftest import Brightness
    from tests.contract.gateway.conftest import RunningGateway, StartGateway


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.txt"
    path.write_text("first-token\n# of the batch jobs\nsecond-token\n")
    return path


@pytest.fixture
async def gateway(
    start_gateway: StartGateway, repository: Path, brightness: Brightness, tokens: Path
) -> RunningGateway:
    """A gateway that wants tokens."""
    brightness.publish(repository)
    return await start_gateway(token_file=tokens)


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


@pytest.mark.parametrize("token", ["first-token", "second-token"])
async def test_a_call_with_a_token_is_answered(token: str, gateway: RunningGateway) -> None:
    call = gateway.stub.Classify(gateway.request(), metadata=bearer(token))

    assert (await call).classification.classes


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        bearer("third-token"),
        bearer("# of the batch jobs"),
        bearer(""),
        [("authorization", "Basic first-token")],
        [("token", "first-token")],
    ],
)
async def test_every_other_call_is_unauthenticated(metadata: Any, gateway: RunningGateway) -> None:
    for call in (
        gateway.stub.Classify(gateway.request(), metadata=metadata),
        gateway.stub.ListModels(ListModelsRequest(), metadata=metadata),
    ):
        refusal = await gateway.refusal(call)
        assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        assert refusal.request_id
    assert gateway.metric("heliograph_inflight") == 0


async def test_who_has_no_token_is_not_told_whether_a_message_is_well_formed(
    gateway: RunningGateway,
) -> None:
    refusal = await gateway.refusal(gateway.raw("Classify")(b"\xff\xff\xff"))

    assert refusal.code == "UNAUTHENTICATED"


async def test_health_is_answered_without_a_token_and_reflection_is_not(
    gateway: RunningGateway,
) -> None:
    health = health_pb2_grpc.HealthStub(gateway.channel)
    reflection = reflection_pb2_grpc.ServerReflectionStub(gateway.channel)

    response = await health.Check(health_pb2.HealthCheckRequest())
    assert response.status == health_pb2.HealthCheckResponse.SERVING

    async def list_services(metadata: Any = None) -> int:
        requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        call = reflection.ServerReflectionInfo(requests, metadata=metadata)
        return len([response async for response in call])

    assert (await gateway.refusal(list_services())).code == "UNAUTHENTICATED"
    assert await list_services(bearer("first-token")) == 1


async def test_tokens_are_rotated_while_the_gateway_runs(
    gateway: RunningGateway, tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heliograph_gateway.authentication._LOOK_AGAIN", 0.0)
    replacement = tokens.with_name("new.txt")
    replacement.write_text("third-token\n")
    replacement.replace(tokens)

    await gateway.stub.Classify(gateway.request(), metadata=bearer("third-token"))
    refusal = await gateway.refusal(
        gateway.stub.Classify(gateway.request(), metadata=bearer("first-token"))
    )

    assert refusal.message == "the token is not valid"


async def test_a_token_file_without_tokens_stops_the_start(
    start_gateway: StartGateway, tokens: Path
) -> None:
    tokens.write_text("# nobody yet\n")

    with pytest.raises(ConfigurationError, match="holds no token"):
        await start_gateway(token_file=tokens)


# TLS.


@dataclass(frozen=True)
class Certificates:
    """PEM files of an authority, and of two who are called localhost and client."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates that are valid for a day."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout")
    openssl("req", "-x509", "-days", "1", "-subj", "/CN=ca", *key, "ca.key", "-out", "ca.pem")
    for name in ("localhost", "client"):
        (folder / "extensions").write_text(f"subjectAltName=DNS:{name}\nbasicConstraints=CA:FALSE")
        openssl("req", "-new", "-subj", f"/CN={name}", *key, f"{name}.key", "-out", f"{name}.csr")
        openssl(
            *("x509", "-req", "-days", "1", "-in", f"{name}.csr", "-extfile", "extensions"),
            *("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", f"{name}.pem"),
        )
    files = ("ca.pem", "localhost.pem", "localhost.key", "client.pem", "client.key")
    return Certificates(*(folder / file for file in files))


Classify = Callable[..., Awaitable[int]]


@pytest.fixture
async def classify_over_tls(
    start_gateway: StartGateway,
    repository: Path,
    brightness: Brightness,
    certificates: Certificates,
    tokens: Path,
) -> Classify:
    """Start a gateway with TLS and classify an image; returns the number of classes."""
    brightness.publish(repository)

    async def classify(
        *, client_ca: bool = False, client_certificate: bool = False, metadata: Any = None
    ) -> int:
        who = {"tls_client_ca": certificates.authority} if client_ca else {"token_file": tokens}
        gateway = await start_gateway(
            listen="0.0.0.0:0",
            tls_certificate=certificates.server,
            tls_key=certificates.server_key,
            **who,
        )
        own = (certificates.client_key.read_bytes(), certificates.client.read_bytes())
        credentials = grpc.ssl_channel_credentials(
            certificates.authority.read_bytes(), *(own if client_certificate else (None, None))
        )
        port = gateway.gateway.address.rpartition(":")[2]
        async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                "/heliograph.v1.Classifier/Classify"
            )
            request = gateway.request().SerializeToString()
            return len(await call(request, metadata=metadata, timeout=10))

    return classify


async def test_over_tls_a_token_lets_in(classify_over_tls: Classify) -> None:
    assert await classify_over_tls(metadata=bearer("first-token"))


async def test_over_tls_a_call_without_a_token_is_unauthenticated(
    classify_over_tls: Classify,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await classify_over_tls()

    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_client_certificate_lets_in(classify_over_tls: Classify) -> None:
    assert await classify_over_tls(client_ca=True, client_certificate=True)


async def test_without_the_client_certificate_there_is_no_connection(
    classify_over_tls: Classify,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await classify_over_tls(client_ca=True)

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"tls_certificate": None}, "are no PEM certificate and the private key to it"),
        ({"tls_key": None}, "are no PEM certificate and the private key to it"),
        ({"tls_client_ca": None}, "has no PEM certificates"),
        ({"tls_certificate": "gone"}, "cannot read "),
        ({"tls_key": "gone"}, "cannot read "),
        ({"tls_client_ca": "gone"}, "cannot read "),
        ({"tls_key": "client"}, "are no PEM certificate and the private key to it"),
    ],
)
async def test_files_that_are_no_certificates_stop_the_start(
    spoil: dict[str, str | None],
    message: str,
    start_gateway: StartGateway,
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("this is no certificate")
    paths = {None: garbage, "gone": tmp_path / "gone.pem", "client": certificates.client_key}
    settings = {
        "tls_certificate": certificates.server,
        "tls_key": certificates.server_key,
        "tls_client_ca": certificates.authority,
    } | {name: paths[value] for name, value in spoil.items()}

    with pytest.raises(ConfigurationError, match=message):
        await start_gateway(**settings)
