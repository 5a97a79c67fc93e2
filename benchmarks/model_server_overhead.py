"""What the model server costs: one 32×32 image in, ten floats out, over loopback and a unix socket.

    python benchmarks/model_server_overhead.py [--rounds 15] [--calls 200] [--json]

The same messages go to three servers, each in a process of its own: `heliograph model-server`, and
a bare `grpc.server` and a bare `grpc.aio` server that parse the request and send a fixed answer.
The fourth figure is the session call that the model server makes, without any gRPC. Rounds take
turns, so that all meet the same machine. A figure is the median over the rounds, with quartiles.

Latency is that of one caller that waits for each answer; throughput is that of `--concurrency`
calls open at once. Clients and servers share the processors: throughput is that of both together.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc

from heliograph.tfserving.v1 import prediction_pb2

METHOD = "/tensorflow.serving.PredictionService/Predict"
SIDE = 32
CLASSES = 10
UINT8, FLOAT = 4, 1
"""Numbers of `DataType`."""


def predict_request() -> bytes:
    """One image of 32×32 pixels, as the gateway sends it."""
    request = prediction_pb2.PredictRequest()
    request.model_spec.name = "image"
    tensor = request.inputs["image"]
    tensor.dtype = UINT8  # type: ignore[assignment]
    for size in (1, SIDE, SIDE, 3):
        tensor.tensor_shape.dim.add().size = size
    tensor.tensor_content = os.urandom(SIDE * SIDE * 3)
    return request.SerializeToString()


def predict_response() -> prediction_pb2.PredictResponse:
    """What a model server answers to it."""
    response = prediction_pb2.PredictResponse()
    response.model_spec.name = "image"
    response.model_spec.version.value = 1
    response.model_spec.signature_name = "serving_default"
    tensor = response.outputs["probabilities"]
    tensor.dtype = FLOAT  # type: ignore[assignment]
    for size in (1, CLASSES):
        tensor.tensor_shape.dim.add().size = size
    tensor.float_val.extend([1 / CLASSES] * CLASSES)
    return response


# The servers, each run by this script in a process of its own.


def echo_handlers(behaviour: Callable[..., Any]) -> grpc.GenericRpcHandler:
    """Serve one method that parses PredictRequest and sends PredictResponse."""
    return grpc.method_handlers_generic_handler(
        "tensorflow.serving.PredictionService",
        {
            "Predict": grpc.unary_unary_rpc_method_handler(
                behaviour,
                request_deserializer=prediction_pb2.PredictRequest.FromString,
                response_serializer=prediction_pb2.PredictResponse.SerializeToString,
            )
        },
    )


def serve_echo_sync(socket: str) -> None:
    """A bare `grpc.server` with as many threads as the model server."""
    from concurrent.futures import ThreadPoolExecutor

    response = predict_response()
    server = grpc.server(ThreadPoolExecutor(4 * (os.cpu_count() or 1)))
    server.add_generic_rpc_handlers((echo_handlers(lambda _request, _context: response),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.add_insecure_port(socket)
    server.start()
    print(json.dumps({"address": f"127.0.0.1:{port}", "socket": socket}), flush=True)
    sys.stdin.read()


def serve_echo_aio(socket: str) -> None:
    """A bare `grpc.aio` server."""

    async def serve() -> None:
        response = predict_response()

        async def echo(_request: Any, _context: Any) -> prediction_pb2.PredictResponse:
            return response

        server = grpc.aio.server()
        server.add_generic_rpc_handlers((echo_handlers(echo),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.add_insecure_port(socket)
        await server.start()
        print(json.dumps({"address": f"127.0.0.1:{port}", "socket": socket}), flush=True)
        await asyncio.to_thread(sys.stdin.read)

    asyncio.run(serve())


def serve_session(base_path: str) -> None:
    """The bare session call: reads numbers of calls, writes seconds per call."""
    import numpy as np

    from heliograph_modelserver.memory import use_system_allocator
    from heliograph_modelserver.session import SavedModelSession, SessionOptions

    use_system_allocator()
    session = SavedModelSession(f"{base_path}/1", ["serve"], SessionOptions())
    feeds = {"image:0": np.zeros((1, SIDE, SIDE, 3), np.uint8)}
    session.run(feeds, ["probabilities:0"], 60.0)
    print("{}", flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            began = time.perf_counter()
            session.run(feeds, ["probabilities:0"], 60.0)
            seconds.append(time.perf_counter() - began)
        print(json.dumps(statistics.median(seconds)), flush=True)


def write_model(base_path: str) -> None:
    """Write the network that is served."""
    from heliograph_modelserver.testing import write_image_classifier

    write_image_classifier(Path(base_path) / "1", side=SIDE)


ROLES = {
    "echo-sync": serve_echo_sync,
    "echo-aio": serve_echo_aio,
    "session": serve_session,
    "write": write_model,
}


# The measuring side, which never imports TensorFlow.


@contextmanager
def role(name: str, argument: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Run one of the servers above; yield it and the addresses it prints."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--role", name, argument],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


@contextmanager
def model_server(base_path: str, socket: str) -> Iterator[dict[str, Any]]:
    """Run `heliograph model-server`; yield its ready event with the seconds it took."""
    began = time.monotonic()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "heliograph.cli", "model-server", "--model_name=image"),
            *(f"--model_base_path={base_path}", f"--grpc_socket_path={socket}"),
            f"--port={free_port()}",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    try:
        for line in process.stderr:
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "serving":
                event["seconds_from_exec"] = round(time.monotonic() - began, 2)
                break
        else:
            raise SystemExit("the model server did not start")
        yield event
    finally:
        process.terminate()
        process.stderr.close()
        process.wait()


def free_port() -> int:
    """A port that was free a moment ago."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def latency(target: str, request: bytes, calls: int) -> float:
    """Median seconds of a call, one after the other."""
    seconds = []
    with grpc.insecure_channel(target) as channel:
        call: Any = channel.unary_unary(METHOD)
        for number in range(calls + calls // 10):
            began = time.perf_counter()
            call(request, timeout=60)
            if number >= calls // 10:
                seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def throughput(target: str, request: bytes, calls: int, concurrency: int) -> float:
    """Calls per second with several open at once."""

    async def measure() -> float:
        async with grpc.aio.insecure_channel(target) as channel:
            call: Any = channel.unary_unary(METHOD)
            await asyncio.gather(*(call(request, timeout=60) for _ in range(concurrency)))
            remaining = iter(range(calls))

            async def worker() -> None:
                for _ in remaining:
                    await call(request, timeout=60)

            began = time.perf_counter()
            await asyncio.gather(*(worker() for _ in range(concurrency)))
            return calls / (time.perf_counter() - began)

    return asyncio.run(measure())


def summary(values: list[float], scale: float = 1.0) -> dict[str, float]:
    """Median and quartiles."""
    first, median, third = statistics.quantiles([value * scale for value in values], n=4)
    return {"median": round(median, 3), "q1": round(first, 3), "q3": round(third, 3)}


def measure(rounds: int, calls: int, concurrency: int) -> dict[str, Any]:
    """Run all rounds."""
    request = predict_request()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        base_path = f"{folder}/image"
        subprocess.run(
            [sys.executable, __file__, "--role", "write", base_path],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        ready = stack.enter_context(model_server(base_path, f"{folder}/server.sock"))
        session, _ = stack.enter_context(role("session", base_path))
        servers = {
            "model server": ready,
            "grpc.server echo": stack.enter_context(role("echo-sync", f"unix:{folder}/sync.sock"))[
                1
            ],
            "grpc.aio echo": stack.enter_context(role("echo-aio", f"unix:{folder}/aio.sock"))[1],
        }
        assert session.stdin
        assert session.stdout
        seconds: dict[str, list[float]] = {}
        rates: dict[str, list[float]] = {}
        for _ in range(rounds):
            session.stdin.write(f"{calls}\n")
            session.stdin.flush()
            seconds.setdefault("session call", []).append(json.loads(session.stdout.readline()))
            for name, addresses in servers.items():
                for transport, target in (
                    ("loopback", addresses["address"]),
                    ("unix socket", addresses["socket"]),
                ):
                    key = f"{name}, {transport}"
                    seconds.setdefault(key, []).append(latency(target, request, calls))
                    rates.setdefault(key, []).append(
                        throughput(target, request, 4 * calls, concurrency)
                    )
    return {
        "rounds": rounds,
        "concurrency": concurrency,
        "latency_ms": {name: summary(values, 1e3) for name, values in seconds.items()},
        "calls_per_second": {name: summary(values) for name, values in rates.items()},
        "start": {
            "seconds_from_exec_to_serving": ready["seconds_from_exec"],
            "of_which_importing_tensorflow": ready["tensorflow_import_seconds"],
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15, help="at least 2")
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--role", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role:
        ROLES[arguments.role[0]](arguments.role[1])
        return
    result = measure(arguments.rounds, arguments.calls, arguments.concurrency)
    if arguments.json:
        print(json.dumps(result))
        return
    for title, unit in (("latency_ms", "ms"), ("calls_per_second", "calls/s")):
        for name, figures in result[title].items():
            print(
                f"{name:32} {figures['median']:10.2f} {unit:8}"
                f" (quartiles {figures['q1']:.2f} to {figures['q3']:.2f})"
            )
    print(
        f"start: {result['start']['seconds_from_exec_to_serving']} s, of which"
        f" {result['start']['of_which_importing_tensorflow']} s import TensorFlow"
    )


if __name__ == "__main__":
    main()
