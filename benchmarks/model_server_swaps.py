"""Version swaps under load: errors, versions, memory and the tail of the latency.

    python benchmarks/model_server_swaps.py [--swaps 500] [--clients 8] [--megabytes 50] [--json]

A model server in a process of its own serves one of two versions of a model, each of the given
size, with answers of its own and with a warmup request, as exported versions have. Clients send
Predict without a pause, first while nothing is swapped, then while ReloadConfig goes to and fro
between the versions. Every response must name a version that was served between the sending and the
answer, and carry that version's numbers. The slope of the server's resident memory is a least
squares fit over the swaps after the first tenth.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil

from heliograph.tfserving.v1 import prediction_pb2

PREDICT = "/tensorflow.serving.PredictionService/Predict"
SIDE = 32
UINT8 = 4
"""Number of `DataType.DT_UINT8`."""
START_SECONDS = 10.0
"""How long the clients run before the first swap."""
MILLION = 1_000_000


def write_versions(base_path: Path, megabytes: int) -> None:
    """Write versions 1 and 2; run in a process of its own, since it needs TensorFlow."""
    from tensorflow_serving.apis import predict_pb2

    from heliograph_modelserver.testing import write_image_classifier, write_warmup

    warmup = predict_pb2.PredictRequest.FromString(predict_request())
    for version in (1, 2):
        path = write_image_classifier(
            base_path / str(version), side=SIDE, seed=version, extra_megabytes=megabytes
        )
        write_warmup(path, [warmup])


def reload(channel: grpc.Channel, base_path: Path, version: int) -> None:
    """Serve one version and no other."""
    # ModelServerConfig by hand: its classes would bring TensorFlow into this process.
    policy = _message(102, _message(1, version))
    model = (
        _message(1, b"image")
        + _message(2, str(base_path).encode())
        + _message(4, b"tensorflow")
        + _message(7, policy)
    )
    request = _message(1, _message(1, _message(1, model)))
    call: Any = channel.unary_unary("/tensorflow.serving.ModelService/HandleReloadConfigRequest")
    call(request, timeout=60)


def _message(field: int, value: bytes | int) -> bytes:
    """Encode one protobuf field."""
    if isinstance(value, int):
        return _varint(field << 3) + _varint(value)
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


@contextmanager
def model_server(folder: Path) -> Iterator[tuple[psutil.Process, str, Events]]:
    """Run `heliograph model-server` without models."""
    config = folder / "models.config"
    config.write_text("model_config_list {}")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "heliograph.cli", "model-server", "--port=0"),
            f"--grpc_socket_path={folder}/model.sock",
            f"--model_config_file={config}",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    events = Events(process)
    try:
        socket = events.wait(lambda event: event.get("event") == "serving")["socket"]
        yield psutil.Process(process.pid), socket, events
    finally:
        process.terminate()
        process.wait()
        events.close()


class Events:
    """Reads the server's log along."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._news = threading.Condition()
        self._events: list[dict[str, Any]] = []
        self._ended = False
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def wait(self, wanted: Any) -> dict[str, Any]:
        """Return the first event of a kind, which is then forgotten with those before it."""
        with self._news:
            while True:
                for index, event in enumerate(self._events):
                    if wanted(event):
                        del self._events[: index + 1]
                        return event
                if self._ended or not self._news.wait(120):
                    raise SystemExit("the model server did not do what was expected of it")

    def close(self) -> None:
        """Wait for the end of the log."""
        self._thread.join()

    def _read(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            if line.startswith("{"):
                with self._news:
                    self._events.append(json.loads(line))
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()
        self._process.stderr.close()


class Ledger:
    """What the clients saw, checked against when each version was served."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, float, int, bool]] = []
        """When sent, when answered, version, and whether the numbers were that version's."""
        self.errors: Counter[str] = Counter()
        self.served: list[tuple[int, float, float]] = []
        """Version, when it may have been available first, and when it was gone."""
        self._lock = threading.Lock()

    def add(self, calls: list[tuple[float, float, int, bool]], errors: Counter[str]) -> None:
        """Take over what one client saw."""
        with self._lock:
            self.calls += calls
            self.errors += errors

    def strays(self) -> int:
        """Number of answers of a version that was not served meanwhile, or with other numbers."""
        return sum(
            not is_right
            or not any(
                version == served and begin <= answered and sent <= end
                for served, begin, end in self._served_around(sent)
            )
            for sent, answered, version, is_right in self.calls
        )

    def _served_around(self, moment: float) -> list[tuple[int, float, float]]:
        return [entry for entry in self.served if entry[1] - 60 <= moment <= entry[2] + 60]


def predict_request() -> bytes:
    """One image."""
    request = prediction_pb2.PredictRequest()
    request.model_spec.name = "image"
    tensor = request.inputs["image"]
    tensor.dtype = UINT8  # type: ignore[assignment]
    for size in (1, SIDE, SIDE, 3):
        tensor.tensor_shape.dim.add().size = size
    tensor.tensor_content = bytes(range(256)) * (SIDE * SIDE * 3 // 256)
    return request.SerializeToString()


def numbers(response: prediction_pb2.PredictResponse) -> tuple[float, ...]:
    """The probabilities, rounded to what a different batch or thread could change."""
    return tuple(round(value, 4) for value in response.outputs["probabilities"].float_val)


def client(
    socket: str, expected: dict[int, tuple[float, ...]], stop: threading.Event, ledger: Ledger
) -> None:
    """Send Predict without a pause."""
    request = predict_request()
    calls: list[tuple[float, float, int, bool]] = []
    errors: Counter[str] = Counter()
    with grpc.insecure_channel(socket, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        call: Any = channel.unary_unary(
            PREDICT, response_deserializer=prediction_pb2.PredictResponse.FromString
        )
        while not stop.is_set():
            sent = time.monotonic()
            try:
                response = call(request, timeout=60)
            except grpc.RpcError as error:
                errors[error.code().name if isinstance(error, grpc.Call) else "UNKNOWN"] += 1
                continue
            version = response.model_spec.version.value
            is_right = numbers(response) == expected[version]
            calls.append((sent, time.monotonic(), version, is_right))
    ledger.add(calls, errors)


def percentile(values: list[float], share: float) -> float:
    """Milliseconds below which a share of the calls stayed."""
    ordered = sorted(values)
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1e3, 2)


def measure(swaps: int, clients: int, megabytes: int) -> dict[str, Any]:
    """Run the clients and the swaps."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base_path = folder / "image"
        subprocess.run(
            [sys.executable, __file__, "--write", str(base_path), "--megabytes", str(megabytes)],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        with (
            model_server(folder) as (process, socket, events),
            grpc.insecure_channel(socket) as channel,
        ):
            expected: dict[int, tuple[float, ...]] = {}
            call: Any = channel.unary_unary(
                PREDICT, response_deserializer=prediction_pb2.PredictResponse.FromString
            )
            for version in (2, 1):
                reload(channel, base_path, version)
                events.wait(lambda event: event["event"] == "loaded")
                if expected:
                    events.wait(lambda event: event["event"] == "unloaded")
                expected[version] = numbers(call(predict_request(), timeout=60))
            if expected[1] == expected[2]:
                raise SystemExit("the versions cannot be told apart")
            return swap_under_load(
                (process, socket, events, channel), base_path, expected, swaps, clients
            )


def swap_under_load(
    server: tuple[psutil.Process, str, Events, grpc.Channel],
    base_path: Path,
    expected: dict[int, tuple[float, ...]],
    swaps: int,
    clients: int,
) -> dict[str, Any]:
    """Swap while clients send, and sum up."""
    process, socket, events, channel = server
    ledger, stop = Ledger(), threading.Event()
    threads = [
        threading.Thread(target=client, args=(socket, expected, stop, ledger))
        for _ in range(clients)
    ]
    since = time.monotonic()
    for thread in threads:
        thread.start()
    time.sleep(START_SECONDS)
    first_swap = time.monotonic()
    version, resident = 1, []
    for _ in range(swaps):
        asked = time.monotonic()
        reload(channel, base_path, 3 - version)
        events.wait(lambda event: event["event"] == "unloaded")
        ledger.served.append((version, since, time.monotonic()))
        version, since = 3 - version, asked
        resident.append(process.memory_info().rss / MILLION)
    last_swap = time.monotonic()
    stop.set()
    for thread in threads:
        thread.join()
    ledger.served.append((version, since, time.monotonic()))
    before = [done - sent for sent, done, _, _ in ledger.calls if done < first_swap]
    during = [done - sent for sent, done, _, _ in ledger.calls if first_swap <= sent < last_swap]
    warm = resident[swaps // 10 :]
    slope = statistics.linear_regression(range(len(warm)), warm).slope
    return {
        "swaps": swaps,
        "clients": clients,
        "requests": len(ledger.calls),
        "errors": dict(ledger.errors),
        "answers_of_a_version_not_served": ledger.strays(),
        "seconds_per_swap": round((last_swap - first_swap) / swaps, 3),
        "resident_mb": {"first": round(resident[0]), "last": round(resident[-1])},
        "resident_slope_kb_per_swap": round(slope * 1000, 1),
        "calls_per_second": {
            "before": round(len(before) / START_SECONDS),
            "during": round(len(during) / (last_swap - first_swap)),
        },
        "p50_ms": {"before": percentile(before, 0.5), "during": percentile(during, 0.5)},
        "p99_ms": {"before": percentile(before, 0.99), "during": percentile(during, 0.99)},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--swaps", type=int, default=500, help="at least 3")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write_versions(arguments.write, arguments.megabytes)
        return
    result = measure(arguments.swaps, arguments.clients, arguments.megabytes)
    if arguments.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name}: {value}")
    if result["errors"] or result["answers_of_a_version_not_served"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
