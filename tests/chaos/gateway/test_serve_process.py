"""The process of `heliograph serve`: how it starts, what stops it, and what it must not load."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import psutil
import pytest

from heliograph.errors import AddressInUseError, ConfigurationError
from heliograph.v1.classifier_pb2 import ClassifyRequest, ClassifyResponse, Image
from heliograph_gateway.backends.fake_server import FakeTensorFlowServing

if TYPE_CHECKING:
    from tests.chaos.gateway.conftest import Call, Eventually, StartServe
    from tests.conftest import Brightness

    from heliograph_gateway.backends.fake import FakeBackend

IDLE_MEGABYTES = 120
"""Resident memory of an idle gateway with one model behind `tfs://`, at most."""


@pytest.fixture
def request_bytes(brightness: Brightness) -> bytes:
    """A request with a good image."""
    return ClassifyRequest(image=Image(encoded=brightness.image())).SerializeToString()


async def refused(classify: Call, request: bytes) -> grpc.StatusCode | None:
    """The code with which a call fails; None when it is answered."""
    try:
        await classify(request, timeout=30)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_calls_finish_and_ends_with_0(
    number: signal.Signals,
    serve: StartServe,
    tfs: tuple[FakeTensorFlowServing, FakeBackend],
    classify_at: Callable[..., Call],
    request_bytes: bytes,
    eventually: Eventually,
) -> None:
    server, backend = tfs
    alone = ("--max-batch-size", "1", "--backend-batches-in-flight", "10")
    process = await serve("--backend", server.address, *alone)
    address = await process.address()
    classify = classify_at(address)
    await classify(request_bytes)
    backend.pause()
    served = len(backend.batches)
    calls = [classify(request_bytes, timeout=60) for _ in range(10)]
    await eventually(lambda: len(backend.batches) == served + 10)

    process.send(number)
    await process.logged("draining")
    assert await refused(classify_at(address), request_bytes)
    backend.resume()

    for call in calls:
        response = ClassifyResponse.FromString(await call)
        assert response.classification.classes[0].class_name == "bright"
    assert await process.ended() == 0
    assert process.events("stopped")
    assert process.other_lines == []


async def test_a_signal_while_it_starts_ends_with_0(
    serve: StartServe,
    tfs: tuple[FakeTensorFlowServing, FakeBackend],
    eventually: Eventually,
) -> None:
    server, backend = tfs
    backend.pause()  # The golden check at the start waits for an answer.
    process = await serve("--backend", server.address)
    await eventually(lambda: backend.batches)

    process.send(signal.SIGTERM)

    assert await process.ended() == 0
    assert not process.events("ready")


async def test_a_port_in_use_is_one_line_and_an_exit_code(
    serve: StartServe, tfs: tuple[FakeTensorFlowServing, FakeBackend]
) -> None:
    server, _ = tfs
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for flag, advice in (("--listen", "--listen"), ("--metrics-listen", "--metrics-listen")):
            process = await serve("--backend", server.address, flag, address)

            assert await process.ended() == AddressInUseError.exit_code
            [line] = [line for line in process.other_lines if line.startswith("heliograph")]
            assert line.startswith("heliograph serve: cannot ")
            assert address in line
            assert line.endswith(advice)


async def test_two_gateways_never_share_a_port(
    serve: StartServe, tfs: tuple[FakeTensorFlowServing, FakeBackend]
) -> None:
    server, _ = tfs
    address = await (await serve("--backend", server.address)).address()

    second = await serve("--backend", server.address, "--listen", address)

    assert await second.ended() == AddressInUseError.exit_code


async def test_a_repository_that_is_not_there_is_one_line(
    serve: StartServe, tmp_path: Path
) -> None:
    process = await serve("--backend", "tfs://127.0.0.1:1", "--repository", tmp_path / "gone")

    assert await process.ended() == ConfigurationError.exit_code
    assert process.other_lines == [
        f"heliograph serve: {tmp_path}/gone is no model repository; `heliograph export` makes one"
    ]


async def test_a_proxy_in_the_environment_does_not_stand_between(
    serve: StartServe,
    tfs: tuple[FakeTensorFlowServing, FakeBackend],
    classify_at: Callable[..., Call],
    request_bytes: bytes,
) -> None:
    server, _ = tfs
    nowhere = "http://127.0.0.1:9"
    names = ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy")

    process = await serve("--backend", server.address, environment=dict.fromkeys(names, nowhere))

    address = await process.address()
    assert (await process.logged("ready"))["models"] == ["brightness"]
    assert await classify_at(address)(request_bytes, timeout=30)


async def test_over_tls_with_tokens(
    serve: StartServe,
    tfs: tuple[FakeTensorFlowServing, FakeBackend],
    classify_at: Callable[..., Call],
    request_bytes: bytes,
    tmp_path: Path,
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-days", "1", "-nodes", "-newkey", "ec"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"),
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    (tmp_path / "tokens.txt").write_text("a-token\n")
    server, _ = tfs
    process = await serve(
        *("--backend", server.address, "--listen", "0.0.0.0:0"),
        *("--tls-certificate", tmp_path / "cert.pem", "--tls-key", tmp_path / "key.pem"),
        *("--token-file", tmp_path / "tokens.txt", "--access-log"),
    )
    port = (await process.address()).rpartition(":")[2]
    credentials = grpc.ssl_channel_credentials((tmp_path / "cert.pem").read_bytes())
    classify = classify_at(f"localhost:{port}", credentials)

    assert await refused(classify, request_bytes) is grpc.StatusCode.UNAUTHENTICATED
    metadata = (("authorization", "Bearer a-token"),)
    answer = await classify(request_bytes, metadata=metadata, timeout=30)
    assert ClassifyResponse.FromString(answer).classification.classes
    in_the_clear = classify_at(f"127.0.0.1:{port}")
    assert await refused(in_the_clear, request_bytes) is grpc.StatusCode.UNAVAILABLE
    process.send(signal.SIGTERM)
    assert await process.ended() == 0
    assert "a-token" not in str(process.log)


async def test_a_backend_that_is_killed_and_comes_back_is_used_again(
    serve: StartServe,
    tfs: tuple[FakeTensorFlowServing, FakeBackend],
    classify_at: Callable[..., Call],
    request_bytes: bytes,
) -> None:
    server, backend = tfs
    process = await serve("--backend", server.address)
    classify = classify_at(await process.address())
    await classify(request_bytes)
    await server.stop()

    assert await refused(classify, request_bytes) is grpc.StatusCode.UNAVAILABLE

    again = FakeTensorFlowServing(backend)
    await again.start(server.address.removeprefix("tfs://"))
    try:
        end = time.monotonic() + 30
        while await refused(classify, request_bytes):
            assert time.monotonic() < end, "the backend is not used again"
            await asyncio.sleep(0.01)
    finally:
        await again.stop()


async def test_an_idle_gateway_is_small_and_has_loaded_no_tensorflow(
    serve: StartServe,
    tfs: tuple[FakeTensorFlowServing, FakeBackend],
    classify_at: Callable[..., Call],
    request_bytes: bytes,
) -> None:
    server, _ = tfs
    process = await serve("--backend", server.address)
    await classify_at(await process.address())(request_bytes, timeout=30)

    memory = psutil.Process(process.pid).memory_info().rss / 2**20
    mapped = {mapping.path for mapping in psutil.Process(process.pid).memory_maps()}

    assert memory <= IDLE_MEGABYTES
    assert any("numpy" in path for path in mapped)
    assert not [path for path in mapped if "tensorflow" in path or "keras" in path]
