"""`heliograph loadtest` as a user of a shell meets it."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from heliograph.classifier_calls import SERVICE
from heliograph.errors import (
    CorruptImageError,
    InternalError,
    OverloadedError,
    StorageError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from heliograph.testing import FakeGateway
from heliograph.v1.classifier_pb2 import (
    ClassifyResponse,
    ServedBy,
    StreamClassifyRequest,
    StreamClassifyResponse,
)
from heliograph_loadtest.aggregation import Aggregation
from heliograph_loadtest.command import configure
from heliograph_loadtest.document import from_document, read_document
from heliograph_loadtest.load import Step
from heliograph_loadtest.plan_arguments import plan_of
from heliograph_loadtest.results import StepResult
from heliograph_loadtest.run import run

if TYPE_CHECKING:
    from tests.contract.loadtest.conftest import LoadTest, StreamGateway

SHORT = ("--duration", "0.6s", "--warmup", "0.2s", "--quiet")


def test_an_open_loop_sends_what_it_was_told(fake_gateway: FakeGateway, loadtest: LoadTest) -> None:
    ended = loadtest(fake_gateway.target, "--rate", "50", *SHORT)

    assert ended.exit_code == 0
    assert ended.step["calls"] == {"due": 30, "ok": 30, "failed": 0, "not_sent": 0}
    # The warm-up, and one call that opens the connection.
    assert len(fake_gateway.calls) == 30 + 10 + 1
    assert ended.step["versions"] == [{"model": "fake", "version": 1, "calls": 30}]
    sent = {call.request.image.encoded for call in fake_gateway.calls}  # type: ignore[attr-defined]
    assert sent == {bytes([number]) * 200 for number in range(4)}
    assert "answered" in ended.out
    assert ended.err == ""


def test_processes_and_connections_share_the_load(
    fake_gateway: FakeGateway, loadtest: LoadTest
) -> None:
    ended = loadtest(
        fake_gateway.target, "--rate", "60", "--processes", "2", "--connections", "2", *SHORT
    )

    assert ended.step["calls"]["ok"] == 36
    assert len({call.peer for call in fake_gateway.calls}) == 4
    assert len(ended.step["generator"]["cores"]) == 2


def test_a_closed_loop_waits_for_answers(fake_gateway: FakeGateway, loadtest: LoadTest) -> None:
    fake_gateway.delay(0.1)

    ended = loadtest(fake_gateway.target, "--concurrency", "3", *SHORT)

    # Three callers make at most six calls each in 0.6 seconds, some fewer on a busy machine.
    assert 3 <= ended.step["calls"]["ok"] <= 3 * 7
    assert ended.step["latencies"]["OK"]["p50"] >= 0.1


def test_errors_are_counted_with_their_reasons(
    fake_gateway: FakeGateway, loadtest: LoadTest
) -> None:
    # 1 call opens the connection, and 20 are the warm-up.
    fake_gateway.answer({"cat": 1.0}, times=30)
    fake_gateway.fail(OverloadedError("too many images wait", retry_after=0.01), times=5)
    fake_gateway.fail(CorruptImageError("truncated"), times=3)

    ended = loadtest(fake_gateway.target, "--rate", "100", "--slo", "p90=5s", *SHORT)

    assert ended.step["calls"] == {"due": 60, "ok": 52, "failed": 8, "not_sent": 0}
    assert [(item["status"], item["reason"], item["calls"]) for item in ended.step["errors"]] == [
        ("RESOURCE_EXHAUSTED", "OVERLOADED", 5),
        ("INVALID_ARGUMENT", "CORRUPT_IMAGE", 3),
    ]
    assert ended.step["errors"][0]["message"] == "too many images wait"
    assert ended.step["objectives"][0]["share"] == pytest.approx(52 / 60)
    assert ended.exit_code == 1


def test_a_batch_is_a_call_of_several_images(fake_gateway: FakeGateway, loadtest: LoadTest) -> None:
    fake_gateway.answer({"cat": 1.0}, times=6 * 8)
    fake_gateway.fail(CorruptImageError("truncated"), times=2)

    ended = loadtest(fake_gateway.target, "--rate", "20", "--batch", "8", *SHORT)

    assert {call.method for call in fake_gateway.calls} == {"BatchClassify"}
    assert ended.step["calls"]["ok"] == 12
    assert ended.step["errors"] == [
        {
            "status": "INVALID_ARGUMENT",
            "reason": "CORRUPT_IMAGE",
            "message": "truncated",
            "calls": 0,
            "images": 2,
        }
    ]


def test_a_stream_is_put_under_load_too(
    stream_gateway: Callable[..., StreamGateway], loadtest: LoadTest
) -> None:
    gateway = stream_gateway()

    ended = loadtest(gateway.target, "--rate", "100", "--stream", "--connections", "2", *SHORT)

    assert ended.step["calls"] == {"due": 60, "ok": 60, "failed": 0, "not_sent": 0}
    assert ended.step["versions"] == [{"model": "pets", "version": 7, "calls": 60}]
    assert gateway.streams == 2


def test_the_window_of_a_stream_is_bounded(
    stream_gateway: Callable[..., StreamGateway],
    answered: Callable[[StreamClassifyRequest], StreamClassifyResponse],
    loadtest: LoadTest,
) -> None:
    def only_the_first(
        requests: Iterator[StreamClassifyRequest], _: grpc.ServicerContext
    ) -> Iterator[StreamClassifyResponse]:
        yield answered(next(requests))
        for _request in requests:
            """It waits in vain."""

    gateway = stream_gateway(only_the_first)

    ended = loadtest(
        gateway.target,
        *("--rate", "100", "--stream", "--max-in-flight", "5", "--timeout", "1"),
        *("--duration", "0.5s", "--warmup", "0s", "--quiet"),
    )

    assert len(gateway.received) == 1 + 5
    assert ended.step["calls"] == {"due": 50, "ok": 0, "failed": 5, "not_sent": 45}
    assert ended.exit_code == 1


@pytest.fixture
def limited() -> Iterator[str]:
    """A gateway that answers one call after the other, 60 per second."""
    response = ClassifyResponse(served_by=ServedBy(name="slow", version=1)).SerializeToString()
    executor = ThreadPoolExecutor(200)
    free = [time.monotonic()]

    def classify(request: bytes, context: grpc.ServicerContext) -> bytes:
        # A turn is taken before waiting, so that the threads need no lock around the wait.
        free[0] = turn = max(free[0], time.monotonic()) + 1 / 60
        time.sleep(max(turn - time.monotonic(), 0))
        return response

    server = grpc.server(executor)
    handler: Any = grpc.unary_unary_rpc_method_handler(classify)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"Classify": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()
    executor.shutdown()


def test_the_highest_rate_of_a_limited_gateway_is_found(limited: str, loadtest: LoadTest) -> None:
    ended = loadtest(
        limited,
        *("--find-max", "--rate", "40", "--slo", "p80=200ms", "--precision", "50%"),
        *("--duration", "0.8s", "--warmup", "0.3s", "--quiet"),
    )

    # 40 per second are well below its capacity, and 160 far above: whatever else the machine does.
    assert ended.exit_code == 0
    assert 40 <= ended.document["search"]["kept"] < 160
    assert ended.document["search"]["missed"] <= 160
    assert "Highest rate that kept p80 ≤ 200 ms" in ended.out
    assert len(ended.document["steps"]) >= 3


def test_a_generator_process_that_dies_ends_the_run_with_an_error(
    fake_gateway: FakeGateway, images: Path
) -> None:
    class Killer:
        def step_started(self, step: Step) -> None:
            """Nothing yet: the processes have only been told to start."""

        def step_runs(self, step: Step, elapsed: float, aggregation: Aggregation) -> None:
            for child in multiprocessing.active_children():
                child.kill()

        def step_ended(self, result: StepResult) -> None:
            pytest.fail("the step cannot have ended")

    parser = argparse.ArgumentParser()
    configure(parser)
    words = ["--target", fake_gateway.target, "--images", str(images), "--rate", "10"]

    with pytest.raises(InternalError, match="has ended with exit code -9"):
        run(plan_of(parser.parse_args(words)), Killer())

    assert multiprocessing.active_children() == []


def test_there_is_nothing_to_measure_without_a_gateway(loadtest: LoadTest) -> None:
    with FakeGateway() as gateway:
        nobody = gateway.target

    ended = loadtest(nobody, "--rate", "10", *SHORT)

    assert ended.exit_code == UnavailableError.exit_code
    assert ended.err.startswith(f"heliograph loadtest: cannot reach {nobody}")
    assert ended.err.count("\n") == 1
    assert ended.document == {}


def test_a_stream_that_is_not_served_is_told_apart(limited: str, loadtest: LoadTest) -> None:
    ended = loadtest(limited, "--rate", "10", "--stream", *SHORT)

    assert ended.exit_code == UnimplementedError.exit_code


def test_a_token_is_needed_and_sent(tmp_path: Path, loadtest: LoadTest) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    with FakeGateway(token="secret") as gateway:
        refused = loadtest(gateway.target, "--rate", "10", *SHORT)
        admitted = loadtest(gateway.target, "--rate", "10", "--token-file", str(token), *SHORT)

    assert refused.exit_code == UnauthenticatedError.exit_code
    assert admitted.exit_code == 0
    assert admitted.document["configuration"]["token"] is True
    assert "secret" not in json.dumps(admitted.document)


def test_the_page_and_stdout_are_written_too(
    fake_gateway: FakeGateway, images: Path, tmp_path: Path, loadtest: LoadTest
) -> None:
    page = tmp_path / "page.html"

    ended = loadtest(
        fake_gateway.target,
        *("--concurrency", "1,2", "--html", str(page), "--title", "An evening", "--json", "-"),
        *SHORT,
    )

    assert ended.exit_code == 0
    report = from_document(json.loads(ended.out))
    assert [str(step.load) for step in report.steps] == ["1 concurrent", "2 concurrent"]
    text = page.read_text()
    assert "<h1>An evening</h1>" in text
    assert "Latency over concurrency" in text


def test_a_report_that_cannot_be_written_is_noticed_before_the_run(
    fake_gateway: FakeGateway, tmp_path: Path, loadtest: LoadTest
) -> None:
    ended = loadtest(
        fake_gateway.target, "--rate", "1", "--html", str(tmp_path / "no folder" / "page.html")
    )

    assert ended.exit_code == StorageError.exit_code
    assert fake_gateway.calls == ()


def test_ctrl_c_ends_a_run_with_a_report(
    fake_gateway: FakeGateway, images: Path, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "heliograph.cli", "loadtest", "--target", fake_gateway.target),
            *("--images", str(images), "--rate", "50", "--warmup", "0s", "--duration", "10m"),
            *("--processes", "2", "--json", str(path)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 30
        while len(fake_gateway.calls) < 30:
            assert time.monotonic() < deadline, "the load test sends nothing"
            assert process.poll() is None
            time.sleep(0.01)
        # The terminal sends it to all processes of the group.
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()

    report = read_document(path)
    assert process.returncode == 130
    assert report.interrupted
    assert 0 < report.steps[0].seconds < 60
    assert report.steps[0].ok > 0
    assert report.steps[0].failed == 0
    assert "The run was interrupted" in out
    assert "Traceback" not in err
