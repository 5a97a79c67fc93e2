"""Images, the command, and a gateway whose stream does what a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc
import pytest

from heliograph.classifier_calls import SERVICE
from heliograph.cli import main
from heliograph.v1.classifier_pb2 import (
    Classification,
    ClassScore,
    ImageResult,
    ServedBy,
    StreamClassifyRequest,
    StreamClassifyResponse,
)

Behaviour = Callable[
    [Iterator[StreamClassifyRequest], grpc.ServicerContext], Iterable[StreamClassifyResponse]
]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with four images that differ."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.png").write_bytes(bytes([number]) * 200)
    return folder


@dataclass(frozen=True)
class Ended:
    """A run of the command that has ended."""

    exit_code: int
    document: dict[str, Any]
    out: str
    err: str

    @property
    def step(self) -> dict[str, Any]:
        (step,) = self.document["steps"]
        assert isinstance(step, dict)
        return step


LoadTest = Callable[..., Ended]


@pytest.fixture
def loadtest(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> LoadTest:
    """Run `heliograph loadtest` on a target, and read the document that it writes."""

    def run(target: str, *words: str) -> Ended:
        path = tmp_path / "report.json"
        exit_code = main(
            ["loadtest", "--target", target, "--images", str(images), "--json", str(path), *words]
        )
        document = json.loads(path.read_text()) if path.exists() else {}
        captured = capsys.readouterr()
        return Ended(exit_code, document, captured.out, captured.err)

    return run


@dataclass
class StreamGateway:
    """Serves StreamClassify alone."""

    behave: Behaviour
    streams: int = 0
    received: list[StreamClassifyRequest] = field(default_factory=list)
    target: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        self._executor = ThreadPoolExecutor(8)
        self._server = grpc.server(self._executor)
        handler: Any = grpc.stream_stream_rpc_method_handler(
            self._serve,
            StreamClassifyRequest.FromString,
            lambda response: response.SerializeToString(),
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"StreamClassify": handler}),)
        )
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()
        self._executor.shutdown()

    def _serve(
        self, requests: Iterator[StreamClassifyRequest], context: grpc.ServicerContext
    ) -> Iterator[StreamClassifyResponse]:
        with self._lock:
            self.streams += 1
        yield from self.behave(self._noted(requests), context)

    def _noted(self, requests: Iterator[StreamClassifyRequest]) -> Iterator[StreamClassifyRequest]:
        for request in requests:
            with self._lock:
                self.received.append(request)
            yield request


def answer(request: StreamClassifyRequest, version: int = 7) -> StreamClassifyResponse:
    """Answer every image of a message."""
    result = ImageResult(classification=Classification(classes=[ClassScore(class_name="cat")]))
    return StreamClassifyResponse(
        correlation_id=request.correlation_id,
        served_by=ServedBy(name="pets", version=version),
        result=result,
        more_results=[result] * len(request.more_images),
    )


@pytest.fixture
def answered() -> Callable[[StreamClassifyRequest], StreamClassifyResponse]:
    """Make the answer to a message."""
    return answer


@pytest.fixture
def stream_gateway() -> Iterator[Callable[..., StreamGateway]]:
    """Start gateways that behave as told; at first, every message is answered at once."""
    started: list[StreamGateway] = []

    def start(behave: Behaviour = lambda requests, _: map(answer, requests)) -> StreamGateway:
        gateway = StreamGateway(behave)
        gateway.__enter__()
        started.append(gateway)
        return gateway

    yield start
    for gateway in started:
        gateway.__exit__()
