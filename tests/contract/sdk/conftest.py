"""The client for threads and the client for asyncio, under one interface that tests can block on.

These tests need the base install, pytest, pytest-asyncio and pytest-timeout, and nothing else: they
also run on the oldest gRPC and protobuf that the SDK supports.
"""

from __future__ import annotations

import asyncio
import contextvars
import shutil
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from heliograph import AsyncClient, Client, Failure, ModelDetails, ModelInfo, Result

T = TypeVar("T")


class _Threads:
    """The client for threads."""

    def __init__(self, target: str, options: dict[str, Any]) -> None:
        self._client = Client(target, **options)
        self.classify = self._client.classify
        self.models = self._client.models
        self.model = self._client.model
        self.health = self._client.health
        self.close = self._client.close
        self.stop = self._client.close

    def classify_many(self, images: Iterable[Any], **options: Any) -> list[Result | Failure]:
        return list(self._client.classify_many(images, **options))

    def classify_together(self, count: int) -> list[Result]:
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda _: self._client.classify(b"image"), range(count)))

    def classify_and_close(self, when: Callable[[], bool]) -> Result:
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(self._client.classify, b"image", timeout=30.0)
            _wait_until(when)
            self._client.close()
            return call.result()


class _Asyncio:
    """The client for asyncio, on an event loop that runs while a test waits."""

    def __init__(self, target: str, options: dict[str, Any]) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(target, **options)

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        # A Runner has a context of its own, from when it was made; tests set variables later.
        return self._runner.run(call, context=contextvars.copy_context())

    def classify(self, image: Any, **options: Any) -> Result:
        return self._run(self._client.classify(image, **options))

    def classify_many(self, images: Iterable[Any], **options: Any) -> list[Result | Failure]:
        async def collect() -> list[Result | Failure]:
            return [item async for item in self._client.classify_many(images, **options)]

        return self._run(collect())

    def classify_together(self, count: int) -> list[Result]:
        async def gather() -> list[Result]:
            return await asyncio.gather(*(self._client.classify(b"image") for _ in range(count)))

        return self._run(gather())

    def classify_and_close(self, when: Callable[[], bool]) -> Result:
        async def close_below() -> Result:
            call = asyncio.create_task(self._client.classify(b"image", timeout=30.0))
            await asyncio.to_thread(_wait_until, when)
            await self._client.close()
            return await call

        return self._run(close_below())

    def models(self) -> tuple[ModelInfo, ...]:
        return self._run(self._client.models())

    def model(self, name: str | None = None, **options: Any) -> ModelDetails:
        return self._run(self._client.model(name, **options))

    def health(self, model: str | None = None) -> bool:
        return self._run(self._client.health(model))

    def close(self) -> None:
        self._run(self._client.close())

    def stop(self) -> None:
        self.close()
        self._runner.close()


@pytest.fixture(params=["threads", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., _Threads | _Asyncio]]:
    """Open clients of one kind; they are closed at the end of the test."""
    clients: list[_Threads | _Asyncio] = []

    def open_client(target: str, **options: Any) -> _Threads | _Asyncio:
        kind = _Threads if request.param == "threads" else _Asyncio
        client = kind(target, options)
        clients.append(client)
        return client

    yield open_client
    for client in clients:
        client.stop()


@dataclass(frozen=True)
class Certificates:
    """PEM files of an authority, a server named localhost, and a client."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Make certificates that are valid for a day, with the openssl command."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed")
    folder = tmp_path_factory.mktemp("certificates")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    def openssl(*arguments: str | Path) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

    ca, ca_key = folder / "ca.pem", folder / "ca.key"
    subject = ("-subj", "/CN=test authority")
    openssl("req", "-x509", "-days", "1", *new_key, *subject, "-keyout", ca_key, "-out", ca)
    for name, extension in (
        ("server", "subjectAltName=DNS:localhost,DNS:gateway.test"),
        ("client", "extendedKeyUsage=clientAuth"),
    ):
        key, request = folder / f"{name}.key", folder / f"{name}.csr"
        openssl("req", "-new", *new_key, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        (folder / f"{name}.ext").write_text(f"{extension}\nbasicConstraints=CA:FALSE\n")
        openssl(
            *("x509", "-req", "-days", "1", "-in", request, "-CA", ca, "-CAkey", ca_key),
            *("-CAcreateserial", "-extfile", folder / f"{name}.ext"),
            *("-out", folder / f"{name}.pem"),
        )
    return Certificates(
        ca,
        folder / "server.pem",
        folder / "server.key",
        folder / "client.pem",
        folder / "client.key",
    )


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Wait for a condition to hold; fail the test when it does not come to hold."""
    return _wait_until


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come to hold"
        time.sleep(0.002)
